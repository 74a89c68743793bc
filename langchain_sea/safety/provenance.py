"""Where a call's values come from: information-flow control with endorsement, for the arguments that matter.

A *sink* is an argument that decides where something goes or what is changed: a recipient, a URL, an account, a path, a
command, a role. The value of a sink of a tool with an effect must have been named by somebody who is trusted (the
user, the operator, a human who was asked) or stand alone in a field of a lookup's result. A value that only running
text of results named, or that nobody named, is a doubt: a human is asked.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.name_patterns import (
    ABSOLUTE,
    ADDRESS_NAME,
    AMOUNT_NAME,
    CODE_NAME,
    DESTINATION_NAME,
    FILE_NAME,
    ID_NAME,
    NEXT_THING,
    PATH_NAME,
    QUANTITY,
    SENTENCE_END,
    SOUGHT,
    STREET,
    TEXT_NAME,
)
from langchain_sea.safety.tool_effects import find_tool_acts, has_injection_marker, names_directive
from langchain_sea.safety.typed_values import (
    Address,
    TextIndex,
    find_addresses,
    index_text,
    is_account,
    is_path,
    list_national_forms,
    to_compact,
)
from langchain_sea.safety.values import get_argument, get_field, list_numbers, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.context import CallContext, UntrustedText
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["ProvenanceCheck", "is_destination"]

_MAX_SHORT = 80  # characters: longer values are texts, which a call may copy from one place to another
_MIN_LENGTH = 2
_NAMED_BY_NOBODY = "was named by nobody: not the user, not the operator, no result of a lookup"
_MIN_COPIED_WORDS = 3
_MAX_LISTED = 40  # addresses in one value


class ProvenanceCheck(PerCallCheck):
    """Asks about values of sinks that nobody who is trusted named; a call without a conversation has no origins."""

    name = "provenance"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each value of doubtful origin."""
        if not context.messages:
            return []
        origins = _Origins(call, context)
        own_words = _list_schema_words(context.tools.get(call.name, {}))
        findings: dict[tuple[str, str], Finding] = {}
        for path, value in _list_values(call):
            if to_compact(value) in own_words:
                continue
            argument = get_argument(path)
            if reason := origins.find_doubt(path, value):
                finding = Finding(action=Action.ASK, check=self.name, reason=f"{path}: {reason}", arguments=(argument,))
                findings.setdefault((argument, value), finding)
        return list(findings.values())


def is_destination(argument: str, rules: ToolRules) -> bool:
    """Return whether an argument says where something is sent, or whom it concerns."""
    if rules.destinations is not None:
        return argument in rules.destinations
    return DESTINATION_NAME.search(to_snake_case(argument)) is not None


class _Origins:
    """Who named the values of one call."""

    def __init__(self, call: ToolCall, context: CallContext) -> None:
        self.context, self.tool = context, call.name
        self.rules: ToolRules = context.policy.rules_for(call.name)
        self.is_write = context.effect_of(call.name) == "write"

    def find_doubt(self, path: str, value: str) -> str | None:
        """Return why the origin of a value is in doubt."""
        name = to_snake_case(get_field(path)).lower()
        is_sink = is_destination(get_argument(path), self.rules) or is_destination(get_field(path), self.rules)
        if self.rules.destinations is not None and not self.is_write and not is_sink:
            return None
        addresses = find_addresses(value, with_hosts=is_sink)[:_MAX_LISTED]
        is_code = CODE_NAME.search(name) is not None
        if not (is_sink or is_code) and (TEXT_NAME.search(name) or len(value) > _MAX_SHORT):
            return self._find_doubt_of_text(value, addresses)
        for address in addresses:
            if reason := self._find_doubt_of_address(address):
                return reason
        if addresses or not self.is_write or len(to_compact(value)) < _MIN_LENGTH or self._is_known(value):
            return None
        return self._find_doubt_of_value(name, value, is_sink=is_sink)

    def _find_doubt_of_value(self, name: str, value: str, *, is_sink: bool) -> str | None:
        """Return a doubt about a value of a write that is no address."""
        texts = [each for each in self.context.untrusted if index_text(each.text).has_value(value)]
        directed = next((each for each in texts if _is_directed(each, lambda index: index.has_value(value))), None)
        if directed is not None and _can_matter(name, value):
            return f"{value[:_MAX_SHORT]!r} was named only by an instruction in {directed.origin}"
        is_sink = is_sink or is_account(value) or bool(PATH_NAME.search(name) or CODE_NAME.search(name))
        if texts and is_sink and not any(self._is_delegated(each, lambda i: i.has_value(value)) for each in texts):
            return f"{value[:_MAX_SHORT]!r} was named only by running text of {texts[0].origin}"
        is_invented_id = self.context.has_injection and ID_NAME.search(name) is not None
        if not texts and (is_invented_id or self._must_be_named(name, value)):
            return f"{value[:_MAX_SHORT]!r} {_NAMED_BY_NOBODY}"
        return None

    def _find_doubt_of_address(self, address: Address) -> str | None:
        context = self.context
        if self._is_known_address(address):
            return None
        texts = [each for each in context.untrusted if index_text(each.text).has_address(address)]
        if self.is_write:
            return self._find_doubt_of_target(address, texts)
        if directed := next((each for each in texts if _is_directed(each, lambda i: i.has_address(address))), None):
            return f"an instruction in {directed.origin} names {address.text!r}, and nobody who is trusted does"
        if texts:
            return None
        return self._find_lookalike(address) or self._find_added(address) or self._find_carried(address)

    def _find_doubt_of_target(self, address: Address, texts: Sequence[UntrustedText]) -> str | None:
        """Return a doubt about an address to which something is sent, given the untrusted texts that have it."""
        if not texts:
            return None if self._is_person_named(address) else f"{address.text!r} {_NAMED_BY_NOBODY}"
        if any(self._is_delegated(each, lambda i: i.has_address(address)) for each in texts):
            return None
        return f"{address.text!r} was named only by running text of {texts[0].origin}"

    def _find_lookalike(self, address: Address) -> str | None:
        """Return a doubt about a host that nobody named, and that begins with or holds the name of one."""
        hosts = {host for index in self.context.trusted for host in index.hosts if host}
        imitated = next((h for h in hosts if h in address.host and not f".{address.host}".endswith(f".{h}")), None)
        return f"{address.text!r} {_NAMED_BY_NOBODY}, and looks like {imitated}" if imitated else None

    def _is_person_named(self, address: Address) -> bool:
        """Return whether a trusted text names whoever an e-mail address is of, before anything untrusted was read.

        The agent then knows the address from elsewhere, as a person's assistant does.
        """
        if address.kind != "email" or self.context.is_tainted:
            return False
        names = [part for part in re.split(r"[._+-]", address.key.partition("@")[0]) if len(part) > 1]
        return any(index.has_value(name) for index in self.context.trusted for name in names)

    def _find_doubt_of_text(self, value: str, addresses: list[Address]) -> str | None:
        """Text may be copied, but not with an address that an instruction named or that was added to."""
        if not self.is_write:
            return next((reason for each in addresses if (reason := self._find_doubt_of_address(each))), None)
        for address in addresses:
            if address.kind != "url" or self._is_known_address(address):
                continue
            texts = [each for each in self.context.untrusted if index_text(each.text).has_address(address)]
            if not texts and (reason := self._find_added(address)):
                return reason
            if directed := next(
                (e for e in texts if _is_directed(e, partial(TextIndex.has_address, address=address))), None
            ):
                return f"it passes on {address.text!r}, which an instruction in {directed.origin} names"
        return self._find_copied(value)

    def _find_added(self, address: Address) -> str | None:
        """Return a doubt about a URL on a host that only a result named, with something added to it."""
        texts = [each for each in self.context.untrusted if address.host in index_text(each.text).hosts]
        if not texts or address.kind != "url" or not ("/" in address.key or "?" in address.key):
            return None
        return f"{address.text!r} adds to an address that only {texts[0].origin} named; it may carry data away"

    def _find_carried(self, address: Address) -> str | None:
        """Return a doubt about an address to open that the agent wrote itself after it had read strangers' text."""
        if address.kind != "url" or not self.context.is_tainted:
            return None
        if "?" not in address.key and len(address.key) <= _MAX_SHORT:
            return None
        return f"nobody named {address.text[:_MAX_SHORT]!r}, and it may carry data away"

    def _find_copied(self, value: str) -> str | None:
        """Where a text speaks to the agent, none of its words are copied into a write as they are."""
        context = self.context
        if not context.has_injection or len(value.split()) < _MIN_COPIED_WORDS:
            return None
        if any(index.has_value(value) for index in context.trusted):
            return None
        injected = (each for each in context.untrusted if has_injection_marker(each.text))
        copied = next((each for each in injected if index_text(each.text).has_value(value)), None)
        return f"it copies words of {copied.origin}, which speaks to the agent itself" if copied else None

    def _is_known(self, value: str) -> bool:
        """Return whether somebody who is trusted named the value, or a field of a lookup has it."""
        if self._is_named(value) or any(map(self._is_named, list_national_forms(value))):
            return True
        if not is_path(value):
            return False
        plain = value.replace("\\", "/")
        if any(plain.startswith(f"{folder.rstrip('/')}/") for folder in self.rules.paths or ()):
            return True
        last = plain.rstrip("/").rpartition("/")[2]
        return bool(last) and self._is_named(last)

    def _is_named(self, value: str) -> bool:
        return self.context.is_field(value) or any(index.has_value(value) for index in self.context.trusted)

    def _is_known_address(self, address: Address) -> bool:
        """Return whether an address is known; a host that somebody trusted named alone is known with its pages."""
        context = self.context
        if any(index.has_address(address) for index in context.trusted):
            return True
        if context.is_field(address.text) or context.is_field(address.key):
            return True
        if address.kind != "url":
            return False
        hosts = [host.lower().lstrip("*.") for host in self.rules.hosts or ()]
        if any(address.host == host or address.host.endswith(f".{host}") for host in hosts):
            return True
        return any(address.host in index.urls for index in context.trusted)

    def _is_delegated(self, text: UntrustedText, has_it: Callable[[TextIndex], bool]) -> bool:
        """Return whether the user sent the agent to this page or file for such a value, and no instruction names it."""
        if has_injection_marker(text.text) or _is_directed(text, has_it):
            return False
        source = index_text(text.source)
        return any(_sends_to(part, source) for user in self.context.user_texts for part in NEXT_THING.split(user))

    def _must_be_named(self, name: str, value: str) -> bool:
        """Return whether a value that occurs nowhere is a doubt: places to reach, but no names, numbers and words."""
        if is_account(value):
            return True
        if ADDRESS_NAME.search(name) and not value.strip().isdigit():
            return True
        if value.strip().isdigit() or STREET.search(name):
            return False
        is_new_file = not find_tool_acts(self.tool) & {"delete", "grant", "execute"} and not ABSOLUTE.match(value)
        return PATH_NAME.search(name) is not None and not is_new_file


def _sends_to(request: str, source: TextIndex) -> bool:
    """Return whether a part of the user's request names the source of a result, and a kind of value to look for."""
    if not SOUGHT.search(request):
        return False
    named = index_text(request)
    return bool(named.urls & source.urls) or any(source.has_value(name) for name in FILE_NAME.findall(request))


def _is_directed(text: UntrustedText, has_it: Callable[[TextIndex], bool]) -> bool:
    """Return whether a sentence of the text that has the value tells its reader to act."""
    sentences = (part for part in SENTENCE_END.split(text.text) if part.strip())
    return any(has_it(index_text(part)) and names_directive(part) for part in sentences)


def _can_matter(name: str, value: str) -> bool:
    """Return whether a value that an instruction names is worth a question: dates and most numbers are not."""
    return (
        ID_NAME.search(name) is not None
        or AMOUNT_NAME.search(name) is not None
        or not QUANTITY.fullmatch(value.strip())
    )


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
