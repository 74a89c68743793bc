"""Where values come from: nothing goes to a place that only a tool's result named.

Text in a web page, a mail or a file may have been written by anybody. Where a call would send, pay, share, delete
or change something, who or what it names must have been named by the user, by the system, by the policy, or
stand alone in a field of a result whose fields the policy trusts (an address in a contact, an id in a list).
Without any tool's result before it there is nothing to doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.context import folded, numbers_in, strings_in, top

if TYPE_CHECKING:
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ProvenanceCheck", "is_destination"]

_SHORT = 80  # characters: longer values are texts, which a call may well bring from one place to another
_LEAST = 2
_NAMED = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|websites?|webhooks?"
    r"|hosts?|domains?|address(es)?|ibans?|accounts?|phones?|channels?|users?|usernames?|guests?|members?"
    r"|participants?|attendees?|invitees?|contacts?|destinations?|targets?|endpoints?|wallets?|passwords?)(_|$)",
    re.IGNORECASE,
)
_IDENTIFIES = re.compile(r"(^|_)(ids?|key|number|code|name)(_|$)", re.IGNORECASE)
_TEXT = re.compile(
    r"(^|_)(body|text|content|contents|message|summary|description|subject|title|note|notes|caption|comment|details|query"
    r"|reason)(_|$)",
    re.IGNORECASE,
)
_LINK = re.compile(r"\bhttps?://\S+|\bwww\.\S+", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACE = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.-]+|\b[a-z][a-z0-9+.-]*://\S+|\b(?:www\.)[\w.-]+\S*|\b[A-Z]{2}\d{2}[A-Z0-9]{8,30}\b"
    r"|(?<!\w)\+?\d[\d ().-]{7,}\d",
    re.IGNORECASE,
)


class ProvenanceCheck(PerCallCheck):
    """Blocks what only an untrusted result named."""

    name = "provenance"

    def one(self, call: ToolCall, scene: CallContext) -> list[Finding]:
        """An objection for every argument that is."""
        if not any(source.role == "tool" for source in scene.sources):
            return []
        policy, found = scene.policy.of(call.name), []
        for path, value in _values(call):
            argument = top(path)
            reason = self._doubt(argument, value, policy, scene)
            if reason:
                found.append(
                    Finding(action=Action.BLOCK, layer=self.name, reason=reason, arguments=(argument,))
                )
        return found

    def _doubt(self, argument: str, value: str, policy: ToolRules, scene: CallContext) -> str | None:
        destination = is_destination(argument, policy)
        places = _PLACE.findall(value) if destination else []
        if policy.effect == "read" and not (destination and places):
            return None  # looking something up by what a text says changes nothing; opening an address does
        text = folded(value)
        if len(text) < _LEAST or _known(text, scene):
            return None
        if destination and places and len(value) <= 2 * _SHORT:
            return f"{argument}: {value!r} was named by nobody who is trusted{_where(text, scene)}"
        if _TEXT.search(_snake(argument)) and not destination:
            return self._passed_on(argument, value, scene)
        named = destination or _IDENTIFIES.search(_snake(argument)) or not text.isdigit()
        if named and len(value) <= _SHORT and _stands(text, scene.prose):
            return f"{argument}: {value!r} comes from text that anybody may have written{_where(text, scene)}"
        return None

    def _passed_on(self, argument: str, value: str, scene: CallContext) -> str | None:
        """Text may be brought from one place to another; an address in it that only a result named may not."""
        for place in _LINK.findall(value):
            text = folded(place.rstrip(".,;:!?)"))
            if not _known(text, scene) and _stands(text, scene.prose):
                return f"{argument}: it passes on {place!r}, an address that anybody may have written"
        return None


def is_destination(argument: str, policy: ToolRules) -> bool:
    """Whether an argument says where something goes, or whom it concerns."""
    if policy.destinations is not None:
        return argument in policy.destinations
    return _NAMED.search(_snake(argument)) is not None


def _snake(name: str) -> str:
    return _CAMEL.sub("_", name)


def _values(call: ToolCall) -> list[tuple[str, str]]:
    arguments = call.arguments
    strings = [(path, value) for path, value in strings_in(arguments) if path]
    numbers = [
        (path, f"{value:g}" if isinstance(value, float) else str(value))
        for path, value in numbers_in(arguments)
    ]
    return strings + numbers


def _known(text: str, scene: CallContext) -> bool:
    return text in scene.fields or _stands(text, scene.trusted)


def _stands(text: str, within: str) -> bool:
    """Whether it stands there as it is, and not as a part of something longer."""
    start = within.find(text)
    while start >= 0:
        before, after = within[start - 1 : start], within[start + len(text) : start + len(text) + 1]
        if not (before.isalnum() and text[0].isalnum()) and not (after.isalnum() and text[-1].isalnum()):
            return True
        start = within.find(text, start + 1)
    return False


def _where(text: str, scene: CallContext) -> str:
    """In whose result it stands, in words."""
    for source in scene.sources:
        if source.role == "tool" and text in folded(source.text):
            return f"; it stands in a result of {source.tool or 'a tool'}"
    return ""
