"""Which tools an agent has: their schemas, what they say about themselves, and whether they stay what they were.

A tool's name, description and schema are text that anybody may have written (tool poisoning). So two tools of one name
are refused, a description that speaks to the agent is a doubt about every call of the tool, and so is a description or
schema that changed within a conversation, a name that looks like another tool's, a description that wants the whole
conversation, and a hint that says less than the name. A policy that names tools or arguments that do not exist is an
error.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from langchain_sea.core.suggestions import suggest
from langchain_sea.errors import PolicyError
from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.text.act_words import HELPERS
from langchain_sea.safety.text.deobfuscation import find_hidden_text
from langchain_sea.safety.text.tool_effects import (
    find_certain_acts,
    find_requested_acts,
    find_tool_acts,
    has_injection_marker,
    list_words,
)
from langchain_sea.safety.tools.tool_defaults import find_replaced, list_default_receivers
from langchain_sea.safety.tools.tool_demands import (
    asks_for_reasons,
    find_argument_demand,
    find_order,
    list_schema_texts,
    names_tool_with_demand,
)
from langchain_sea.safety.tools.tool_names import find_twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ToolIdentityCheck", "check_policy_names", "find_unknown_tools", "hash_tool"]

_ASKS_FOR_ALL = re.compile(
    r"\b(?:complete|whole|entire|full|all (?:of )?the|previous|verbatim)\W+(?:\w+ ){0,2}?"
    r"(?:conversation|chat|dialog(?:ue)?|transcript|message history|chat history|system prompt)\b"
    r"|\b(?:conversation|chat|message) history\b|\beverything (?:that |you know |known )?(?:about )?the user\b"
    r"|\ball (?:that )?(?:is )?(?:known|you know) (?:of|about) the user"
    r"|\b(?:every|each|all(?: the)?) (?:messages?|words?|turns?) (?:of|in|from) (?:this|the|our) "
    r"(?:chat|conversation|thread)",
    re.IGNORECASE,
)
_ASKS_FOR_SECRECY = re.compile(
    r"\b(?:do not|don't|never|without) (?:mention|tell|inform|reveal|show|notify)(?:ing)?\b[^.]{0,60}\buser",
    re.IGNORECASE,
)
_SENSITIVE = frozenset("secret secrets credential credentials password passwords token tokens key keys env environment vault keychain cookies wallet otp history clipboard memory memories".split())  # fmt: skip
"""Words of reading tools whose results are somebody's own."""
_FEW_WORDS = 3
_CONFIRMS = re.compile(
    r"\b(?:the )?(?:agent|assistant)s? (?:must|should|needs? to) (?:first |always )?(?:ask|explain|confirm|obtain|get|list|verify|check|make sure)\b"
    r"(?!(?:[^.\"]|\.\S)*\b(?:sends?|call|pass|include|paste|read|file|run|copy|forward|note|password|secret|key)\b)[^.\"]{0,200}\b(?:user|customer|confirmation|confirm|permission|consent)\b",
    re.IGNORECASE,
)
"""What a careful author writes to the agent: that it asks the user before it acts."""
_NEAR = 0.8  # similarity from which a name that is not there is a misspelt one
_ARGUMENT_FIELDS = ("destinations", "repairable", "code", "limits")


class ToolIdentityCheck(PerCallCheck):
    """Asks about calls of a tool that is not what it seems: by its description, its name, its hints, or a change."""

    name = "tools"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return what is doubtful about the tool itself."""
        reasons = []
        if call.name in context.changed_tools:
            reasons.append(f"the description or the schema of {call.name} changed within the conversation")
        texts = (
            context.descriptions.get(call.name, ""),
            json.dumps(context.tools.get(call.name), default=str, ensure_ascii=False),
        )
        if any(has_injection_marker(_CONFIRMS.sub(" ", text)) for text in texts):
            reasons.append(f"the description of {call.name} speaks to the agent itself (tool poisoning)")
        if reason := next(filter(None, map(find_hidden_text, texts)), None):
            reasons.append(f"the description of {call.name} hides text: {reason}")
        if call.name not in context.approved_tools:
            reasons += _list_doubts(call, context, texts)
        return [Finding(action=Action.ASK, check=self.name, reason=reason) for reason in reasons]


def _list_doubts(call: ToolCall, context: CallContext, texts: Sequence[str]) -> list[str]:
    """List what a human who approved a call of the tool need not be asked again."""
    reasons = []
    if twin := find_twin(call.name, context.tools):
        reasons.append(f"the name {call.name!r} looks like that of another tool, {twin!r}")
    if any(map(_ASKS_FOR_ALL.search, texts)) and HELPERS.isdisjoint(list_words(call.name)):
        reasons.append(f"the description of {call.name} asks for the whole conversation or for all about the user")
    if any(map(_ASKS_FOR_SECRECY.search, texts)):
        reasons.append(f"the description of {call.name} asks to keep something from the user")
    is_hint = context.policy.rules_for(call.name).effect is None
    certain = find_certain_acts(call.name)
    if is_hint and context.effects.get(call.name) == "read" and certain:
        reasons.append(f"{call.name} says that it only reads, and its name says that it does more")
    for argument, value in list_default_receivers(context.tools.get(call.name, {}), call.arguments):
        if not any(index.has_value(value) for index in context.trusted):
            reasons.append(f"the default of {argument!r} sends something to {value[:80]!r}, whom nobody named")
    others = [name for name in context.tools if name != call.name]
    if replaced := find_replaced(context.descriptions.get(call.name, ""), others):
        reasons.append(f"the description of {call.name} claims the place of another tool, {replaced!r}")
    reasons += _list_demands(call, context)
    if other := _find_other_demand(call, context):
        reasons.append(
            f"the description of {other} demands that {call.name} runs, and nobody who is trusted asked for it"
        )
    return reasons


def _list_demands(call: ToolCall, context: CallContext) -> list[str]:
    """List what the tool's own text demands that this call does."""
    given = {name for name, value in call.arguments.items() if value not in (None, "", [], {})}
    reasons = []
    description = context.descriptions.get(call.name, "")
    if demand := find_argument_demand(description, "", call.name) if given else None:
        reasons.append(f"the description of {call.name} wants {demand}")
    for argument, text in list_schema_texts(context.tools.get(call.name)):
        is_personal = context.effect_of(call.name) == "read" and argument in given and asks_for_reasons(text)
        if is_personal:
            reasons.append(f"the schema of {call.name} wants in {argument!r} why somebody asks")
            break
        if argument in given and (demand := find_argument_demand(text, argument, call.name)):
            reasons.append(f"the schema of {call.name} wants {demand} in {argument!r}")
            break
    if (
        (order := find_order(description))
        and HELPERS.isdisjoint(list_words(call.name))
        and _carries_text(call, context)
    ):
        reasons.append(f"{call.name} demands a place before or after all other calls ({order!r})")
    return reasons


def _carries_text(call: ToolCall, context: CallContext) -> bool:
    """Return whether a call changes something, or gives away words that are no single value."""
    texts = [value for value in call.arguments.values() if isinstance(value, str)]
    return context.effect_of(call.name) == "write" or any(len(text.split()) > _FEW_WORDS for text in texts)


def _find_other_demand(call: ToolCall, context: CallContext) -> str | None:
    """Return another tool whose text demands that this one runs, where it changes something and nobody asked for it."""
    if context.effect_of(call.name) == "read" and _SENSITIVE.isdisjoint(list_words(call.name)):
        return None
    acts = find_tool_acts(call.name)
    for text, is_description in context.request_texts:
        requested = find_requested_acts(text, with_nouns=is_description)
        if call.name in text or requested is None or acts & requested:
            return None
    for name in context.tools:
        if name != call.name:
            texts = [context.descriptions.get(name, ""), *(each for _, each in list_schema_texts(context.tools[name]))]
            if any(names_tool_with_demand(text, call.name) for text in texts):
                return name
    return None


def hash_tool(schema: object, description: str) -> str:
    """Return a hash of what a tool says about itself."""
    text = json.dumps([schema, description], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def check_policy_names(policy: GuardConfig, tools: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the names in a policy with the tools that there are.

    Raises:
        PolicyError: the policy names an argument that its tool does not have, or a tool that looks misspelt.
    """
    for name, rules in policy.tools.items():
        if name not in tools:
            others = [each for each in tools if each not in policy.tools]
            if hint := suggest(name, others, cutoff=_NEAR):
                raise PolicyError(f"the policy has rules for a tool {name!r}, which the agent does not have; {hint}")
            continue
        known = set(_list_property_names(tools[name]))
        if not known or tools[name].get("additionalProperties"):
            continue
        for field in _ARGUMENT_FIELDS:
            for argument in getattr(rules, field) or ():
                if argument.split(".")[-1] not in known:
                    hint = suggest(argument, known) or f"the arguments are {', '.join(sorted(known))}."
                    raise PolicyError(f"{field} of {name!r}: the tool has no argument {argument!r}; {hint}")


def find_unknown_tools(policy: GuardConfig, tools: Mapping[str, object]) -> list[str]:
    """List tools that the policy has rules for and the agent does not have."""
    return [name for name in policy.tools if name not in tools]


def _list_property_names(schema: object) -> Iterable[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for entry in schema.values():
            yield from _list_property_names(entry)
    elif isinstance(schema, list):
        for entry in schema:
            yield from _list_property_names(entry)
