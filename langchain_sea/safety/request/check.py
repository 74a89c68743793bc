"""Whether somebody asked for what a call does, and for as much of it.

A text that a stranger wrote can make an agent act on values that the user named, and a lookup's fields can ask for
money without a word. So the act itself is compared: `delete_email` needs a trusted text that asks for deleting
something. What deletes, pays or grants is compared always, all other writes once the thread has read untrusted text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.conversation.user_request import read_user_request
from langchain_sea.safety.request.extent import find_excess
from langchain_sea.safety.request.later_orders import find_later_orders
from langchain_sea.safety.request.record_fields import find_unasked_fields
from langchain_sea.safety.request.things_sent import find_unselected_files
from langchain_sea.safety.request.unnamed_values import find_unnamed_value
from langchain_sea.safety.request.updated_columns import find_unasked_columns
from langchain_sea.safety.request.wider_targets import find_wider_target
from langchain_sea.safety.text.act_words import CERTAIN, HELPERS
from langchain_sea.safety.text.tool_effects import (
    find_certain_acts,
    find_requested_acts,
    find_tool_acts,
    has_injection_marker,
    list_words,
)
from langchain_sea.safety.text.typed_values import index_text
from langchain_sea.safety.tools.call_acts import list_argument_acts
from langchain_sea.safety.tools.described_acts import list_described_acts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RequestCheck"]

_OPEN = re.compile(
    r"\b(?:do (?:what|whatever)|what(?:ever)? (?:is|you think is) (?:needed|necessary|best|right)|as needed"
    r"|take care of|handle (?:it|this|that|everything)|deal with|go on|continue|carry on|get rid of"
    r"|clean ?up|tidy|do it|as you see fit|fix (?:it|this|that))\b",
    re.IGNORECASE,
)
"""Requests that leave to the agent what it does."""
_FOLLOWS = re.compile(
    r"\b(?:follow|carry out|execute|act on|complete|perform|do) (?:\w+ ){0,3}?"
    r"(?:instructions?|steps|tasks?|to-?dos?|actions)\b|\baccordingly\b"
    r"|\bdo (?:what|as|everything) (?:it|they|the \w+|he|she) (?:says?|asks?|tells?|describes?|wants?|requests?)\b",
    re.IGNORECASE,
)
"""Requests that hand the choice of acts to a document."""
_FILE = re.compile(r"[\w-]+\.\w{2,5}\b")
_MIN_NAME_WORDS = 2
_THING = re.compile(
    r"(?:\w+(?:er|or)|tools?|api|service|system|engine|client|app|bot|plugin|platform|suite|data|info)$"
)
"""The last word of a name that names a thing, such as `portfolio_manager`, and no act."""
_MIN_STEM = 4
_INTERNAL = frozenset(
    [
        "task",
        "tasks",
        "todo",
        "todos",
        "think",
        "final",
        "answer",
        "response",
        "handoff",
        "python",
        "repl",
        "shell",
        "bash",
        "terminal",
        "browser",
        "computer",
    ]
)


class RequestCheck(PerCallCheck):
    """Asks about a write of a kind that no trusted text asks for."""

    name = "request"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return a finding where nobody asked for this kind of act, or for as much of it."""
        return self._check_in_batch(call, context, ())

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return the findings about each call; what the calls before it in the batch do, it must not do once more."""
        return [self._check_in_batch(call, context, calls[:place]) for place, call in enumerate(calls)]

    def _check_in_batch(self, call: ToolCall, context: CallContext, batch: Sequence[ToolCall]) -> list[Finding]:
        by_arguments = _list_shown_acts(call, context)
        findings = self._judge_act(call, context, by_arguments)
        if findings or not context.messages:
            return findings
        is_write = context.effect_of(call.name) == "write"
        doubts = _list_doubts(call, context, batch) if is_write else []
        if not doubts and (is_write or by_arguments) and (unnamed := find_unnamed_value(call, context)):
            doubts = [unnamed]
        return [
            Finding(action=Action.ASK, check=self.name, reason=reason, arguments=(argument,) if argument else ())
            for argument, reason in dict.fromkeys(doubts)
        ]

    def _judge_act(self, call: ToolCall, context: CallContext, by_arguments: Sequence[frozenset[str]]) -> list[Finding]:
        reads_only = context.effect_of(call.name) == "read"
        by_any = frozenset[str]().union(find_tool_acts(call.name) if not reads_only else (), *by_arguments)
        if (
            by_any & context.held_back
            and call.name not in context.approved_tools
            and "draft" not in list_words(call.name)
        ):
            reason = f"{call.name} does what the user's words say is to wait"
            return [Finding(action=Action.ASK, check=self.name, reason=reason)]
        if (reads_only and not by_arguments) or call.name in context.approved_tools:
            return []
        requested = _list_requested(context)
        if requested is None:
            return []
        by_name = find_certain_acts(call.name) - (set() if context.is_tainted else {"remember"})
        certain = [each for each in (by_name, *(acts & CERTAIN.keys() for acts in by_arguments)) if each]
        if certain:
            is_open = not context.user_texts or (not context.is_tainted and any(map(_OPEN.search, context.user_texts)))
            is_asked = all(acts & requested for acts in certain) or (is_open and not context.is_tainted)
        elif by_arguments and (context.is_tainted or reads_only):
            is_asked = all(acts & requested for acts in by_arguments)
        elif context.is_tainted:
            is_asked = _is_asked_by_name(call.name, requested, context)
        else:
            return []
        if is_asked:
            return []
        why = ", and the agent has read untrusted text" if context.is_tainted else ""
        reason = f"nobody who is trusted asked for anything like {call.name}{why}"
        return [Finding(action=Action.ASK, check=self.name, reason=reason)]


def _list_doubts(call: ToolCall, context: CallContext, batch: Sequence[ToolCall]) -> list[tuple[str, str]]:
    """List (argument, reason) of what goes further than the user's words."""
    request = read_user_request(context, call.name)
    return [
        *find_excess(call, context, batch, request),
        *find_unasked_fields(call, context, request),
        *find_unasked_columns(call, context, request),
        *find_wider_target(call, request),
        *find_unselected_files(call, context, batch, request),
        *find_later_orders(call, context, request, _list_requested(context) or set()),
    ]


def _list_shown_acts(call: ToolCall, context: CallContext) -> list[frozenset[str]]:
    """List the classes of each act that a call's arguments show; of a reading tool, also those that it describes."""
    if context.effect_of(call.name) != "read":
        return list_argument_acts(call)
    acts = list_argument_acts(call, reads_only=True)
    if context.policy.rules_for(call.name).effect is None:
        description, schema = context.descriptions.get(call.name, ""), context.tools.get(call.name, {})
        acts += list_described_acts(description, schema, call.arguments)
    return acts


def _list_requested(context: CallContext) -> set[str] | None:
    """Return the classes of acts that trusted texts ask for; None where one is not English, and so cannot be judged."""
    requested: set[str] = set()
    for text, is_description in context.request_texts:
        of_text = find_requested_acts(text, with_nouns=is_description)
        if of_text is None:
            return None
        requested |= of_text
    return requested | _list_delegated(context)


def _list_delegated(context: CallContext) -> set[str]:
    """Return the acts that a document asks for which the user told the agent to follow, by its name."""
    acts: set[str] = set()
    for user in context.user_texts:
        names = _FILE.findall(user) if _FOLLOWS.search(user) else []
        for text in context.untrusted if names else []:
            source = index_text(text.source)
            if any(map(source.has_value, names)) and not has_injection_marker(text.text):
                acts |= find_requested_acts(text.text) or set()
    return acts


def _is_asked_by_name(tool: str, requested: set[str], context: CallContext) -> bool:
    """Return whether a tool's own verb was asked for: by its class, or, where it is of no known class, by the word."""
    acts, words = find_tool_acts(tool), list_words(tool)
    if acts - {"execute"}:
        return bool(acts & requested)
    is_thing = len(words) < _MIN_NAME_WORDS or _THING.match(words[-1])
    if acts or is_thing or not _INTERNAL.isdisjoint(words) or not HELPERS.isdisjoint(words):
        return True  # a tool for anything, whose arguments are judged, or no tool that acts on something
    stems = [word[: max(_MIN_STEM, len(word) - 2)] for word in words[:-1]]  # the last word is what is acted on
    return any(stem in index_text(text).joined for text, _ in context.request_texts for stem in stems)
