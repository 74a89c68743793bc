"""What a text becomes once it is decoded, for checking only, never for execution. Knows no rule.

Programs read text differently: what one shows as `cat`, another passes on as full-width letters, Cyrillic letters
that look Latin, percent signs, base64, or JSON inside a string. Every form is checked; the call itself is not changed.
Decoding takes time in proportion to the text, and ends at a bound, which is reported.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import unquote

from langchain_sea.safety.text.patterns import compile_pattern
from langchain_sea.safety.text.values import parse_structured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["decode_forms", "decode_parts", "decode_words", "find_hidden_text", "fold_letters", "join_neighbours"]

_MAX_FORMS = 12  # of one text
_MAX_JOINED = 4_096  # characters of two arguments that are read as one
_MAX_STRUCTURED = 20_000  # characters of JSON inside a string
_MAX_PARTS = 64  # encoded parts of one text that are decoded
_MAX_LEVELS = 4  # of encodings inside of one another
_MIN_HIDDEN = 8  # characters that nobody sees: so many carry a message
_MIN_SPACED = 7  # characters of the shortest word with blanks between its letters
_MIN_DECODED = 4  # characters
_MIN_ENCODED = 8  # characters: two lines of four letters
_MAX_UNZIPPED = 50_000  # characters
_TAGS = frozenset(map(chr, range(0xE0020, 0xE007F)))  # invisible letters
_VARIATION_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
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
_BASE64 = r"[A-Za-z0-9+/_-]{12,}={0,2}"
_BASE32 = r"\b[A-Z2-7]{16,}={0,6}"
_HEX = r"(?:\\x|%|0x)?(?:[0-9a-fA-F]{2}(?:[\s:,]|\\x|0x|%){0,2}){6,}"
_WRAPPED = re.compile(r"[A-Za-z0-9+/=_-]{4,}")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-3][0-7]{2}))")
_SPACED = r"(?:^|\s)((?:\S[ \t.\n_-]){3,}\S)(?:\s|$)"
_SPACES = re.compile(r"[ \t.\n_-]")
_WORD = r"[\w@$!]{3,}"
_CODED = (
    r"[^\x20-\x7e\n]|%[0-9a-fA-F]{2}|&#?\w+;|\\[xu0-3]|[A-Za-z0-9+/_-]{12,}|[0-9a-fA-F]{12,}|(?:[0-9a-fA-F]{2}[\s:]){6}"
)


def decode_forms(text: str, *, only_disguises: bool = False) -> list[str]:
    """Return the text, then what it becomes when it is decoded, repeatedly; at most twelve forms, each once.

    Args:
        text: any text.
        only_disguises: leave out forms of what a reader sees, such as lines that are joined.
    """
    forms = [text]
    for index in range(_MAX_FORMS):
        if index >= len(forms) or len(forms) >= _MAX_FORMS:
            break
        form = forms[index]
        for decoder in _choose_decoders(form):
            if only_disguises and decoder in _LAYOUTS:
                continue
            decoded = decoder(form)
            if decoded and decoded not in forms:
                forms.append(decoded)
    return forms[:_MAX_FORMS]


def decode_parts(text: str) -> tuple[list[str], bool]:
    """Decode what is encoded in a text, at any place and inside of one another.

    Returns:
        The decoded parts, without the text around them; and whether there were more than could be decoded.
    """
    parts, level, is_cut = list[str](), [text], False
    for _ in range(_MAX_LEVELS):
        decoded = [part for each in level for part in _list_encoded(each)]
        is_cut |= len(parts) + len(decoded) > _MAX_PARTS
        level = [part for part in dict.fromkeys(decoded[: _MAX_PARTS - len(parts)]) if part not in parts]
        parts += level
        if not level:
            break
    return parts, is_cut


def _list_encoded(text: str) -> list[str]:
    """List the decoded parts of one level: base64 (on one line or wrapped), base32, hexadecimal, percent signs, entities."""
    parts: list[str] = []
    if len(text) < _MIN_ENCODED:
        return parts
    for pattern, decode in ((_BASE64, _read_base64), (_BASE32, _read_base32), (_HEX, _read_hex)):
        for number, match in enumerate(compile_pattern(pattern, match_case=True).finditer(text)):
            if number > 50 * _MAX_PARTS:
                break
            if part := _read_part(match[0], decode):
                parts.append(part)
    if "\n" in text:
        parts += [part for run in _list_wrapped(text) if (part := _read_part(run, _read_base64))]
    if text.count("%") > _MIN_DECODED and (match := compile_pattern(r"(?:%[0-9a-fA-F]{2}){4,}\S*").search(text)):
        parts.append(unquote(match[0]))
    if text.count("&#") > _MIN_DECODED and (match := compile_pattern(r"(?:&#x?[0-9a-fA-F]{2,4};){4,}").search(text)):
        parts.append(html.unescape(match[0]))
    return parts


def _list_wrapped(text: str) -> Iterator[str]:
    """Yield base64 that is wrapped over lines, as one line."""
    run: list[str] = []
    for line in (*map(str.strip, text.splitlines()), ""):
        if " " not in line and _WRAPPED.fullmatch(line):
            run.append(line)
            continue
        if len(run) > 1:
            yield "".join(run)
        run = []


def decode_words(text: str) -> list[str]:
    """Return the forms of `decode_forms`, and each with digits read as letters (`b4d` as `bad`), for models."""
    forms = decode_forms(text)
    leet = [compile_pattern(_WORD).sub(_read_leet, form) for form in forms]
    return list(dict.fromkeys([*forms, *leet]))


def _read_leet(match: re.Match[str]) -> str:
    word = match[0]
    is_mixed = any(c.isalpha() for c in word) and any(c in "0134578@$!" for c in word)
    return word.translate(_LEET) if is_mixed else word


def find_hidden_text(text: str) -> str | None:
    """Return which characters of the text are hidden from a reader, in words; None where there are none.

    Direction marks and joiners belong to honest text in many scripts; tag letters and bidi overrides do not.
    """
    if text.isascii():
        return None
    characters = set(text)
    if (tags := characters & _TAGS) and not _has_tags_in_flags_only(text):
        return f"it contains {sum(map(text.count, tags))} invisible characters"
    if "\u202d" in characters or "\u202e" in characters:
        return "it contains Unicode bidi override characters"
    hidden = sum(map(text.count, characters & _VARIATION_SELECTORS))
    if hidden >= _MIN_HIDDEN and compile_pattern(r"[\x{fe00}-\x{fe0f}\x{e0100}-\x{e01ef}]{4}").search(text):
        return f"it contains {hidden} invisible characters"
    if compile_pattern(r"[\x{200b}\x{200c}\x{200d}\x{2060}-\x{2064}\x{feff}]{8}").search(text):
        return "it contains a row of invisible characters"
    return None


def join_neighbours(texts: list[str]) -> list[str]:
    """Return each two texts that follow one another as one, since an attack may be split over two arguments."""
    return [a + b for a, b in pairwise(texts) if len(a) + len(b) <= _MAX_JOINED]


def _has_tags_in_flags_only(text: str) -> bool:
    """Return whether all tag letters belong to flags of regions, which begin with a black flag."""
    return not re.search(r"(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007e]", text)


def _choose_decoders(text: str) -> Iterator[Callable[[str], str]]:
    """Yield the decoders for which the text shows a sign; the cheap tests keep plain text fast."""
    if not text.isascii():
        yield fold_letters
        yield _decode_tags
    if "%" in text:
        yield unquote
    if "&" in text:
        yield html.unescape
    if "\\" in text:
        yield _decode_escapes
    if len(text) >= _MIN_SPACED and compile_pattern(_SPACED).search(text):
        yield _remove_spaces
    if compile_pattern(_CODED).search(text):
        yield _decode_base64
        yield _decode_hex
    if text[:1] in '"[{' and len(text) <= _MAX_STRUCTURED:
        yield _flatten_json
    if "\n" in text:
        yield _join_lines


def fold_letters(text: str) -> str:
    """Replace compatibility and look-alike letters by Latin ones, and drop invisible characters."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf").translate(_TO_LATIN)


def _decode_tags(text: str) -> str:
    return "".join(chr(ord(c) - 0xE0000) for c in text if c in _TAGS)


def _decode_escapes(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[3], 8) if match[3] else int(match[1] or match[2], 16)), text)


def _remove_spaces(text: str) -> str:
    return str(compile_pattern(_SPACED).sub(lambda match: f" {_SPACES.sub('', match[1])} ", text)).strip()


def _join_lines(text: str) -> str:
    return text.replace("\n", " ")


def _decode_base64(text: str) -> str:
    return _decode_in_place(text, _BASE64, _read_base64)


def _decode_hex(text: str) -> str:
    return _decode_in_place(text, _HEX, _read_hex)


def _decode_in_place(text: str, pattern: str, decode: Callable[[str], bytes]) -> str:
    """Return the text with its encoded parts decoded; an empty text where no part is."""
    changed = False

    def decode_match(match: re.Match[str]) -> str:
        nonlocal changed
        decoded = _read_part(match[0], decode)
        changed |= bool(decoded)
        return decoded or match[0]

    new_text = compile_pattern(pattern, match_case=True).sub(decode_match, text)
    return str(new_text) if changed else ""


def _read_part(part: str, decode: Callable[[str], bytes]) -> str:
    """Decode one part; an empty text where that gives nothing that can be read."""
    try:
        data = _unzip(decode(part))
        decoded = data.decode("utf-16-le" if data[1:4:2] == b"\0\0" else "utf-8")
    except (ValueError, binascii.Error, zlib.error, EOFError):
        return ""
    is_readable = decoded.isprintable() or all(c.isprintable() or c.isspace() for c in decoded)
    if len(decoded) < _MIN_DECODED or not is_readable:
        return ""
    return decoded


def _unzip(data: bytes) -> bytes:
    """Return what gzip or zlib packed, up to a bound; other data as it is."""
    if data[:2] == b"\x1f\x8b" or (data[:1] == b"\x78" and len(data) > 1 and int.from_bytes(data[:2], "big") % 31 == 0):
        return zlib.decompressobj(wbits=47).decompress(data, _MAX_UNZIPPED)
    return data


def _read_hex(part: str) -> bytes:
    return bytes.fromhex(re.sub(r"\\x|0x|[\s:,%]", "", part))


def _read_base32(part: str) -> bytes:
    plain = part.rstrip("=")
    return base64.b32decode(plain + "=" * (-len(plain) % 8))


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


_LAYOUTS = (_flatten_json, _join_lines)  # decoders of what a reader sees
