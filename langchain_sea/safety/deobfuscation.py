"""What a text may stand for once it is decoded: for judging only, never for execution. Knows no rule.

Readers differ: what one shows as `cat`, another passes on as full-width letters, Cyrillic look-alikes, percent
signs, base64 or JSON within a string. Each form is judged; the call itself stays as it is, or does not run.
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

from langchain_sea.safety.context import structured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["forms", "hidden", "neighbours", "plain_words"]

_MOST = 12  # forms of one text
_DECODED = 65_536  # characters of a text that are searched for encoded parts
_TAGS = range(0xE0020, 0xE007F)  # invisible letters
_LOOKS = {
    "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "һ": "h", "і": "i", "ј": "j", "ӏ": "l", "к": "k", "м": "m",
    "о": "o", "р": "p", "ԛ": "q", "ѕ": "s", "т": "t", "ѵ": "v", "ѡ": "w", "х": "x", "у": "y", "А": "A", "В": "B",
    "С": "C", "Е": "E", "Н": "H", "І": "I", "Ј": "J", "К": "K", "М": "M", "О": "O", "Р": "P", "Ѕ": "S", "Т": "T",
    "Х": "X", "У": "Y", "α": "a", "ε": "e", "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "τ": "t", "υ": "u",
    "χ": "x", "Α": "A", "Β": "B", "Ε": "E", "Ζ": "Z", "Η": "H", "Ι": "I", "Κ": "K", "Μ": "M", "Ν": "N", "Ο": "O",
    "Ρ": "P", "Τ": "T", "Υ": "Y", "Χ": "X", "ı": "i", "ɡ": "g", "ո": "n", "օ": "o", "ѐ": "e",
}  # fmt: skip
_TO_LATIN = str.maketrans(_LOOKS)
_LEET = str.maketrans("013457@$!8", "oieastasib")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[\s:]?){6,}")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")
_SPACED = re.compile(r"(?<!\S)(?:\S[ \t.\n_-]){3,}\S(?!\S)")
_MIXED = re.compile(r"\b(?=\w*[A-Za-z])(?=[\w@$!]*[0134578@$!])[\w@$!]{3,}")
_CODED = re.compile(r"[^\x20-\x7e\n]|%[0-9a-fA-F]{2}|&#?\w+;|\\[xu]|[A-Za-z0-9+/_-]{12,}|[0-9a-fA-F]{12,}")


def forms(text: str) -> list[str]:
    """The text, and what it becomes when it is decoded, the text first; at most a dozen."""
    found = [text]
    for place in range(_MOST):
        if place >= len(found) or len(found) >= _MOST:
            break
        seen = found[place]
        for decoder in _decoders(seen):
            new = decoder(seen)
            if new and new not in found:
                found.append(new)
    return found[:_MOST]


def plain_words(text: str) -> list[str]:
    """`forms`, and digits read as the letters they stand for: for models that judge words."""
    found = forms(text)
    leet = [_MIXED.sub(lambda m: m[0].translate(_LEET), form) for form in found]
    return list(dict.fromkeys([*found, *leet]))


def hidden(text: str) -> str | None:
    """What of the text no reader sees, in words; None where there is nothing of the kind.

    Marks of direction and joiners belong to honest text in many scripts; letters of the tag block, and orders to
    write backwards, do not.
    """
    if text.isascii():
        return None
    if (tags := sum(ord(c) in _TAGS for c in text)) and not _flags(text):
        return f"it holds {tags} invisible characters"
    if any(c in "\u202d\u202e" for c in text):
        return "it holds orders to show text in another order than it is written"
    return None


def _flags(text: str) -> bool:
    """Whether tag letters stand in flags of regions alone, which begin with a black flag."""
    return not re.search(r"(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007e]", text)


def _decoders(text: str) -> Iterator[Callable[[str], str]]:
    if not text.isascii():
        yield _latin
        yield _revealed
    if "%" in text:
        yield unquote
    if "&" in text:
        yield html.unescape
    if "\\" in text:
        yield lambda t: _ESCAPED.sub(lambda m: chr(int(m[1] or m[2], 16)), t)
    if len(text) >= 7 and _SPACED.search(text[:_DECODED]):  # noqa: PLR2004 - the shortest that is spaced
        yield lambda t: _SPACED.sub(lambda m: re.sub(r"[ \t.\n_-]", "", m[0]), t)
    if _CODED.search(text[:_DECODED]):
        yield _unbased
        yield _unhexed
    if text[:1] in '"[{' or '"' in text[:_DECODED]:
        yield _flattened
    if "\n" in text:
        yield lambda t: t.replace("\n", " ")


def _latin(text: str) -> str:
    """Compatibility letters as plain ones, look-alikes as Latin, what is invisible left out."""
    wide = unicodedata.normalize("NFKC", text)
    return "".join(c for c in wide if unicodedata.category(c) != "Cf").translate(_TO_LATIN)


def _revealed(text: str) -> str:
    """Letters of the tag block as letters."""
    return "".join(chr(ord(c) - 0xE0000) for c in text if ord(c) in _TAGS)


def _unbased(text: str) -> str:
    return _decoded(text, _BASE64, _base64)


def _unhexed(text: str) -> str:
    return _decoded(text, _HEX, lambda part: bytes.fromhex(re.sub(r"[\s:]", "", part)))


def _decoded(text: str, pattern: re.Pattern[str], decode: Callable[[str], bytes]) -> str:
    """The text with all its encoded parts as text; nothing where there are none."""
    changed = False

    def replaced(match: re.Match[str]) -> str:
        nonlocal changed
        try:
            found = decode(match[0]).decode("utf-8")
        except (ValueError, binascii.Error):
            return match[0]
        if len(found) < 4 or sum(c.isprintable() or c.isspace() for c in found) < len(found):  # noqa: PLR2004
            return match[0]
        changed = True
        return found

    found = pattern.sub(replaced, text[:_DECODED]) + text[_DECODED:]
    return found if changed else ""


def _base64(part: str) -> bytes:
    padded = part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4)
    return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


def _flattened(text: str) -> str:
    """JSON within a string as its values."""
    value = structured(text)
    if value is text or isinstance(value, str):
        return "" if value == text else str(value)
    found: list[str] = []
    stack = [value]
    while stack:
        entry = stack.pop()
        if isinstance(entry, dict):
            stack += [part for pair in reversed(entry.items()) for part in (pair[1], pair[0])]
        elif isinstance(entry, (list, tuple, set)):
            stack += reversed(list(entry))
        elif isinstance(entry, str):
            inner = structured(entry) if entry[:1] in '"[{' else entry
            if inner is entry or isinstance(inner, str):
                found.append(str(inner))
            else:
                stack.append(inner)
        elif entry is not None:
            found.append(str(entry))
    return " ".join(found)


def neighbours(texts: list[str]) -> list[str]:
    """Texts that stand side by side as one: what was split over two arguments."""
    return [a + b for a, b in pairwise(texts) if len(a) + len(b) <= _DECODED]
