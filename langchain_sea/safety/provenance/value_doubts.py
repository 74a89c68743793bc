"""Doubts about the origin of each value of a call: addresses, accounts, amounts, rights, packages, and copied words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.commands.packages import list_packages, list_program_addresses
from langchain_sea.safety.provenance.address_doubts import (
    NAMED_BY_NOBODY,
    asks_to_log_in,
    find_doubt_of_login,
    find_doubt_of_opened,
    find_doubt_of_passed,
    find_doubt_of_target,
)
from langchain_sea.safety.provenance.sources import Sources, get_kind, has_value, is_directed
from langchain_sea.safety.text.lookalikes import get_form
from langchain_sea.safety.text.name_patterns import (
    ABSOLUTE,
    ADDRESS_NAME,
    AMOUNT_NAME,
    CODE_NAME,
    DATE,
    ID_NAME,
    PATH_NAME,
    PLACE_NAME,
    QUANTITY,
    STREET,
    TEXT_NAME,
)
from langchain_sea.safety.text.stated_limits import leaves_others
from langchain_sea.safety.text.tool_effects import find_certain_acts, find_tool_acts, has_injection_marker, list_words
from langchain_sea.safety.text.typed_values import find_addresses, index_text, is_account, is_path, to_compact
from langchain_sea.safety.tools.rights import asks_for_public, find_doubt_of_right, is_right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.text.typed_values import Address
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["Origins"]

_RIGHTS = frozenset(
    ["access", "acl", "member", "members", "permission", "permissions", "policy", "role", "roles", "user", "visibility"]
)
_PUBLIC_FLAG = re.compile(r"(^|_)(public|anyone|everyone|world_readable)(_|$)", re.IGNORECASE)
_RESOLVING = frozenset(["dns", "resolve", "nslookup", "dig", "whois", "ping", "traceroute"])
"""Words of tools that ask the network for a name, which tells the name to whoever owns it."""
_TRUE = frozenset(["true", "1", "yes"])
_REACHING = frozenset(["send", "pay", "grant"])
_MAX_SHORT = 80  # characters: longer values are texts, which a call may copy from one place to another
_MIN_LENGTH = 2
_MIN_DIGITS = 5  # of the number of an account
_MIN_COPIED_WORDS = 3
_MAX_LISTED = 40  # addresses in one value


class Origins:
    """Who named the values of one call."""

    def __init__(self, call: ToolCall, context: CallContext) -> None:
        """Read what is trusted for the call's tool."""
        self.context, self.tool = context, call.name
        self.sources = Sources(call.name, context)
        self.is_write = context.effect_of(call.name) == "write"
        self.leaves_others = any(map(leaves_others, context.user_texts))
        self.resolves = not _RESOLVING.isdisjoint(list_words(call.name))
        self.grants = not _RIGHTS.isdisjoint(list_words(call.name)) or "grant" in find_tool_acts(call.name)
        self.reaches = self.is_write and context.is_tainted and not _REACHING.isdisjoint(find_tool_acts(call.name))
        certain = find_certain_acts(call.name)
        self.selects = self.is_write and bool(certain - {"remember"} or "approve" in find_tool_acts(call.name))
        self.pays = self.is_write and "pay" in find_tool_acts(call.name) | certain

    def find_doubt(self, name: str, value: str, *, is_sink: bool) -> str | None:
        """Return why the origin of a value is in doubt.

        Args:
            name: of the innermost argument, in lower case.
            value: as text.
            is_sink: whether the argument says where something goes, or whom it concerns.
        """
        if self.sources.rules.destinations is not None and not self.is_write and not is_sink:
            return None
        addresses = find_addresses(value, with_hosts=is_sink or self.resolves)[:_MAX_LISTED]
        is_code = CODE_NAME.search(name) is not None
        if not (is_sink or is_code) and (TEXT_NAME.search(name) or len(value) > _MAX_SHORT):
            return self._find_doubt_of_text(value, addresses)
        judge = find_doubt_of_target if self.is_write else find_doubt_of_opened
        reason = None if is_code else self._find_lookalike(name, value)
        reason = reason or next((doubt for each in addresses if (doubt := judge(self.sources, each))), None)
        if reason is None and self.is_write:
            reason = self._find_doubt_of_kind(name, value, is_code=is_code)
        if reason is None and self.selects and self._is_left_out(value):
            reason = f"{value[:_MAX_SHORT]!r} is not the one that the user named, but another of its list"
        if reason is None and self.reaches and is_sink and self._is_other(value):
            reason = f"{value[:_MAX_SHORT]!r} is of a record that nobody asked for"
        if reason is None and self.is_write and self._is_other(value):
            if self.leaves_others:
                reason = f"{value[:_MAX_SHORT]!r} is of a record that the user said to leave"
            elif self.sources.is_spoken_of(value):
                reason = (
                    f"{value[:_MAX_SHORT]!r} is of a record that the user's words leave out, and a result asks for it"
                )
        is_plain = self.is_write and not addresses and len(to_compact(value)) >= _MIN_LENGTH
        if reason is None and is_plain and not self.sources.is_known(value):
            reason = self._find_doubt_of_value(name, value, is_sink=is_sink)
        return reason

    def _find_doubt_of_kind(self, name: str, value: str, *, is_code: bool) -> str | None:
        """Return a doubt about rights or a package, which are judged even if their words are known."""
        if self.grants and is_right(name, value):
            requests = [text for text, _ in self.context.request_texts]
            if reason := find_doubt_of_right(value, requests, is_named=self.sources.names):
                return reason
        if is_code and (address := next((a for a in list_program_addresses(value) if not self._is_named_url(a)), None)):
            return f"it takes a program from {address[:_MAX_SHORT]!r}, which {NAMED_BY_NOBODY[4:]}"
        if is_code and self.context.is_tainted:
            unnamed = next((each for each in list_packages(value) if not self.sources.names(each)), None)
            return f"it installs {unnamed!r}, which {NAMED_BY_NOBODY[4:]}" if unnamed else None
        return None

    def _is_named_url(self, text: str) -> bool:
        return all(map(self.sources.is_known_address, find_addresses(text.removeprefix("git+"), with_hosts=True)))

    def find_publication(self, arguments: Mapping[str, object]) -> str | None:
        """Return a doubt about a call that opens something to everybody by its name or by a flag."""
        words = list_words(self.tool)
        is_flag = any(_PUBLIC_FLAG.search(name) and str(value).lower() in _TRUE for name, value in arguments.items())
        is_public = "public" in words and not find_tool_acts(self.tool) & {"delete"}
        if not self.is_write or not (is_flag or is_public):
            return None
        requests = [text for text, _ in self.context.request_texts]
        if self.tool in self.context.approved_tools or asks_for_public(requests):
            return None
        return f"{self.tool} opens something to everybody, and nobody asked for that"

    def _find_lookalike(self, name: str, value: str) -> str | None:
        """Return a doubt about a value that looks like one that was named."""
        if any(index.has_value(value) for index in self.sources.trusted):
            return None
        other = self.sources.find_lookalike(name, value) if self.is_write or get_form(value) == "host" else None
        return (
            f"{value[:_MAX_SHORT]!r} looks like {other[:_MAX_SHORT]!r}, which was named, and is not it"
            if other
            else None
        )

    def _is_left_out(self, value: str) -> bool:
        """Return whether a value is of a record beside one that the user named by its id."""
        compact = to_compact(value)
        return compact in self.context.left_out and not any(index.has_value(value) for index in self.sources.trusted)

    def _is_other(self, value: str) -> bool:
        """Return whether a value is of a record that the user's words leave out, and nobody trusted names it."""
        if to_compact(value) not in self.context.others:
            return False
        return not any(index.has_value(value) for index in self.sources.trusted)

    def _find_doubt_of_value(self, name: str, value: str, *, is_sink: bool) -> str | None:
        """Return a doubt about a value of a write that is no address."""
        has_it, kind = has_value(value), get_kind(name, value)
        texts = self.sources.list_texts(has_it)
        is_number = self.pays and _is_number_of_account(name, value)
        is_delegated = any(self.sources.is_delegated(each, has_it, kind) for each in texts)
        is_delegated = is_delegated and not self.sources.names_other(value)
        if reason := self.sources.find_ambiguity(value):
            return reason
        directed = next((each for each in texts if is_directed(each, has_it)), None)
        if directed is not None and _can_matter(name, value) and not is_delegated:
            return f"{value[:_MAX_SHORT]!r} was named only by an instruction in {directed.origin}"
        is_sink = is_sink or is_number or is_account(value) or bool(PATH_NAME.search(name) or CODE_NAME.search(name))
        if texts and is_sink and not is_delegated:
            return f"{value[:_MAX_SHORT]!r} was named only by running text of {texts[0].origin}"
        is_invented = self.context.has_injection and ID_NAME.search(name) is not None
        is_invented |= is_number and self.context.is_tainted
        if not texts and (is_invented or self._must_be_named(name, value)):
            return f"{value[:_MAX_SHORT]!r} {NAMED_BY_NOBODY}"
        return None

    def _find_doubt_of_text(self, value: str, addresses: list[Address]) -> str | None:
        """Text may be copied, but not with an address that an instruction named or that was added to."""
        if not self.is_write and any(index_text(text).has_value(value) for text in self.context.pasted):
            return None  # a text that the user asked about is looked at
        judge = find_doubt_of_passed if self.is_write else find_doubt_of_opened
        if reason := next((doubt for each in addresses if (doubt := judge(self.sources, each))), None):
            return reason
        if not self.is_write:
            return None
        looked_at = addresses if addresses and asks_to_log_in(value) else []
        logins = (find_doubt_of_login(self.sources, each) for each in looked_at)
        return next(filter(None, logins), None) or self._find_copied(value)

    def _find_copied(self, value: str) -> str | None:
        """Where a text speaks to the agent, none of its words are copied into a write as they are."""
        context = self.context
        if not context.has_injection or len(value.split()) < _MIN_COPIED_WORDS:
            return None
        if any(index.has_value(value) for index in self.sources.trusted):
            return None
        injected = (each for each in context.untrusted if has_injection_marker(each.text))
        copied = next((each for each in injected if index_text(each.text).has_value(value)), None)
        return f"it copies words of {copied.origin}, which speaks to the agent itself" if copied else None

    def _must_be_named(self, name: str, value: str) -> bool:
        """Return whether a value that occurs nowhere is a doubt: places to reach, but no names, numbers and words."""
        if is_account(value):
            return True
        if ADDRESS_NAME.search(name) and not value.strip().isdigit():
            return True
        if PLACE_NAME.search(name) and ABSOLUTE.match(value) and is_path(value):
            return True
        if value.strip().isdigit() or STREET.search(name):
            return False
        is_new_file = not find_tool_acts(self.tool) & {"delete", "grant", "execute"} and not ABSOLUTE.match(value)
        return PATH_NAME.search(name) is not None and not is_new_file


def _is_number_of_account(name: str, value: str) -> bool:
    """Return whether a value of a paying tool can be the number of an account, and is no amount and no date."""
    digits = sum(character.isdigit() for character in value)
    is_other = AMOUNT_NAME.search(name) or DATE.search(value) or "date" in name or "." in value
    return digits >= _MIN_DIGITS and not is_other and " " not in value.strip()


def _can_matter(name: str, value: str) -> bool:
    """Return whether a value that an instruction names is worth a question: most numbers and times are not."""
    if ID_NAME.search(name) or AMOUNT_NAME.search(name) or DATE.fullmatch(value.strip()):
        return True
    return not QUANTITY.fullmatch(value.strip())
