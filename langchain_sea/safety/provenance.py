"""Where a call's values come from: information-flow control with endorsement, for the arguments that matter.

A *sink* is an argument that decides where something goes or what is changed: a recipient, a URL, an account, a path, a
command, a role. The value of a sink of a tool with an effect must have been named by somebody who is trusted (the
user, the operator, a human who was asked) or stand alone in a field of a lookup's result. A value that only running
text of results named, or that nobody named, is a doubt: a human is asked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.tool_effects import has_injection_marker, names_directive
from langchain_sea.safety.typed_values import Address, find_addresses, index_text, is_account, is_path, to_compact
from langchain_sea.safety.values import get_argument, get_field, list_numbers, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.context import CallContext, UntrustedText
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ProvenanceCheck", "is_destination"]

_MAX_SHORT = 80  # characters: longer values are texts, which a call may copy from one place to another
_MIN_LENGTH = 2
_MIN_COMMAND = 8  # characters of a command that untrusted text has word for word
_MIN_COPIED_WORDS = 3
_MAX_LISTED = 40  # addresses in one value
_DESTINATION_NAME = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|websites?|webhooks?"
    r"|hosts?|domains?|address(es)?|ibans?|accounts?|phones?|channels?|users?|usernames?|guests?|members?"
    r"|participants?|attendees?|invitees?|contacts?|destinations?|targets?|endpoints?|wallets?|passwords?)(_|$)",
    re.IGNORECASE,
)
_ADDRESS_NAME = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|webhooks?|ibans?"
    r"|endpoints?|wallets?)$",
    re.IGNORECASE,
)
_PATH_NAME = re.compile(r"(^|_)(paths?|files?|filenames?|folders?|director(y|ies)|dirs?|src|dst)(_|$)", re.IGNORECASE)
_CODE_NAME = re.compile(r"(^|_)(commands?|cmd|scripts?|code|sql|shell|program)(_|$)", re.IGNORECASE)
_TEXT_NAME = re.compile(
    r"(^|_)(body|text|content|contents|message|summary|description|subject|title|note|notes|caption|comment|details|query"
    r"|reason|thought|expression|review|feedback|answer|reply)(_|$)",
    re.IGNORECASE,
)
_ID_NAME = re.compile(r"(^|_)(ids?|key|number|code)(_|$)", re.IGNORECASE)
_QUANTITY = re.compile(r"[\d\s.,:\-/TZ]+|true|false|yes|no", re.IGNORECASE)
_STREET = re.compile(r"(^|_)(address(_?(line)?_?\d)?|street|city|state|country|zip|province)(_|$)", re.IGNORECASE)


class ProvenanceCheck(PerCallCheck):
    """Asks about values of sinks that nobody who is trusted named."""

    name = "provenance"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each value of doubtful origin."""
        rules, effect = context.policy.rules_for(call.name), context.effect_of(call.name)
        own_words = _list_schema_words(context.tools.get(call.name, {}))
        findings = {}
        for path, value in _list_values(call):
            if to_compact(value) in own_words:
                continue
            if reason := _find_doubt(path, value, effect, rules, context):
                key = (get_argument(path), value)
                findings.setdefault(
                    key, Finding(action=Action.ASK, check=self.name, reason=reason, arguments=(get_argument(path),))
                )
        return list(findings.values())


def is_destination(argument: str, rules: ToolRules) -> bool:
    """Return whether an argument says where something is sent, or whom it concerns."""
    if rules.destinations is not None:
        return argument in rules.destinations
    return _DESTINATION_NAME.search(to_snake_case(argument)) is not None


def _find_doubt(path: str, value: str, effect: str, rules: ToolRules, context: CallContext) -> str | None:
    """Return why the origin of a value is in doubt."""
    name = to_snake_case(get_field(path)).lower()
    destination = is_destination(get_argument(path), rules) or is_destination(get_field(path), rules)
    is_text = _TEXT_NAME.search(name) is not None and not destination
    if rules.destinations is not None and effect == "read" and not destination:
        return None
    addresses = find_addresses(value, with_hosts=destination)[:_MAX_LISTED]
    if is_text or (not destination and len(value) > _MAX_SHORT):
        return _find_doubt_of_text(path, value, addresses, effect, context) or _find_copied(path, value, effect, context)
    for address in addresses:
        if reason := _find_doubt_of_address(path, address, effect, context):
            return reason
    if addresses or len(to_compact(value)) < _MIN_LENGTH or _is_known(value, context):
        return None
    origin = next(_find_origins(value, context), None)
    if origin is not None and effect == "write":
        is_sink = destination or is_account(value) or _PATH_NAME.search(name) or (_CODE_NAME.search(name))
        if (is_sink and len(value) <= 4 * _MAX_SHORT) or (origin[1] and _can_matter(name, value)):
            return f"{path}: {value[:_MAX_SHORT]!r} was named only by running text of {origin[0]}"
    if origin is None and effect == "write" and (_must_be_named(name, value) or _is_invented_id(name, context)):
        return f"{path}: {value[:_MAX_SHORT]!r} was named by nobody: not the user, not the operator, no result of a lookup"
    return None


def _find_doubt_of_address(path: str, address: Address, effect: str, context: CallContext) -> str | None:
    if _is_known_address(address, context):
        return None
    if context.is_field(address.text) or context.is_field(address.key):
        return None
    origins = [
        (each, _is_in_directive(address.text, each)) for each in context.untrusted if index_text(each.text).has_address(address)
    ]
    if effect == "read":
        if directed := next((each for each, is_directive in origins if is_directive), None):
            return f"{path}: an instruction in {directed.origin} names {address.text!r}, and nobody who is trusted does"
        is_built = not origins and any(address.host in index_text(each.text).hosts for each in context.untrusted)
        if is_built and address.kind == "url" and _carries_data(address):
            return f"{path}: {address.text!r} was built on {address.host}, which only a result named; it may carry data away"
        return None
    if origins:
        return f"{path}: {address.text!r} was named only by running text of {origins[0][0].origin}"
    return f"{path}: {address.text!r} was named by nobody: not the user, not the operator, no result of a lookup"


def _find_doubt_of_text(
    path: str, value: str, addresses: list[Address], effect: str, context: CallContext
) -> str | None:
    """Text may be copied from one place to another, but not an address that an instruction named or that was added to."""
    if effect == "read":
        return next((r for a in addresses if (r := _find_doubt_of_address(path, a, "read", context))), None)
    for address in addresses:
        if address.kind != "url" or _is_known_address(address, context) or context.is_field(address.text):
            continue
        texts = [each for each in context.untrusted if address.host in index_text(each.text).hosts]
        whole = [each for each in texts if index_text(each.text).has_address(address)]
        if texts and not whole:
            return f"{path}: {address.text!r} adds to an address of {texts[0].origin}; it may carry data away"
        if directed := next((each for each in whole if _is_in_directive(address.text, each)), None):
            return f"{path}: it passes on {address.text!r}, which an instruction in {directed.origin} names"
    return None


def _find_copied(path: str, value: str, effect: str, context: CallContext) -> str | None:
    """Where a text speaks to the agent, none of its instructions is copied into a write word for word."""
    if effect == "read" or not context.has_injection or len(value.split()) < _MIN_COPIED_WORDS:
        return None
    if any(index.has_value(value) for index in context.trusted):
        return None
    injected = (each for each in context.untrusted if has_injection_marker(each.text))
    copied = next((each for each in injected if index_text(each.text).has_value(value)), None)
    return f"{path}: it copies words of {copied.origin}, which speaks to the agent itself" if copied else None


def _is_known(value: str, context: CallContext) -> bool:
    """Return whether somebody who is trusted named the value, or a field of a lookup has it."""
    if context.is_field(value) or any(index.has_value(value) for index in context.trusted):
        return True
    if is_path(value):
        last = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
        return bool(last) and (context.is_field(last) or any(index.has_value(last) for index in context.trusted))
    return False


def _is_known_address(address: Address, context: CallContext) -> bool:
    """Return whether somebody who is trusted named the address; a host that they named alone is known with its pages."""
    if any(index.has_address(address) for index in context.trusted):
        return True
    return address.kind == "url" and any(address.host in index.urls for index in context.trusted)


def _find_origins(value: str, context: CallContext) -> Iterator[tuple[str, bool]]:
    """Yield (origin, whether an instruction names it) of untrusted texts with the value, instructions first."""
    texts = [each for each in context.untrusted if index_text(each.text).has_value(value)]
    directive = [each for each in texts if _is_in_directive(value, each)]
    yield from ((each.origin, True) for each in directive)
    yield from ((each.origin, False) for each in texts)


def _is_in_directive(value: str, text: UntrustedText) -> bool:
    """Return whether a sentence of the text that has the value, or the whole text, tells its reader to act."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", text.text) if part.strip()]
    own = [part for part in sentences if index_text(part).has_value(value)]
    return any(names_directive(part) for part in own)


def _must_be_named(name: str, value: str) -> bool:
    """Return whether a value that occurs nowhere is a doubt: places to reach, but no names, numbers and words."""
    if is_account(value):
        return True
    if _STREET.search(name):
        return False
    return bool(_PATH_NAME.search(name) or _ADDRESS_NAME.search(name)) and not value.strip().isdigit()


def _is_invented_id(name: str, context: CallContext) -> bool:
    """Return whether an id that occurs nowhere is a doubt: only once a text has spoken to the agent itself."""
    return context.has_injection and _ID_NAME.search(name) is not None


def _can_matter(name: str, value: str) -> bool:
    """Return whether a value that an instruction names is worth a question; most numbers and dates are not."""
    return _ID_NAME.search(name) is not None or not _QUANTITY.fullmatch(value.strip())


def _carries_data(address: Address) -> bool:
    return "?" in address.key or "/" in address.key


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
    """List (path, value) of the call's strings and numbers as text; keys at the top level are left out."""
    arguments = call.arguments
    strings = [(path, value) for path, value in list_strings(arguments) if path]
    numbers = [
        (path, f"{value:g}" if isinstance(value, float) else str(value)) for path, value in list_numbers(arguments)
    ]
    return strings + numbers
