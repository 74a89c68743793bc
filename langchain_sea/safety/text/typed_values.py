"""Values compared by meaning: addresses as a whole, accounts and ids without blanks and punctuation.

An e-mail address, a URL or a host is known as a whole or not at all: `smith@gmail.com` does not occur in
`john.smith@gmail.com`. All other values are compared without punctuation, and only at the borders of words: `ACC7781X`
occurs in `ACC-7781-X`, and `12` does not occur in `2012`. Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

__all__ = [
    "WALLET",
    "Address",
    "TextIndex",
    "find_accounts",
    "find_addresses",
    "get_registrable",
    "index_text",
    "is_account",
    "is_path",
    "list_national_forms",
    "normalize_url",
    "to_compact",
]

_CACHED_TEXTS = 512
_EMAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_URL = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`|\\^]+|\bwww\.[\w.-]+[^\s<>\"'`|\\^]*|\b(?:mailto|javascript|data):[^\s<>\"']+",
    re.IGNORECASE,
)
_URL_STARTS = ("://", "www.", "mailto:", "javascript:", "data:")
_HOST = re.compile(r"(?<![@\w.-])(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w@])(?:/[^\s<>\"'`]*)?", re.IGNORECASE)
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){10,30}", re.IGNORECASE)
_WRITTEN_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?)\b")
WALLET = re.compile(
    r"(?:bc1|tb1|ltc1)[02-9ac-hj-np-z]{20,87}|0x[0-9a-fA-F]{40}"
    r"|(?=\w*[a-z])(?=\w*[A-Z])(?=\w*\d)[13LDXr][1-9A-HJ-NP-Za-km-z]{25,34}"
)
"""Addresses of accounts in a currency such as Bitcoin or Ether."""
_WRITTEN_WALLET = re.compile(rf"(?<!\w)(?:{WALLET.pattern})(?!\w)")
_SHARED_LABELS = frozenset(["co", "com", "org", "net", "ac", "gov", "edu", "or", "ne", "go"])
_MIN_LABELS = 2
_COUNTRY = 2  # letters of a country's label
_PHONE = re.compile(r"\+?\d[\d ().\-/]{6,20}\d")
_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?[\\/][^\n]{1,400}")
_FILE_ENDING = re.compile(
    r"\.(?:docx?|xlsx?|pptx?|txt|pdf|md|csv|json|ya?ml|tex|py|js|ts|sh|html?|png|jpe?g|zip|gz|log)$"
)
_LONG_WORD = re.compile(r"[^\s<>\"'`|\\^,;()\[\]{}]+")
_MAX_WORD = 2_048  # characters
_LONG = 10_000  # characters
_WORD = re.compile(r"[^\W_]+")
_END_PUNCTUATION = ".,;:!?)]}>'\"*"
_MIN_PHONE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Address:
    """Something that a call can reach: an e-mail address or a URL.

    Attributes:
        kind: `email` or `url`.
        key: what is compared: lower case, without scheme, `www.` and a closing slash.
        host: the domain.
        text: as it was written.
    """

    kind: str
    key: str
    host: str
    text: str


@dataclass(frozen=True, slots=True)
class TextIndex:
    """What one text names, for many look-ups.

    Attributes:
        emails: keys of its e-mail addresses.
        urls: keys of its URLs and bare hosts.
        hosts: hosts of its URLs, and hosts that stand alone.
        joined: its words in lower case, without anything between them.
        starts: for each character of `joined`, whether a word begins there; one longer than `joined`.
        numbers: its numbers.
    """

    emails: frozenset[str]
    urls: frozenset[str]
    hosts: frozenset[str]
    joined: str
    starts: bytes
    numbers: frozenset[float]

    def has_address(self, address: Address) -> bool:
        """Return whether the text has exactly this address; a trailing part of a path does not count."""
        return address.key in (self.emails if address.kind == "email" else self.urls)

    def has_value(self, value: str) -> bool:
        """Return whether the value occurs at borders of words, whatever stands between its own words."""
        compact = to_compact(value)
        if not compact:
            return False
        place = self.joined.find(compact)
        while place >= 0:
            if self.starts[place] and self.starts[place + len(compact)]:
                return True
            place = self.joined.find(compact, place + 1)
        return False


@lru_cache(maxsize=_CACHED_TEXTS)
def index_text(text: str) -> TextIndex:
    """Index a text; the newest texts are kept, so that a long conversation is read once."""
    addresses = find_addresses(text, with_hosts=True)
    words = _WORD.findall(text.casefold())
    joined = "".join(words)
    starts = bytearray(len(joined) + 1)
    place = 0
    for word in words:
        starts[place] = 1
        place += len(word)
    starts[place] = 1
    urls = [each for each in addresses if each.kind == "url"]
    return TextIndex(
        emails=frozenset(each.key for each in addresses if each.kind == "email"),
        urls=frozenset(each.key for each in urls),
        hosts=frozenset(each.host for each in urls),
        joined=joined,
        starts=bytes(starts),
        numbers=frozenset(_read_numbers(text)),
    )


def to_compact(value: str) -> str:
    """Return the letters and digits of a value in lower case."""
    return _compact_long(value) if len(value) > _LONG else "".join(_WORD.findall(value.casefold()))


@lru_cache(maxsize=4)
def _compact_long(value: str) -> str:
    """Do it once for a long text, which every check compares; in parts, between which other threads may run."""
    parts = (value[start : start + _LONG].casefold() for start in range(0, len(value), _LONG))
    return "".join("".join(_WORD.findall(part)) for part in parts)


def find_addresses(text: str, *, with_hosts: bool = False) -> list[Address]:
    """List e-mail addresses and URLs in a text; with hosts, also names such as `museum.example` that have no scheme."""
    return list(_find_addresses(text, with_hosts=with_hosts))


@lru_cache(maxsize=8)  # texts may be long
def _find_addresses(text: str, *, with_hosts: bool) -> tuple[Address, ...]:
    """Do it once for a text, which several checks look at."""
    addresses = []
    others, end = [], 0
    for match in _URL.finditer(text) if _has_url_start(text) else ():
        if not _is_mail_link(match.group()):
            addresses.append(_make_url(match.group().rstrip(_END_PUNCTUATION)))
            others.append(text[end : match.start()])
            end = match.end()
    rest = " ".join((*others, text[end:]))
    has_address = "@" in rest or (with_hosts and "." in rest)
    # word by word, so that no pattern runs over a long text without blanks
    for word in _LONG_WORD.finditer(rest) if has_address else ():
        part = word.group()[:_MAX_WORD]
        if "@" in part:
            for match in _EMAIL.finditer(part):
                written = match.group().strip(".-")
                addresses.append(Address("email", written.casefold(), written.rpartition("@")[2].casefold(), written))
        elif with_hosts and "." in part:
            addresses += [_make_url(match.group().rstrip(_END_PUNCTUATION)) for match in _HOST.finditer(part)]
    return tuple(addresses)


def find_accounts(text: str) -> set[str]:
    """Return the bank accounts and wallets in a text, without blanks."""
    patterns = (_WRITTEN_IBAN, _WRITTEN_WALLET)
    return {to_compact(match.group()) for pattern in patterns for match in pattern.finditer(text)}


def get_registrable(host: str) -> str:
    """Return the part of a host that somebody owns: its last two labels, or three as in `example.co.uk`."""
    labels = host.split(".")
    is_shared = len(labels) > _MIN_LABELS and len(labels[-1]) == _COUNTRY and labels[-2] in _SHARED_LABELS
    return ".".join(labels[-3:] if is_shared else labels[-2:])


def _has_url_start(text: str) -> bool:
    """Return whether a text may hold a URL; much faster than the pattern that finds where one begins."""
    folded = text.casefold()  # as the pattern does, for which ſ is an s
    return any(start in folded for start in _URL_STARTS)


def _is_mail_link(url: str) -> bool:
    return url[:7].lower() == "mailto:"


def normalize_url(url: str) -> tuple[str, str]:
    """Return (key, host) of a URL: without scheme, user, `www.`, and a closing slash; the host in lower case."""
    plain = url.strip().replace("\\", "/")
    if "://" not in plain:
        plain = f"http://{plain.lstrip('/')}"
    try:
        parts = urlsplit(plain)
        host = (parts.hostname or "").removeprefix("www.").rstrip(".")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a port that is no number, brackets that do not close
        return plain.casefold(), plain.casefold()
    query = f"?{parts.query}" if parts.query else ""
    return f"{host}{port}{parts.path.rstrip('/')}{query}", host


def is_account(value: str) -> bool:
    """Return whether a value is an IBAN, a wallet or a telephone number as a whole."""
    text = value.strip()
    if len(text) > _MAX_WORD:
        return False
    if _IBAN.fullmatch(text) or WALLET.fullmatch(text):
        return True
    digits = sum(character.isdigit() for character in text)
    is_date = re.fullmatch(r"\d{4}-\d{2}-\d{2}.*", text) is not None
    return digits >= _MIN_PHONE_DIGITS and not is_date and text.startswith("+") and bool(_PHONE.fullmatch(text))


def list_national_forms(value: str) -> list[str]:
    """List how a telephone number with a country code (of one to three digits) is written within its country."""
    text = value.strip()
    if not text.startswith("+") or not is_account(text):
        return []
    digits = to_compact(text)
    return [prefix + digits[length:] for length in (1, 2, 3) for prefix in ("", "0")]


def is_path(value: str) -> bool:
    """Return whether a value is a path or the name of a file."""
    text = value.strip()
    return bool(_PATH.fullmatch(text) or _FILE_ENDING.search(text.lower()))


def _make_url(written: str) -> Address:
    key, host = normalize_url(written)
    return Address("url", key, host, written)


def _read_numbers(text: str) -> list[float]:
    numbers = []
    for match in re.finditer(r"(?<![\w.])\d[\d,]{0,20}(?:\.\d{1,10})?(?!\w)", text):
        try:
            numbers.append(float(match.group().replace(",", "")))
        except ValueError:
            continue
    return numbers
