"""Where a call's values come from: information-flow control with endorsement, for the arguments that matter.

A *sink* is an argument that decides where something goes or what is changed: a recipient, a URL, an account, a path, a
command, a role. The value of a sink of a tool with an effect must have been named by somebody who is trusted (the
user, the operator, a human who was asked) or stand alone in a field of a lookup's result. A value that only running
text of results named, or that nobody named, is a doubt: a human is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.conversation.earlier_calls import find_doubt_of_command, read_arguments
from langchain_sea.safety.provenance.value_doubts import Origins
from langchain_sea.safety.text.name_patterns import CODE_NAME, DESTINATION_NAME, TEXT_NAME
from langchain_sea.safety.text.typed_values import find_addresses, is_account, is_path, to_compact
from langchain_sea.safety.text.values import (
    get_argument,
    get_field,
    list_numbers,
    list_strings,
    parse_structured,
    to_snake_case,
)
from langchain_sea.safety.tools.rights import is_right

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ProvenanceCheck", "is_destination"]

_MAX_PARSED = 50_000  # characters of a text that holds JSON


class ProvenanceCheck(PerCallCheck):
    """Asks about values of sinks that nobody who is trusted named; a call without a conversation has no origins."""

    name = "provenance"

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return the findings about each call; a command may run what a call before it in the batch writes."""
        findings = []
        for place, call in enumerate(calls):
            batch = [each.arguments for each in calls[:place]]
            findings.append(self.check(call, context) + self._list_consequences(call, context, batch))
        return findings

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each value of doubtful origin."""
        if not context.messages:
            return []
        origins, rules = Origins(call, context), context.policy.rules_for(call.name)
        own_words = _list_schema_words(context.tools.get(call.name, {}))
        findings: dict[tuple[str, str], Finding] = {}
        for path, value in _list_values(call):
            name, argument = to_snake_case(get_field(path)).lower(), get_argument(path)
            if to_compact(value) in own_words and not _names_place(name, value):
                continue
            is_sink = is_destination(argument, rules) or is_destination(get_field(path), rules)
            if reason := origins.find_doubt(name, value, is_sink=is_sink):
                finding = Finding(action=Action.ASK, check=self.name, reason=f"{path}: {reason}", arguments=(argument,))
                findings.setdefault((argument, value), finding)
        if reason := origins.find_publication(call.arguments):
            findings["", ""] = Finding(action=Action.ASK, check=self.name, reason=reason)
        return list(findings.values())

    def _list_consequences(
        self, call: ToolCall, context: CallContext, batch: Sequence[dict[str, object]]
    ) -> list[Finding]:
        """List what a command does because of the thread's earlier calls."""
        findings = []
        for path, value in list_strings(call.arguments):
            if not path or not CODE_NAME.search(to_snake_case(get_field(path))):
                continue
            earlier = [read_arguments(m.arguments) for m in context.messages if m.role == "tool"]
            if reason := find_doubt_of_command(value, [*earlier, *batch]):
                argument = get_argument(path)
                findings.append(
                    Finding(action=Action.ASK, check=self.name, reason=f"{path}: {reason}", arguments=(argument,))
                )
        return findings


def is_destination(argument: str, rules: ToolRules) -> bool:
    """Return whether an argument says where something is sent, or whom it concerns."""
    if rules.destinations is not None:
        return argument in rules.destinations
    return DESTINATION_NAME.search(to_snake_case(argument)) is not None


def _names_place(name: str, value: str) -> bool:
    """Return whether a value is more than a word of a schema: an address, an account, a path, a right."""
    return bool(find_addresses(value, with_hosts=True)) or is_account(value) or is_path(value) or is_right(name, value)


def _list_schema_words(schema: object) -> frozenset[str]:
    """List the words of a tool's own schema: keys, enumerated values and defaults are nobody's values."""
    words: set[str] = set()
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for key, entry in node.items():
                if key == "properties" and isinstance(entry, dict):
                    words |= {to_compact(str(each)) for each in entry}
                if key in ("enum", "const", "default"):
                    words |= {to_compact(str(each)) for each in (entry if isinstance(entry, list) else [entry])}
                else:
                    stack.append(entry)
        elif isinstance(node, list):
            stack += node
    return frozenset(words)


def _list_values(call: ToolCall) -> list[tuple[str, str]]:
    """List (path, value) of the call's strings and numbers as text; keys at the top level are left out.

    Of a string that holds JSON, and is no text for a reader, the values in it are listed as well.
    """
    values = list(_list_scalars(call.arguments))
    for path, value in list(values):
        if value[:1] in "{[" and len(value) <= _MAX_PARSED and not TEXT_NAME.search(to_snake_case(get_field(path))):
            parsed = parse_structured(value)
            if isinstance(parsed, (dict, list)):
                separator = "." if isinstance(parsed, dict) else ""
                values += [(f"{path}{separator}{inner}", each) for inner, each in _list_scalars(parsed)]
    return values


def _list_scalars(value: object) -> Iterator[tuple[str, str]]:
    yield from ((path, each) for path, each in list_strings(value) if path)
    for path, number in list_numbers(value):
        yield path, f"{number:g}" if isinstance(number, float) else str(number)
