"""Where a call's values come from: nothing is sent to a place that only a tool's result named.

Anybody may have written the text of a web page, a mail or a file. Where a call would send, pay, share, delete or
change something, its target must have been named by the user, the system or the policy, or stand alone in a field of
a result whose fields the policy trusts (an address in a contact, an id in a list). Before the first result of a tool
there is nothing to check.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.values import get_argument, list_numbers, list_strings, normalize, to_snake_case

if TYPE_CHECKING:
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ProvenanceCheck", "is_destination"]

_MAX_SHORT = 80  # characters: longer values are texts, which a call may copy from one place to another
_MIN_LENGTH = 2
_DESTINATION_NAME = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|websites?|webhooks?"
    r"|hosts?|domains?|address(es)?|ibans?|accounts?|phones?|channels?|users?|usernames?|guests?|members?"
    r"|participants?|attendees?|invitees?|contacts?|destinations?|targets?|endpoints?|wallets?|passwords?)(_|$)",
    re.IGNORECASE,
)
_ID_NAME = re.compile(r"(^|_)(ids?|key|number|code|name)(_|$)", re.IGNORECASE)
_TEXT_NAME = re.compile(
    r"(^|_)(body|text|content|contents|message|summary|description|subject|title|note|notes|caption|comment|details|query"
    r"|reason)(_|$)",
    re.IGNORECASE,
)
_LINK = re.compile(r"\bhttps?://\S+|\bwww\.\S+", re.IGNORECASE)
_ADDRESS = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.-]+|\b[a-z][a-z0-9+.-]*://\S+|\b(?:www\.)[\w.-]+\S*|\b[A-Z]{2}\d{2}[A-Z0-9]{8,30}\b"
    r"|(?<!\w)\+?\d[\d ().-]{7,}\d",
    re.IGNORECASE,
)


class ProvenanceCheck(PerCallCheck):
    """Blocks values that only an untrusted result named."""

    name = "provenance"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each value of untrusted origin."""
        if not any(message.role == "tool" for message in context.messages):
            return []
        rules = context.policy.rules_for(call.name)
        findings = []
        for path, value in _list_values(call):
            argument = get_argument(path)
            if reason := _find_doubt(argument, value, rules, context):
                findings.append(Finding(action=Action.BLOCK, check=self.name, reason=reason, arguments=(argument,)))
        return findings


def is_destination(argument: str, rules: ToolRules) -> bool:
    """Return whether an argument says where something is sent, or whom it concerns."""
    if rules.destinations is not None:
        return argument in rules.destinations
    return _DESTINATION_NAME.search(to_snake_case(argument)) is not None


def _find_doubt(argument: str, value: str, rules: ToolRules, context: CallContext) -> str | None:
    """Return why the value's origin is not trusted."""
    destination = is_destination(argument, rules)
    addresses = _ADDRESS.findall(value) if destination else []
    if rules.effect == "read" and not (destination and addresses):
        return None  # a search for untrusted words changes nothing; opening an address does
    text, name = normalize(value), to_snake_case(argument)
    if len(text) < _MIN_LENGTH or _is_trusted(text, context):
        return None
    if destination and addresses and len(value) <= 2 * _MAX_SHORT:
        return f"{argument}: {value!r} was not named by anybody who is trusted{_describe_origin(text, context)}"
    if _TEXT_NAME.search(name) and not destination:
        return _find_untrusted_link(argument, value, context)
    is_name = destination or _ID_NAME.search(name) or not text.isdigit()
    if is_name and len(value) <= _MAX_SHORT and _contains(context.untrusted_text, text):
        return f"{argument}: {value!r} comes from untrusted text{_describe_origin(text, context)}"
    return None


def _find_untrusted_link(argument: str, value: str, context: CallContext) -> str | None:
    """Text may be copied from one place to another, but not an address in it that only a result named."""
    for link in _LINK.findall(value):
        text = normalize(link.rstrip(".,;:!?)"))
        if not _is_trusted(text, context) and _contains(context.untrusted_text, text):
            return f"{argument}: it passes on the address {link!r}, which comes from untrusted text"
    return None


def _list_values(call: ToolCall) -> list[tuple[str, str]]:
    """List (path, value) of the call's strings and numbers as text; keys at the top level are left out."""
    arguments = call.arguments
    strings = [(path, value) for path, value in list_strings(arguments) if path]
    numbers = [
        (path, f"{value:g}" if isinstance(value, float) else str(value)) for path, value in list_numbers(arguments)
    ]
    return strings + numbers


def _is_trusted(text: str, context: CallContext) -> bool:
    return text in context.trusted_values or _contains(context.trusted_text, text)


def _contains(whole: str, text: str) -> bool:
    """Return whether the text occurs, and not as a part of a longer word or number."""
    start = whole.find(text)
    while start >= 0:
        before, after = whole[start - 1 : start], whole[start + len(text) : start + len(text) + 1]
        if not (before.isalnum() and text[0].isalnum()) and not (after.isalnum() and text[-1].isalnum()):
            return True
        start = whole.find(text, start + 1)
    return False


def _describe_origin(text: str, context: CallContext) -> str:
    """Return which tool's result has the text, as the end of a sentence."""
    for message in context.messages:
        if message.role == "tool" and text in normalize(message.text):
            return f"; a result of {message.tool or 'a tool'} has it"
    return ""
