"""Who named a value or an address: somebody who is trusted, a field of a lookup, or the text of a stranger."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from langchain_sea.safety.conversation.records import list_ambiguous, list_remarks
from langchain_sea.safety.text.lookalikes import find_lookalike, get_form, list_formed_values
from langchain_sea.safety.text.name_patterns import AMOUNT_NAME, FILE_NAME, NEXT_THING, SENTENCE_END, SOUGHT
from langchain_sea.safety.text.tool_effects import (
    find_requested_acts,
    find_tool_acts,
    has_injection_marker,
    names_directive,
)
from langchain_sea.safety.text.typed_values import (
    TextIndex,
    find_accounts,
    find_addresses,
    index_text,
    is_account,
    is_path,
    list_national_forms,
    to_compact,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.safety.conversation.context import CallContext, UntrustedText
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.text.typed_values import Address

_FROM = re.compile(
    r"\b(?:from|out of|using|debit(?:ing)?|with) (?:(?:my|our|the) )?(?:\w+ ){0,3}?"
    r"(?=[A-Z]{2}\d{2}|0x|bc1|[13][a-zA-Z0-9]{25})\S+(?: [A-Z0-9]{4})*",
    re.IGNORECASE,
)
"""The account that money comes from."""
_FOLDER = re.compile(r"(?:^|[\s\"'(`])((?:~|[A-Za-z]:)?/[\w.~/-]{2,300})")
_MAX_TEXT = 20_000  # characters
_MIN_NAME = 3  # letters and digits of a value that a remark can name

__all__ = ["Sources", "get_kind", "has_address", "has_value", "is_directed"]


class Sources:
    """Who named the values of one call.

    Attributes:
        context: the conversation.
        tool: the tool's name.
        rules: of the tool.
        trusted: indexes of the texts whose values are trusted for this tool.
    """

    def __init__(self, tool: str, context: CallContext) -> None:
        """Read what is trusted for a tool."""
        self.context, self.tool = context, tool
        self.rules: ToolRules = context.policy.rules_for(tool)
        self.trusted = context.trusted_for(tool)

    def names(self, value: str) -> bool:
        """Return whether somebody who is trusted named a value, or a field of a lookup has it."""
        return self.context.is_field(value) or any(index.has_value(value) for index in self.trusted)

    def is_known(self, value: str) -> bool:
        """Return whether a value is named, also as a national telephone number or a path in a folder of the rules."""
        if self.names(value) or any(map(self.names, list_national_forms(value))):
            return True
        if not is_path(value):
            return False
        plain = value.replace("\\", "/")
        if any(plain.startswith(f"{folder.rstrip('/')}/") for folder in self.rules.paths or ()):
            return True
        last = plain.rstrip("/").rpartition("/")[2]
        return (bool(last) and self.names(last)) or self._is_in_named_folder(plain)

    def _is_in_named_folder(self, path: str) -> bool:
        """Return whether somebody who is trusted named a folder that an absolute path lies in."""
        if ".." in path or "%" in path:
            return False
        texts = [text for text, _ in self.context.request_texts]
        return any(path.startswith(f"{folder}/") for text in texts for folder in _list_folders(text))

    def is_known_address(self, address: Address) -> bool:
        """Return whether an address is known; a host that somebody trusted named alone is known with its pages."""
        if any(index.has_address(address) for index in self.trusted):
            return True
        if self.context.is_field(address.text) or self.context.is_field(address.key):
            return True
        return address.kind == "url" and (self.is_own_host(address.host) or self.has_named_host(address.host))

    def is_own_host(self, host: str) -> bool:
        """Return whether the tool's rules list a host."""
        hosts = [each.lower().lstrip("*.") for each in self.rules.hosts or ()]
        return any(host == each or host.endswith(f".{each}") for each in hosts)

    def has_named_host(self, host: str) -> bool:
        """Return whether somebody trusted named a host alone."""
        return any(host in index.urls for index in self.trusted)

    def list_texts(self, has_it: Callable[[TextIndex], bool]) -> list[UntrustedText]:
        """List the untrusted texts of which an index has something."""
        return [each for each in self.context.untrusted if has_it(index_text(each.text))]

    def find_directed(self, has_it: Callable[[TextIndex], bool]) -> UntrustedText | None:
        """Return an untrusted text of which a sentence that tells its reader to act has something."""
        return next((each for each in self.list_texts(has_it) if is_directed(each, has_it)), None)

    def is_delegated(self, text: UntrustedText, has_it: Callable[[TextIndex], bool], kind: str) -> bool:
        """Return whether the user sent the agent to this page or file for such a value, and the text leaves no choice.

        Args:
            text: that has the value.
            has_it: whether an index has the value.
            kind: of the value: `email`, `url`, `account`, `amount`, or `value` for all others.
        """
        if has_injection_marker(text.text) or self._count(text, kind) > 1:
            return False
        is_order, acts = is_directed(text, has_it), find_tool_acts(self.tool)
        source = index_text(text.source)
        gives_orders = any(map(names_directive, SENTENCE_END.split(text.text)))
        for user in self.context.user_texts:
            for part in NEXT_THING.split(user):
                is_asked = bool(acts & (find_requested_acts(part) or frozenset()))
                is_sought = SOUGHT.search(part) or (is_asked and kind in ("email", "account") and not gives_orders)
                if kind == "email" and index_text(part).emails:  # the user said to whom
                    continue
                if is_sought and _names_source(part, source):
                    return not is_order or (is_asked and kind in ("account", "amount"))
        return False

    def find_lookalike(self, name: str, value: str) -> str | None:
        """Return a value that a trusted text names and that another value looks like, and is not."""
        texts = [text for text, _ in self.context.request_texts]
        return find_lookalike(name, value, texts, is_field=self.context.is_field(value))

    def names_other(self, value: str) -> bool:
        """Return whether the user named another account of the same form as the place to pay to."""
        form = get_form(value)
        texts = [_FROM.sub(" ", text) for text in self.context.user_texts]
        return any(kind == form != "" for text in texts for kind, _ in list_formed_values(text))

    def is_spoken_of(self, value: str) -> bool:
        """Return whether a remark in a result speaks of a value: somebody wants it to be chosen."""
        if len(to_compact(value)) < _MIN_NAME:
            return False
        name = value.replace("\\", "/").rstrip("/").rpartition("/")[2]
        results = [message.text for message in self.context.messages if message.role == "tool"]
        return any(index_text(remark).has_value(name) for text in results for remark in list_remarks(text))

    def find_ambiguity(self, value: str) -> str | None:
        """Return why a document lends no account: it holds several of them."""
        for message in self.context.documents:
            if to_compact(value) in list_ambiguous(message.text):
                return f"{value[:80]!r} is one of several accounts in a result of {message.tool}, and nobody said which"
        return None

    def _count(self, text: UntrustedText, kind: str) -> int:
        """Count the values of a kind in all texts of a result."""
        texts = [
            each.text for each in self.context.untrusted if each.source == text.source and each.origin == text.origin
        ]
        if kind in ("account", "amount"):
            return len({account for each in texts for account in find_accounts(each)})
        return len({each.key for part in texts for each in find_addresses(part) if each.kind == kind})


@lru_cache(maxsize=256)
def _list_folders(text: str) -> tuple[str, ...]:
    """List the absolute paths in a text that can be folders below the root."""
    paths = [match.rstrip("/.") for match in _FOLDER.findall(text[:_MAX_TEXT])]
    return tuple(dict.fromkeys(path for path in paths if path.count("/") > (not path.startswith("~"))))


def is_directed(text: UntrustedText, has_it: Callable[[TextIndex], bool]) -> bool:
    """Return whether a sentence of the text that has something tells its reader to act."""
    sentences = (part for part in SENTENCE_END.split(text.text) if part.strip())
    return any(has_it(index_text(part)) and names_directive(part) for part in sentences)


def has_value(value: str) -> Callable[[TextIndex], bool]:
    """Return the question whether an index has a value."""
    return partial(TextIndex.has_value, value=value)


def has_address(address: Address) -> Callable[[TextIndex], bool]:
    """Return the question whether an index has an address."""
    return partial(TextIndex.has_address, address=address)


def get_kind(name: str, value: str) -> str:
    """Return `account` for the number of a bank account or a telephone, `amount` for a sum, else `value`."""
    if is_account(value):
        return "account"
    return "amount" if AMOUNT_NAME.search(name) else "value"


def _names_source(request: str, source: TextIndex) -> bool:
    """Return whether a part of the user's request names the source of a result: its address or its file."""
    named = index_text(request)
    return bool(named.urls & source.urls) or any(source.has_value(name) for name in FILE_NAME.findall(request))
