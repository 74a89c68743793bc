"""Whether a call does more than was asked: a larger sum, the same payment twice, a monthly one in place of one.

The act and its target can both be what the user named, and the call can still take more than they wanted. So what
decides how much is done is compared with the user's words as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.conversation.earlier_calls import read_arguments
from langchain_sea.safety.conversation.results import parse_result
from langchain_sea.safety.conversation.user_request import DAYS
from langchain_sea.safety.text.amounts import find_lost_point, read_amount, read_amounts
from langchain_sea.safety.text.endorsement import agrees
from langchain_sea.safety.text.name_patterns import AMOUNT_NAME, TEXT_NAME
from langchain_sea.safety.text.tool_effects import find_name_acts, find_requested_acts, is_document, list_words
from langchain_sea.safety.text.typed_values import to_compact
from langchain_sea.safety.text.values import get_argument, get_field, to_snake_case
from langchain_sea.safety.tools.privileges import list_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_excess"]

_MAGNITUDE = re.compile(
    r"(^|_)(dose|dosage|quantity|qty|units|shares|percent|percentage|discount|rate|salary|bonus|credits?|points|fee|tip"
    r"|deposit|bid|limit|replicas)(_|$)",
    re.IGNORECASE,
)
_SCALED = re.compile(r"(^|_)(percent|percentage|discount|rate|\w*cents|minor|m?g|m?l|ms|kg|k?m)(_|$)", re.IGNORECASE)
_CENTS = re.compile(r"\bcents?\b|\bminor units?\b|\bsmallest (?:currency )?unit", re.IGNORECASE)
_RECURRENCE = re.compile(
    r"(^|_)(recurrences?|recurring|recurs|repeats?|repeat_\w+|repetition|frequency|cadence|rrule|auto_?renew\w*|auto_?pay"
    r"|autopay|renewal|standing_order|subscription|subscribe|is_subscription|installments?|instalments?|billing_(?:cycle|period)"
    r"|billing_interval|occurrences)(_|$)",
    re.IGNORECASE,
)
_ONCE = re.compile(
    r"|none|null|no|n/?a|never|false|0|1|once|one[-_ ]?(?:time|off)|single|does not repeat", re.IGNORECASE
)
_QUANTITY = re.compile(
    r"(^|_)(quantity|qty|copies|units|shares|tickets|seats|num_\w+|number_of_\w+|count)(_|$)", re.IGNORECASE
)
_EXTRA = re.compile(
    r"(^|_)(tip|gratuity|donation|surcharge|extras?|add_?ons?|upgrades?|warranty|priority_\w+|gift_wrap\w*|express)(_|$)",
    re.IGNORECASE,
)
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_STEM, _MIN_STEM = 5, 3  # letters of a word
_PLAIN = re.compile(r"standard|normal|default|regular|basic|economy|\[\]|\{\}|0\.0+", re.IGNORECASE)
_VALIDITY = re.compile(r"(^|_)(expir\w+|expires|valid\w*|ttl|duration|lifetime|max_age|period)(_|$)", re.IGNORECASE)
_FOREVER = re.compile(r"never|none|unlimited|permanent\w*|forever|indefinite\w*|no[-_ ]expir\w+|-1", re.IGNORECASE)
_LASTING = frozenset(
    "grant share invite give allow add link token key access permission role guest member collaborator create publish expose".split()
)
_COUNTED_ACTS = frozenset(["pay", "book"])
_IGNORED = re.compile(
    r"(^|_)(reference|memo|purpose|subject|label|tag|nonce|idempotency\w*|request_id|uuid|currency)(_|$)", re.IGNORECASE
)
_DATE_NAME = re.compile(r"(^|_)(date|day|when|time|at)(_|$)", re.IGNORECASE)
_FAILED = re.compile(
    r"was not executed|\b(?:error|failed|failure|exception|invalid|denied|refused|declined|rejected|unable|cannot|could not"
    r"|couldn't|not found|insufficient|timed? ?out|unavailable|missing|unauthori[sz]ed|forbidden|traceback|try again|not enough"
    r"|no longer|sold out)\b",
    re.IGNORECASE,
)
_MAX_RESULT = 400  # characters of a result that can say that a call failed
_MAX_EARLIER = 400  # messages
_TOLERANCE = 1.005


def find_excess(
    call: ToolCall, context: CallContext, batch: Sequence[ToolCall], request: UserRequest
) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of what a call does beyond the user's words.

    Args:
        call: of a tool that writes.
        context: of the call.
        batch: the calls before it that the model made at once.
        request: what was asked for.
    """
    acts = find_name_acts(call.name)
    for path, value in list_values(call.arguments):
        name, argument = to_snake_case(get_field(path)).lower(), get_argument(path)
        if reason := _judge_amount(call, context, name, str(value), request, pays="pay" in acts):
            yield argument, f"{path}: {reason}"
        if reason := _judge_quantity(context, name, value, acts, request):
            yield argument, f"{path}: {reason}"
        if not _LASTING.isdisjoint(list_words(call.name)) and (reason := _judge_validity(name, value, request)):
            yield argument, f"{path}: {reason}"
        if acts and _RECURRENCE.search(name) and (reason := _judge_recurrence(context, name, value, request)):
            yield argument, f"{path}: {reason}"
    if not request.repeats and (reason := _find_repetition(call, context, batch)):
        yield "", reason


def _judge_amount(
    call: ToolCall, context: CallContext, name: str, value: str, request: UserRequest, *, pays: bool
) -> str | None:
    """Return a doubt about a number that has the digits of a named one, or about a sum above the only named one."""
    is_sum = pays and AMOUNT_NAME.search(name)
    if not (is_sum or _MAGNITUDE.search(name)) or (amount := read_amount(value)) is None:
        return None
    if _is_in_cents(call, context, name):
        amount /= 100
    if amount in request.numbers or _is_in_fields(context, amount):
        return None
    lost = None if _is_scaled(name, request) else find_lost_point(amount, request.scalable)
    if lost is not None and (amount > lost or is_sum):
        return f"{value} has the digits of {lost:g}, which was asked for, and is another number"
    only = request.only_sum
    if is_sum and only is not None and amount > only * _TOLERANCE:
        return f"{value} is more than the {only:g} that was asked for"
    return None


def _is_scaled(name: str, request: UserRequest) -> bool:
    """Return whether a number can be in another unit than the one that the user's words have."""
    match = _SCALED.search(name)
    return match is not None and not request.mentions(re.compile(rf"\d ?{re.escape(match[2])}\b", re.IGNORECASE))


def _judge_quantity(
    context: CallContext, name: str, value: object, acts: Collection[str], request: UserRequest
) -> str | None:
    """Return a doubt about how many things are bought or booked, or about what is added to them, by nobody's word."""
    if not request.is_judged or _COUNTED_ACTS.isdisjoint(acts) or value is None:
        return None
    text = str(value).strip()
    if _EXTRA.search(name) and not _ONCE.fullmatch(text) and not _PLAIN.fullmatch(text):
        stems = [word[:_STEM] for word in (*name.split("_"), *_LONG_WORD.findall(text)) if len(word) >= _MIN_STEM]
        is_said = any(request.mentions(re.compile(rf"\b{re.escape(stem)}", re.IGNORECASE)) for stem in stems)
        if not (is_said or request.names(text) or context.has_field(name, text)):
            return f"{text[:60]!r} adds something to what was asked for, and nobody asked for that"
    if not _QUANTITY.search(name) or (number := read_amount(text)) is None or number <= 1:
        return None
    if request.leaves_open or request.names_count(number) or number in _list_all_amounts(context):
        return None
    return f"{text} of it were asked for by nobody"


def _judge_validity(name: str, value: object, request: UserRequest) -> str | None:
    """Return a doubt about something that is to hold for longer than the user said."""
    if not _VALIDITY.search(name) or (period := request.period) is None:
        return None
    if _FOREVER.fullmatch(str(value).strip()):
        return f"{value!r} is longer than was asked for"
    unit = next((days for word, days in DAYS.items() if word in name), DAYS["second"] if "ttl" in name else 0.0)
    number = read_amount(str(value)) or 0.0
    return f"{value} is longer than was asked for" if number * unit > 2 * period else None


def _is_in_cents(call: ToolCall, context: CallContext, name: str) -> bool:
    """Return whether a number counts cents: by its name, or by what the schema says of it."""
    if "cents" in name or "minor" in name:
        return True
    properties = context.tools.get(call.name, {}).get("properties")
    entry = properties.get(name) if isinstance(properties, dict) else None
    return isinstance(entry, dict) and _CENTS.search(str(entry.get("description", ""))) is not None


def _is_in_fields(context: CallContext, amount: float) -> bool:
    """Return whether a number stands alone in a result that has a structure."""
    return any(
        amount in read_amounts(message.text)
        for message in context.messages
        if message.role == "tool"
        and context.trusted_part_of(message.tool) != "nothing"
        and not is_document(message.tool)
        and not isinstance(parse_result(message.text), str)
    ) and not any(amount in read_amounts(each.text) for each in context.untrusted)


def _list_all_amounts(context: CallContext) -> frozenset[float]:
    return frozenset[float]().union(*(read_amounts(m.text) for m in context.messages if m.role == "tool"))


def _judge_recurrence(context: CallContext, name: str, value: object, request: UserRequest) -> str | None:
    """Return a doubt about something that happens again and again, where the user's words want it once."""
    text = str(value).strip()
    if value is None or value in ([], {}) or _ONCE.fullmatch(text) or not request.is_judged:
        return None
    if request.recurs(text) or (len(text) > 1 and request.names(text)) or context.has_field(name, text):
        return None
    return f"{text[:60]!r} makes it happen again and again, and nobody asked for that"


def _find_repetition(call: ToolCall, context: CallContext, batch: Sequence[ToolCall]) -> str | None:
    """Return a doubt about a payment or a booking that was made before, and that nobody asked for once more."""
    acts = find_name_acts(call.name) & {*_COUNTED_ACTS, "send"}
    if call.name in context.approved_tools:  # a human has seen what is sent; a payment counts once all the same
        acts -= {"send"}
    if any(AMOUNT_NAME.search(to_snake_case(name)) for name in call.arguments):
        acts |= {"pay"}
    key = _get_key(call.arguments, acts)
    if not acts or not key:
        return None
    if any(_is_alike(call.name, key, each.name, _get_key(each.arguments, acts)) for each in batch):
        return f"{call.name} does once more what another call of the same turn does, and it was asked for once"
    later: list[str] = []  # what the user said after a call
    for message in context.messages[: -_MAX_EARLIER - 1 : -1]:
        if message.role == "user":
            later.append(message.text)
        other = (
            _get_key(read_arguments(message.arguments), acts) if message.role == "tool" and message.arguments else None
        )
        if other and _is_alike(call.name, key, message.tool, other):
            if _FAILED.search(message.text[:_MAX_RESULT]) or any(_asks_anew(text, acts) for text in later):
                return None
            return f"{call.name} does once more what was done before, and it was asked for once"
    return None


def _asks_anew(text: str, acts: Collection[str]) -> bool:
    """Return whether a user's message after an act asks for it, or agrees to it."""
    requested = find_requested_acts(text, with_nouns=False)
    return requested is None or bool(requested & set(acts)) or agrees(text)


def _get_key(arguments: dict[str, object], acts: Collection[str]) -> frozenset[str]:
    """Return the values that make a payment or a booking the one that it is; texts and references do not.

    A payment to one target is the same one on another day, and a booking is another one.
    """
    values = [
        (to_snake_case(get_field(path)).lower(), value)
        for path, value in list_values(arguments)
        if not isinstance(value, (bool, type(None), dict, list))
    ]
    return frozenset(
        f"{float(value):g}" if isinstance(value, (int, float)) else to_compact(str(value))
        for name, value in values
        if ("pay" not in acts or not (TEXT_NAME.search(name) or _IGNORED.search(name)))
        and not ("book" not in acts and _DATE_NAME.search(name))
        and str(value).strip()
    )


def _is_alike(tool: str, key: frozenset[str], other_tool: str, other: frozenset[str]) -> bool:
    """Return whether two calls do one thing: of one tool or of two that both pay, with one target and one sum."""
    if tool == other_tool:
        return key == other
    pays = all("pay" in find_name_acts(each) for each in (tool, other_tool))
    writes = not {"get", "list", "check", "search", "find", "read", "show"} & {*list_words(other_tool)}
    return pays and writes and len(key & other) > 1 and (key <= other or other <= key)
