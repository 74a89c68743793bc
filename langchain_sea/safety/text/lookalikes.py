"""Values that are nearly another one: an account with two digits swapped, a host with one letter more.

A stranger who wants a value to be taken for the one that the user named writes one that looks like it. Two values are
alike if they are of one form and a reader can confuse them: with letters of other alphabets, with a few characters
changed or swapped, or, for long ones, with the beginning and the end alone in common. Knows no conversation.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.text.deobfuscation import fold_letters
from langchain_sea.safety.text.name_patterns import NAMES_SOMEBODY
from langchain_sea.safety.text.typed_values import (
    WALLET,
    find_addresses,
    get_registrable,
    is_account,
    is_path,
    to_compact,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_lookalike", "get_form", "has_few_edits", "list_formed_values"]

_TOKEN = re.compile(r"[^\s,;:<>|\"'`()\[\]{}]{5,140}")
_SPACED_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")
_SPACED_PHONE = re.compile(r"\+\d[\d ().\-/]{6,20}\d")
_HANDLE = re.compile(r"@[\w.-]{3,60}")
_NAME = re.compile(r"[^\W\d_][\w./-]{4,60}")
_AS_LETTERS = str.maketrans("0134578$iłø", "oleastbsllo")
_MIN_LENGTH = 5
_LONG = 8  # characters, from which on two edits still leave a value's look
_ENDS = 4  # characters at both ends, which is what people compare of a long value
_MIN_ENDS_LENGTH = 16
_COUNTED = 3  # last digits, which count persons and places: +1 555 0100 and +1 555 0101
_MAX_COMPARED = 200  # values
_MAX_VALUE = 300  # characters
_MAX_TEXT = 20_000


@lru_cache(maxsize=2048)
def get_form(value: str) -> str:
    """Return the form of a value: `email`, `host`, `iban`, `wallet`, `phone`, `handle`, `number`, or none of them."""
    text = value.strip()
    if len(text) > _MAX_VALUE:
        return ""
    if _HANDLE.fullmatch(text):
        return "handle"
    addresses = find_addresses(text, with_hosts=True)
    if addresses and to_compact(addresses[0].text) == to_compact(text) and not is_path(text):
        return "email" if addresses[0].kind == "email" else "host"
    if WALLET.fullmatch(text):
        return "wallet"
    if is_account(text):
        return "phone" if text.startswith("+") else "iban"
    compact = to_compact(text)
    return "number" if compact.isdigit() and len(compact) >= _LONG and not re.search(r"[./:]", text) else ""


@lru_cache(maxsize=512)
def list_formed_values(text: str) -> tuple[tuple[str, str], ...]:
    """List (form, value) of a text's addresses, accounts, wallets, telephone numbers and handles, each once."""
    values: dict[tuple[str, str], None] = {}
    text = text[:_MAX_TEXT]
    for pattern, form in ((_SPACED_IBAN, "iban"), (_SPACED_PHONE, "phone")):
        for match in pattern.finditer(text):
            if get_form(match.group()) == form:
                values[form, match.group()] = None
    for match in _TOKEN.finditer(text):
        word = match.group().rstrip(".,;:!?)*_")
        is_formed = "." in word or "@" in word or any(map(str.isdigit, word))
        if is_formed and (form := get_form(word)) and not word.startswith("/"):
            values[form, word] = None
    for each in find_addresses(text):
        values["email" if each.kind == "email" else "host", each.text] = None
    return tuple(values)


def find_lookalike(name: str, value: str, texts: Iterable[str], *, is_field: bool = False) -> str | None:
    """Return a value of the texts that this one looks like, and is not.

    Args:
        name: of the argument, in snake case.
        value: whole.
        texts: of people who are trusted.
        is_field: whether the value stands alone in a lookup's result, where numbers that follow one another, and
            people of one company, are usual.
    """
    form = get_form(value)
    if not form:
        is_name = not is_field and NAMES_SOMEBODY.search(name) and _NAME.fullmatch(value.strip())
        return _find_near_name(value.strip(), texts) if is_name else None
    named = [each for text in texts for kind, each in list_formed_values(text) if kind == form][:_MAX_COMPARED]
    own = _get_compared(form, value)
    compared = [(_get_compared(form, each), each) for each in named]
    if any(other == own for other, _ in compared):
        return None
    return next((each for other, each in compared if _is_near(form, own, other, is_field=is_field)), None)


def _find_near_name(value: str, texts: Iterable[str]) -> str | None:
    """Return a word of the texts with which a name can be confused; a plural is no change."""
    words: list[str] = list(dict.fromkeys(word for text in texts for word in _NAME.findall(text[:_MAX_TEXT])))
    own = value.casefold()
    for word in words[:_MAX_COMPARED]:
        other = word.casefold().rstrip(".-")
        if own.startswith(other) or other.startswith(own):
            continue
        if min(len(own), len(other)) >= _MIN_LENGTH and (_fold(own) == _fold(other) or has_few_edits(own, other, 1)):
            return word
    return None


def _get_compared(form: str, value: str) -> str:
    """Return the part of a value that is compared: of an address the name that somebody owns, else its characters."""
    if form == "host":
        return get_registrable(find_addresses(value.strip(), with_hosts=True)[0].host).partition(".")[0]
    return value.strip().casefold() if form == "email" else to_compact(value)


def _is_near(form: str, own: str, other: str, *, is_field: bool) -> bool:
    """Return whether a reader can take one value for the other; the two differ."""
    if _fold(own) == _fold(other):
        return True
    if form == "email" and own.partition("@")[2] == other.partition("@")[2]:
        if is_field:
            return False
        own, other = own.partition("@")[0], other.partition("@")[0]
    if min(len(own), len(other)) < _MIN_LENGTH:
        return False
    if form in ("phone", "number") and (is_field or form == "number") and own[:-_COUNTED] == other[:-_COUNTED]:
        return False
    is_long = min(len(own), len(other)) >= _MIN_ENDS_LENGTH and form in ("iban", "wallet")
    if is_long and own[:_ENDS] == other[:_ENDS] and own[-_ENDS:] == other[-_ENDS:]:
        return True
    return has_few_edits(own, other, 2 if min(len(own), len(other)) >= _LONG else 1)


@lru_cache(maxsize=2048)
def _fold(text: str) -> str:
    """Return a text with each letter as what it looks like."""
    plain = unicodedata.normalize("NFKD", fold_letters(text).casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c)).translate(_AS_LETTERS)
    return plain.replace("rn", "m").replace("vv", "w")


def has_few_edits(one: str, other: str, most: int) -> bool:
    """Return whether at most so many changes, or swaps of neighbours, lead from one text to the other."""
    if abs(len(one) - len(other)) > most:
        return False
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return False
        before, last = last, row
    return last[-1] <= most
