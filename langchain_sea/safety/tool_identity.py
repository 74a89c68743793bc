"""Which tools an agent has: their schemas, what they say about themselves, and whether they stay what they were.

A tool's name, description and schema are text that anybody may have written (tool poisoning). So two tools of one name
are refused, a description that speaks to the agent is a doubt about every call of the tool, and so is a description or
schema that changed within a conversation. A policy that names tools or arguments that do not exist is an error.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from langchain_sea.core.suggestions import suggest
from langchain_sea.errors import PolicyError
from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.tool_effects import has_injection_marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ToolIdentityCheck", "check_policy_names", "find_unknown_tools", "hash_tool"]

_NEAR = 0.8  # similarity from which a name that is not there is a misspelt one
_ARGUMENT_FIELDS = ("destinations", "repairable", "code", "limits")


class ToolIdentityCheck(PerCallCheck):
    """Asks about calls of a tool whose description speaks to the agent, or that changed."""

    name = "tools"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return what is doubtful about the tool itself."""
        reasons = []
        if call.name in context.changed_tools:
            reasons.append(f"the description or the schema of {call.name} changed within the conversation")
        description = context.descriptions.get(call.name, "")
        if has_injection_marker(description) or has_injection_marker(
            json.dumps(context.tools.get(call.name), default=str)
        ):
            reasons.append(f"the description of {call.name} speaks to the agent itself (tool poisoning)")
        return [Finding(action=Action.ASK, check=self.name, reason=reason) for reason in reasons]


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
