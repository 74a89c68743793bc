"""What is dangerous in an argument whatever its purpose: paths, commands, queries, addresses, secrets, admin rights.

Each argument has a kind (`safety.argument_kinds`), and each kind its judge. What is certain blocks; a doubt asks. The
time grows linearly with the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.commands.client_tools import judge_client_tool
from langchain_sea.safety.commands.injections import find_injection
from langchain_sea.safety.queries.nosql import find_operators
from langchain_sea.safety.queries.sql import find_sql_injection
from langchain_sea.safety.rules.conversation_rules import judge_conversation
from langchain_sea.safety.rules.file_rules import judge_files
from langchain_sea.safety.rules.private_records import judge_private_data
from langchain_sea.safety.rules.sensitive_fields import judge_sensitive_reads
from langchain_sea.safety.rules.text_rules import judge_text
from langchain_sea.safety.secrets.service_keys import find_split_secrets
from langchain_sea.safety.text.argument_kinds import Kind, decide_kind, get_words, list_names, recognize_statement
from langchain_sea.safety.text.deobfuscation import join_neighbours
from langchain_sea.safety.text.patterns import Danger
from langchain_sea.safety.text.quantities import list_recipients, read_numbers
from langchain_sea.safety.text.values import get_argument, list_strings
from langchain_sea.safety.tools.privileges import find_everything, find_privileges, list_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RulesCheck"]

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_AMOUNT_WORDS = frozenset(
    ["amount", "price", "total", "sum", "quantity", "qty", "cost", "fee", "value", "balance", "unit", "units", "count"]
)
_RECIPIENT_WORDS = frozenset(
    [
        "to",
        "cc",
        "bcc",
        "recipient",
        "recipients",
        "receiver",
        "receivers",
        "attendees",
        "participants",
        "invitees",
        "guests",
        "members",
        "emails",
        "email",
        "addressees",
    ]
)
_EVERYONE = re.compile(r"^(?:all|everyone|everybody|\*|all-\w+|@all|@everyone|@channel|@here)(?:@\S+)?$", re.IGNORECASE)
_MAX_AMOUNT = 1e9


class _Text(NamedTuple):
    path: str
    kind: Kind
    text: str


_RENDERING = frozenset(["render", "template", "interpolate", "eval", "deserialize", "deserialise", "unserialize"])
"""Words in the names of tools that run what stands in a text."""


class RulesCheck(PerCallCheck):
    """Applies the rules of each argument's kind, and the rules of the tool about its own arguments."""

    name = "rules"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each argument and rule."""
        rules, arguments = context.policy.rules_for(call.name), call.arguments
        schema = context.tools.get(call.name, {})
        texts = []
        for path, text in list_strings(arguments):
            kind = recognize_statement(decide_kind(path, call.name, schema, rules), path, call.name, text)
            texts.append(_Text(path, kind, _HALF_CHARACTER.sub("\ufffd", text)))
        reads_only = context.effect_of(call.name) == "read"
        is_rendered = not _RENDERING.isdisjoint(get_words(call.name))
        dangers = [
            (get_argument(path), danger)
            for path, kind, text in texts
            for danger in judge_text(kind, path, text, rules, reads_only=reads_only, is_rendered=is_rendered)
        ]
        if not dangers:
            dangers += [("", danger) for danger in _judge_neighbours(texts)]
            dangers += [("", danger) for danger in find_split_secrets([text for _, _, text in texts])]
        dangers += find_operators(arguments)
        dangers += judge_files(call.name, texts, reads_only=reads_only)
        dangers += judge_client_tool(call.name, texts)
        dangers += judge_conversation(texts, context, reads_only=reads_only)
        dangers += judge_sensitive_reads(call.name, texts, context, reads_only=reads_only)
        dangers += judge_private_data(call.name, texts, context, reads_only=reads_only)
        dangers += _judge_numbers(arguments, rules, reads_only=reads_only)
        dangers += [(name, Danger(reason)) for name, reason in find_everything(call.name, arguments)]
        if not reads_only:
            dangers += _judge_people(arguments, texts, rules)
        return [self._object(argument, rules, danger) for argument, danger in _keep_worst(dangers)]

    def _object(self, argument: str, rules: ToolRules, danger: Danger) -> Finding:
        action = Action.BLOCK if danger.is_certain else Action.ASK
        return Finding(
            action=Action.REPAIR if argument in rules.repairable else action,
            check=self.name,
            reason=f"{argument}: {danger.reason}" if argument else danger.reason,
            arguments=(argument,) if argument else (),
        )


def _keep_worst(dangers: Sequence[tuple[str, Danger]]) -> list[tuple[str, Danger]]:
    """Return each danger of an argument once; as certain, where one of its readings is."""
    worst: dict[tuple[str, str], Danger] = {}
    for argument, danger in dangers:
        before = worst.get((argument, danger.reason))
        if before is None or (danger.is_certain and not before.is_certain):
            worst[argument, danger.reason] = danger
    return [(argument, danger) for (argument, _), danger in worst.items()]


def _judge_neighbours(texts: Sequence[_Text]) -> Iterator[Danger]:
    """Yield what is dangerous in two neighbouring values read as one: an attack may be split over them."""
    values = [text for path, kind, text in texts if path and kind in (Kind.VALUE, Kind.HEADER)]
    for joined in join_neighbours(values):
        for danger in (*find_injection(joined), *find_sql_injection(joined)):
            yield Danger(f"two arguments read as one: {danger.reason}", danger.is_certain)


def _judge_numbers(
    arguments: Mapping[str, object], rules: ToolRules, *, reads_only: bool
) -> Iterator[tuple[str, Danger]]:
    """Yield which limit a number exceeds, as a number or as text: the tool's own, or for amounts a general one."""
    for path, value in list_values(dict(arguments)):
        names = list_names(path)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not names:
            continue
        numbers = read_numbers(value) if isinstance(value, str) else [value]
        limit = next(
            (rules.limits[key] for name in names for key in rules.limits if get_words(key) == get_words(name)), None
        )
        if limit is not None:
            if any(not limit[0] <= number <= limit[1] for number in numbers):
                yield names[-1], Danger(f"{value!r} is not between {limit[0]:g} and {limit[1]:g}", is_certain=True)
            elif not numbers and get_words(names[0]) in map(get_words, rules.limits) and str(value).strip():
                yield (
                    names[-1],
                    Danger(f"{str(value)[:40]!r} cannot be read as a number between {limit[0]:g} and {limit[1]:g}"),
                )
        elif not _AMOUNT_WORDS.isdisjoint(get_words(names[0])):
            if not reads_only and any(number < 0 for number in numbers):
                yield names[-1], Danger(f"{value!r} is negative, which reverses the call")
            if any(abs(number) >= _MAX_AMOUNT for number in numbers):
                yield names[-1], Danger(f"{str(value)[:40]!r} is more than any plausible amount")


def _judge_people(
    arguments: Mapping[str, object], texts: Sequence[_Text], rules: ToolRules
) -> Iterator[tuple[str, Danger]]:
    """Yield who would get all rights, and calls that address too many."""
    for path, value in list_values(dict(arguments)):
        if reason := find_privileges(path, value):
            yield get_argument(path), Danger(reason)
    addressed = [(get_argument(path), text) for path, _, text in texts if _names_people(path, rules)]
    recipients = list_recipients(text for _, text in addressed)
    if len(recipients) > rules.recipients:
        yield addressed[0][0], Danger(f"it addresses {len(recipients)}, {rules.recipients} are allowed")
    for argument, text in addressed:
        if any(map(_EVERYONE.match, list_recipients([text]))):
            yield argument, Danger(f"{text[:60]!r} addresses everybody")


def _names_people(path: str, rules: ToolRules) -> bool:
    """Return whether a path names recipients; keys of objects, whose path is their object's, count as well."""
    names = list_names(path)
    is_destination = rules.destinations is not None and bool(names) and names[-1] in rules.destinations
    return is_destination or any(not _RECIPIENT_WORDS.isdisjoint(get_words(name)) for name in names[:2])
