"""Secrets that the agent read, and that leave in another form: in groups, backwards, encoded, in parts.

A text that leaves is searched for each form of each secret; that takes time in proportion to the text. All findings are
doubts. Knows no conversation.
"""

from __future__ import annotations

import base64
import re
import string
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.secrets.personal_secrets import list_secret_values
from langchain_sea.safety.secrets.service_keys import list_vendor_secrets
from langchain_sea.safety.text.deobfuscation import decode_forms, decode_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["find_passed_secret", "list_read_secrets"]

_MAX_SECRETS = 60  # of a conversation that are looked for
_MIN_COMPACT = 8  # letters and digits of a secret that is looked for in other forms
_MIN_SPLIT = 12  # letters and digits of a secret that is looked for in parts
_MIN_PIECE = 4
_MIN_SHARE = 0.8  # of a secret that its parts cover
_HALF = 0.6  # of a secret that is as good as the whole
_MAX_TEXT = 200_000  # characters
_MAX_FORMS_OF = 20_000  # characters of a text in which the rarer forms are looked for
_NUM_COMMON = 6  # forms of a secret that are looked for in longer texts, too
_PLAIN = str.maketrans("", "", "".join(chr(c) for c in range(128) if not chr(c).isalnum()))
_LOWER = string.ascii_lowercase
_DIGIT_WORDS = {"zero": "0", "null": "0", "one": "1", "two": "2", "three": "3", "tree": "3", "four": "4", "fower": "4", "five": "5", "fife": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "niner": "9"}  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_NUMBERS = re.compile(r"\d{2,3}(?:[\s,;]+\d{2,3}){7,4000}")
_BITS = re.compile(r"[01]{7,8}(?:[\s,;]*[01]{7,8}){5,4000}")
_BODY_LINE = re.compile(r"^[A-Za-z0-9+/=]{40,80}$", re.MULTILINE)
_MAX_LINES = 8  # of a private key


@lru_cache(maxsize=64)
def list_read_secrets(results: tuple[str, ...]) -> tuple[str, ...]:
    """List the secrets in the results of tools, each once and in a fixed order."""
    secrets: set[str] = set()
    for text in results:
        secrets |= list_secret_values(text)
        secrets |= list_vendor_secrets(text)
        if "PRIVATE KEY" in text:
            secrets |= set(_BODY_LINE.findall(text[:_MAX_TEXT])[:_MAX_LINES])
    return tuple(sorted(secrets)[:_MAX_SECRETS])


def find_passed_secret(text: str, secrets: Sequence[str], earlier: Sequence[str] = ()) -> tuple[str, str] | None:
    """Return (secret, how) of a secret that a text passes on; None where it passes on none.

    Args:
        text: that leaves.
        secrets: that were read.
        earlier: texts that left before it, or leave beside it; a secret can be split over them.
    """
    text = text[:_MAX_TEXT]
    numbers = {n for form in (text, re.sub(r"(?<=\d)[ -](?=\d)", "", text)) for n in re.findall(r"\d{3,19}", form)}
    for secret in secrets:
        if secret in numbers if secret.isdigit() else secret in text:
            return secret, "as it is"
    hidden = [each for each in secrets if len(to_plain(each)) >= (_MIN_SPLIT if each.isdigit() else _MIN_COMPACT)]
    return (_find_form(text, hidden) or _find_part(to_plain(text), hidden, earlier)) if hidden else None


def _find_form(text: str, secrets: Sequence[str]) -> tuple[str, str] | None:
    """Return (secret, how) of a secret that a text holds in another form."""
    readings, is_long = _list_readings(text), len(text) > _MAX_FORMS_OF
    for secret in secrets:
        for form, how in _list_forms(secret)[: _NUM_COMMON if is_long else None]:
            if form in readings[0]:
                return secret, how
            if any(form in reading for reading in readings[1:]):
                return secret, "encoded"
    return None


def _find_part(plain: str, secrets: Sequence[str], earlier: Sequence[str]) -> tuple[str, str] | None:
    """Return (secret, how) of a secret of which a text has most, or completes what left before it."""
    before = tuple(to_plain(each[:_MAX_TEXT]) for each in earlier) if len(plain) <= _MAX_FORMS_OF else ()
    for secret in map(to_plain, secrets):
        if _has_most(secret, plain):
            return secret, "in part"
        if before and _is_completed(secret, plain, before):
            return secret, "in several parts"
    return None


def to_plain(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return text.translate(_PLAIN).lower() if text.isascii() else "".join(filter(str.isalnum, text.casefold()))


def _list_readings(text: str) -> list[str]:
    """List what a reader can take a text for, as letters and digits alone: the text first, then what is decoded from it."""
    readings = [to_plain(text)]
    parts = decode_parts(text)[0]
    if len(text) <= _MAX_FORMS_OF:
        parts += decode_forms(text)[1:]
        parts += [_read_numbers(match[0]) for match in list(_NUMBERS.finditer(text))[:20]]
        parts += [_read_bits(match[0]) for match in list(_BITS.finditer(text))[:20]]
        words = _WORD.findall(text.casefold())
        parts.append("".join(_DIGIT_WORDS.get(word, word if word.isdigit() else word[0]) for word in words))
        parts.append("".join(line.strip()[:1] for line in text.splitlines()))
    return list(dict.fromkeys([readings[0], *filter(None, map(to_plain, parts))]))


def _read_numbers(text: str) -> str:
    """Read numbers as the codes of characters, also in octal."""
    numbers = re.findall(r"\d+", text)
    decimal = "".join(chr(int(n)) if 31 < int(n) < 127 else " " for n in numbers)  # noqa: PLR2004 - printable ASCII
    is_octal = all(set(n) <= set("01234567") for n in numbers)
    return decimal + (" " + "".join(chr(int(n, 8) & 127) for n in numbers) if is_octal else "")


def _read_bits(text: str) -> str:
    bits = re.findall(r"[01]{7,8}", text)
    return "".join(chr(int(each, 2) & 127) for each in bits)


@lru_cache(maxsize=512)
def _list_forms(secret: str) -> tuple[tuple[str, str], ...]:
    """List (letters and digits, how) of the forms in which a secret can leave."""
    plain, data = to_plain(secret), secret.encode(errors="replace")
    forms = [(plain, "with other characters between its own"), (plain[::-1], "backwards")]
    forms += [(to_plain(core), "in base64") for core in _encode_base64(data)]
    forms += [(data.hex(), "in hexadecimal digits")]
    forms += [(_shift(plain, n), "with its letters shifted") for n in range(1, 26)] if plain.isascii() else []
    forms.append((plain.translate(str.maketrans(_LOWER, _LOWER[::-1])), "with its letters exchanged"))
    for each in (data, data[::-1]):
        forms += [(to_plain(core), "in base64") for core in _encode_base64(each)]
        forms += [(to_plain(core)[::-1], "in base64, backwards") for core in _encode_base64(each)]
        forms += [(each.hex(), "in hexadecimal digits"), (to_plain(base64.b32encode(each).decode().rstrip("=")), "in base32")]  # fmt: skip
        forms += [(to_plain(encode(each).decode()), "in base85") for encode in (base64.b85encode, base64.a85encode)]
    half = len(secret) // 2
    if half >= _MIN_COMPACT // 2:
        forms.append((to_plain(secret[half:] + secret[:half]), "with its halves exchanged"))
    forms.append((to_plain("".join(a + b for a, b in zip(secret[1::2], secret[::2], strict=False))), "with its characters exchanged"))  # fmt: skip
    return tuple((form, how) for form, how in dict.fromkeys(forms) if len(form) >= _MIN_COMPACT)


def _encode_base64(data: bytes) -> list[str]:
    """List the parts of base64 that a secret gives at each of three places, whatever stands around it."""
    cores = []
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        start = (0, 2, 3)[offset]
        end = len(encoded) - (1 if (offset + len(data)) % 3 else 0)
        cores.append(encoded[start:end])
    return cores


def _shift(text: str, places: int) -> str:
    return text.translate(str.maketrans(_LOWER, _LOWER[places:] + _LOWER[:places]))


def _has_most(secret: str, text: str) -> bool:
    """Return whether a text has one piece of a secret that is more than half of it, as a beginning or an end."""
    length = max(_MIN_SPLIT, round(len(secret) * _HALF))
    if len(secret) < _MIN_SPLIT or length >= len(secret):
        return False
    return secret[:length] in text or secret[-length:] in text


def _is_completed(secret: str, text: str, earlier: Sequence[str]) -> bool:
    """Return whether a text brings a piece of a secret, and the texts before it nearly all of the rest."""
    is_sent = any(secret in each for each in earlier)  # to somebody who may have it, such as a shop its card
    if len(secret) < _MIN_SPLIT or is_sent or not (own := _cover(secret, text)):
        return False
    covered = own.union(*(_cover(secret, each) for each in earlier))
    return len(covered) >= _MIN_SHARE * len(secret)


def _cover(secret: str, text: str) -> set[int]:
    """Return the places of a secret that lie in a piece of it that the text has; each piece is as long as can be."""
    places: set[int] = set()
    start = 0
    while start + _MIN_PIECE <= len(secret):
        end = start + _MIN_PIECE
        if secret[start:end] not in text:
            start += 1
            continue
        while end < len(secret) and secret[start : end + 1] in text:
            end += 1
        places |= set(range(start, end))
        start = end
    return places
