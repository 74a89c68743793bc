"""Doubts about addresses in a call: whom it sends to, and which data an address that is opened carries away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.provenance.sources import has_address
from langchain_sea.safety.text.patterns import compile_pattern
from langchain_sea.safety.text.typed_values import get_registrable, index_text, normalize_url

if TYPE_CHECKING:
    from langchain_sea.safety.provenance.sources import Sources
    from langchain_sea.safety.text.typed_values import Address

__all__ = [
    "NAMED_BY_NOBODY",
    "asks_to_log_in",
    "find_doubt_of_login",
    "find_doubt_of_opened",
    "find_doubt_of_passed",
    "find_doubt_of_target",
]

NAMED_BY_NOBODY = "was named by nobody: not the user, not the operator, no result of a lookup"
_MAX_SHORT = 80  # characters
_MAX_LETTERS = 12  # of words that nobody named, in an address that may be opened
_MAX_DIGITS = 2
_LOG_IN = (
    r"\b(?:log ?in|log ?on|sign ?in|passwords?|passcode|pin|credentials?"
    r"|verify (?:your|the) (?:account|identity)|card (?:number|details)|one-time code)\b"
)
_PARTS = re.compile(r"[^\W_]+")
_ASCII = re.compile(r"[\x00-\x7f]*")


def find_doubt_of_target(sources: Sources, address: Address) -> str | None:
    """Return a doubt about an address to which something is sent, or which is changed."""
    if sources.is_known_address(address):
        return None
    texts = sources.list_texts(has_address(address))
    if not texts:
        return None if _is_person_named(sources, address) else f"{address.text!r} {NAMED_BY_NOBODY}"
    if any(sources.is_delegated(each, has_address(address), address.kind) for each in texts):
        return None
    return f"{address.text!r} was named only by running text of {texts[0].origin}"


def find_doubt_of_opened(sources: Sources, address: Address) -> str | None:
    """Return a doubt about an address that is only read."""
    if sources.is_known_address(address):
        return _find_query(sources, address)
    if directed := sources.find_directed(has_address(address)):
        return f"an instruction in {directed.origin} names {address.text!r}, and nobody who is trusted does"
    if sources.list_texts(has_address(address)):
        return None
    return _find_lookalike(sources, address) or _find_added(sources, address) or _find_carried(sources, address)


def find_doubt_of_passed(sources: Sources, address: Address) -> str | None:
    """Return a doubt about a URL within a text that is sent: text may be copied, but not with an attacker's address."""
    if address.kind != "url" or sources.is_known_address(address):
        return None
    if not sources.list_texts(has_address(address)) and (reason := _find_added(sources, address)):
        return reason
    if directed := sources.find_directed(has_address(address)):
        return f"it passes on {address.text!r}, which an instruction in {directed.origin} names"
    return None


def asks_to_log_in(text: str) -> bool:
    """Return whether a text wants its readers to log in somewhere."""
    return compile_pattern(_LOG_IN).search(text) is not None


def find_doubt_of_login(sources: Sources, address: Address) -> str | None:
    """Return a doubt about a URL in a text that is sent, and that wants its readers to log in."""
    if address.kind != "url" or sources.is_known_address(address):
        return None
    texts = sources.list_texts(has_address(address))
    return f"it sends readers to log in at {address.text!r}, which only {texts[0].origin} named" if texts else None


def _is_person_named(sources: Sources, address: Address) -> bool:
    """Return whether a trusted text names whoever an e-mail address is of, before anything untrusted was read.

    The agent then knows the address from elsewhere, as a person's assistant does. Where a trusted text has an address
    of that person, or the address has letters beyond ASCII, which can look like others, a name is not enough.
    """
    if address.kind != "email" or sources.context.is_tainted or not _ASCII.fullmatch(address.key):
        return False
    local = address.key.partition("@")[0]
    if any(mail.partition("@")[0] == local for index in sources.trusted for mail in index.emails):
        return False
    names = [part for part in re.split(r"[._+-]", local) if len(part) > 1]
    return any(index.has_value(name) for index in sources.trusted for name in names)


def _find_lookalike(sources: Sources, address: Address) -> str | None:
    """Return a doubt about a host that nobody named, and that begins with or holds the name of one."""
    hosts = {host for index in sources.trusted for host in index.hosts if host}
    imitated = next((h for h in hosts if h in address.host and not f".{address.host}".endswith(f".{h}")), None)
    return f"{address.text!r} {NAMED_BY_NOBODY}, and looks like {imitated}" if imitated else None


def _find_added(sources: Sources, address: Address) -> str | None:
    """Return a doubt about a URL on a host that only a result named, with something added to it."""
    owner = get_registrable(address.host)
    texts = [
        each
        for each in sources.context.untrusted
        if any(get_registrable(host) == owner for host in index_text(each.text).hosts)
    ]
    has_more = "/" in address.key or "?" in address.key
    if not texts or address.kind != "url" or not (has_more or _list_unnamed(sources, _get_labels(address))):
        return None
    return f"{address.text!r} adds to an address that only {texts[0].origin} named; it may carry data away"


def _find_carried(sources: Sources, address: Address) -> str | None:
    """Return a doubt about an address that nobody named, and whose own words nobody named, once text was read."""
    if address.kind != "url" or not sources.context.is_tainted:
        return None
    unnamed = _list_unnamed(sources, f"{_get_labels(address)} {_get_rest(address)}")
    is_plain = "?" not in address.key and len(address.key) <= _MAX_SHORT
    if not unnamed and (is_plain or any(address.host in index.hosts for index in sources.trusted)):
        return None
    return f"nobody named {address.text[:_MAX_SHORT]!r}, and it may carry data away"


def _find_query(sources: Sources, address: Address) -> str | None:
    """Return a doubt about a query, or data in a path, on a host that somebody trusted named, once text was read."""
    rest = _get_rest(address)
    query = rest.partition("?")[2] or (rest if _holds_data(sources, rest) else "")
    if not query or address.kind != "url" or not sources.context.is_tainted or sources.is_own_host(address.host):
        return None
    if any(index.has_address(address) for index in sources.trusted):
        return None
    if sources.context.is_field(address.text) or sources.context.is_field(address.key):
        return None
    if not _list_unnamed(sources, query) or sources.list_texts(has_address(address)):
        return None
    return f"nobody named {query[:_MAX_SHORT]!r}, and it may carry data away"


def _holds_data(sources: Sources, text: str) -> bool:
    """Return whether a text has several values that the agent read in fields of results, one of them a number."""
    words = {word.casefold() for word in _PARTS.findall(text)} & sources.context.fields
    data = [word for word in words if not any(index.has_value(word) for index in sources.trusted)]
    return len(data) > 1 and any(word.isdigit() for word in data)


def _list_unnamed(sources: Sources, text: str) -> list[str]:
    """List words that no trusted text has, where there are enough of them to carry data."""
    words = [word for word in _PARTS.findall(text) if not any(index.has_value(word) for index in sources.trusted)]
    letters = sum(len(word) for word in words)
    digits = sum(character.isdigit() for word in words for character in word)
    return words if letters > _MAX_LETTERS or digits > _MAX_DIGITS else []


def _get_labels(address: Address) -> str:
    """Return the labels of a host before the part that somebody owns."""
    return address.host.removesuffix(get_registrable(address.host))


def _get_rest(address: Address) -> str:
    """Return what stands behind the host of an address."""
    return address.key.removeprefix(normalize_url(address.host)[0])
