"""What a text becomes once it is decoded, for checking only, never for execution. Knows no rule.

Programs read text differently: what one shows as `cat`, another passes on as full-width letters, Cyrillic letters
that look Latin, percent signs, base64, or JSON inside a string. Every form is checked; the call itself is not changed.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import unquote

from langchain_sea.safety.values import parse_structured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["decode_forms", "decode_words", "find_hidden_text", "join_neighbours"]

_MAX_FORMS = 12  # of one text
_MAX_SEARCHED = 65_536  # characters of a text that are searched for encoded parts
_MIN_SPACED = 7  # characters of the shortest word with blanks between its letters
_MIN_DECODED = 4  # characters
_TAGS = range(0xE0020, 0xE007F)  # invisible letters
_CONFUSABLES = {
    "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "һ": "h", "і": "i", "ј": "j", "ӏ": "l", "к": "k", "м": "m",
    "о": "o", "р": "p", "ԛ": "q", "ѕ": "s", "т": "t", "ѵ": "v", "ѡ": "w", "х": "x", "у": "y", "А": "A", "В": "B",
    "С": "C", "Е": "E", "Н": "H", "І": "I", "Ј": "J", "К": "K", "М": "M", "О": "O", "Р": "P", "Ѕ": "S", "Т": "T",
    "Х": "X", "У": "Y", "α": "a", "ε": "e", "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "τ": "t", "υ": "u",
    "χ": "x", "Α": "A", "Β": "B", "Ε": "E", "Ζ": "Z", "Η": "H", "Ι": "I", "Κ": "K", "Μ": "M", "Ν": "N", "Ο": "O",
    "Ρ": "P", "Τ": "T", "Υ": "Y", "Χ": "X", "ı": "i", "ɡ": "g", "ո": "n", "օ": "o", "ѐ": "e",
}  # fmt: skip
_TO_LATIN = str.maketrans(_CONFUSABLES)
_LEET = str.maketrans("013457@$!8", "oieastasib")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[\s:]?){6,}")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")
_SPACED = re.compile(r"(?<!\S)(?:\S[ \t.\n_-]){3,}\S(?!\S)")
_SPACES = re.compile(r"[ \t.\n_-]")
_MIXED = re.compile(r"\b(?=\w*[A-Za-z])(?=[\w@$!]*[0134578@$!])[\w@$!]{3,}")
_CODED = re.compile(r"[^\x20-\x7e\n]|%[0-9a-fA-F]{2}|&#?\w+;|\\[xu]|[A-Za-z0-9+/_-]{12,}|[0-9a-fA-F]{12,}")


def decode_forms(text: str) -> list[str]:
    """Return the text, then what it becomes when it is decoded, repeatedly; at most twelve forms, each once."""
    forms = [text]
    for index in range(_MAX_FORMS):
        if index >= len(forms) or len(forms) >= _MAX_FORMS:
            break
        form = forms[index]
        for decoder in _choose_decoders(form):
            decoded = decoder(form)
            if decoded and decoded not in forms:
                forms.append(decoded)
    return forms[:_MAX_FORMS]


def decode_words(text: str) -> list[str]:
    """Return the forms of `decode_forms`, and each with digits read as letters (`b4d` as `bad`), for models."""
    forms = decode_forms(text)
    leet = [_MIXED.sub(lambda match: match[0].translate(_LEET), form) for form in forms]
    return list(dict.fromkeys([*forms, *leet]))


def find_hidden_text(text: str) -> str | None:
    """Return which characters of the text are hidden from a reader, in words; None where there are none.

    Direction marks and joiners belong to honest text in many scripts; tag letters and bidi overrides do not.
    """
    if text.isascii():
        return None
    if (num_tags := sum(ord(c) in _TAGS for c in text)) and not _has_tags_in_flags_only(text):
        return f"it contains {num_tags} invisible characters"
    if any(c in "\u202d\u202e" for c in text):
        return "it contains Unicode bidi override characters"
    return None


def join_neighbours(texts: list[str]) -> list[str]:
    """Return each two texts that follow one another as one, since an attack may be split over two arguments."""
    return [a + b for a, b in pairwise(texts) if len(a) + len(b) <= _MAX_SEARCHED]


def _has_tags_in_flags_only(text: str) -> bool:
    """Return whether all tag letters belong to flags of regions, which begin with a black flag."""
    return not re.search(r"(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007e]", text)


def _choose_decoders(text: str) -> Iterator[Callable[[str], str]]:
    """Yield the decoders for which the text shows a sign; the cheap tests keep plain text fast."""
    if not text.isascii():
        yield _to_latin
        yield _decode_tags
    if "%" in text:
        yield unquote
    if "&" in text:
        yield html.unescape
    if "\\" in text:
        yield _decode_escapes
    if len(text) >= _MIN_SPACED and _SPACED.search(text[:_MAX_SEARCHED]):
        yield _remove_spaces
    if _CODED.search(text[:_MAX_SEARCHED]):
        yield _decode_base64
        yield _decode_hex
    if text[:1] in '"[{' or '"' in text[:_MAX_SEARCHED]:
        yield _flatten_json
    if "\n" in text:
        yield _join_lines


def _to_latin(text: str) -> str:
    """Replace compatibility and look-alike letters by Latin ones, and drop invisible characters."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf").translate(_TO_LATIN)


def _decode_tags(text: str) -> str:
    return "".join(chr(ord(c) - 0xE0000) for c in text if ord(c) in _TAGS)


def _decode_escapes(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)


def _remove_spaces(text: str) -> str:
    return _SPACED.sub(lambda match: _SPACES.sub("", match[0]), text)


def _join_lines(text: str) -> str:
    return text.replace("\n", " ")


def _decode_base64(text: str) -> str:
    return _decode_parts(text, _BASE64, _read_base64)


def _decode_hex(text: str) -> str:
    return _decode_parts(text, _HEX, lambda part: bytes.fromhex(re.sub(r"[\s:]", "", part)))


def _decode_parts(text: str, pattern: re.Pattern[str], decode: Callable[[str], bytes]) -> str:
    """Return the text with its encoded parts decoded; an empty text where no part is."""
    changed = False

    def decode_match(match: re.Match[str]) -> str:
        nonlocal changed
        try:
            decoded = decode(match[0]).decode("utf-8")
        except (ValueError, binascii.Error):
            return match[0]
        if len(decoded) < _MIN_DECODED or not all(c.isprintable() or c.isspace() for c in decoded):
            return match[0]
        changed = True
        return decoded

    new_text = pattern.sub(decode_match, text[:_MAX_SEARCHED]) + text[_MAX_SEARCHED:]
    return new_text if changed else ""


def _read_base64(part: str) -> bytes:
    padded = part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4)
    return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


def _flatten_json(text: str) -> str:
    """Return the values of JSON inside a string, in their order, as one text; an empty text where there is none."""
    value = parse_structured(text)
    if isinstance(value, str):
        return "" if value == text else str(value)
    values: list[str] = []
    stack: list[object] = [value]
    while stack:
        entry = stack.pop()
        if isinstance(entry, dict):
            stack += [part for key, each in reversed(entry.items()) for part in (each, key)]
        elif isinstance(entry, (list, tuple, set)):
            stack += reversed(list(entry))
        elif isinstance(entry, str):
            inner = parse_structured(entry) if entry[:1] in '"[{' else entry
            if isinstance(inner, str):
                values.append(inner)
            else:
                stack.append(inner)
        elif entry is not None:
            values.append(str(entry))
    return " ".join(values)
