"""Reads a tool's result: which values stand alone in it, and which texts it has.

Results are read as JSON, a Python literal, YAML, CSV, tables and lines of `key: value`. A value that stands alone in
one of them is a field, such as an address in a contact or an id in a list. All else is running text, which may hold
anything that anybody wrote. Knows no policy.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache

import yaml  # type: ignore[import-untyped]

from langchain_sea.safety.text.tool_effects import names_directive
from langchain_sea.safety.text.typed_values import to_compact
from langchain_sea.safety.text.values import list_scalars, parse_structured

__all__ = ["ResultParts", "is_field", "parse_result", "read_result"]

_CACHED_RESULTS = 512
_MAX_FIELD = 120  # characters: longer values are running text
_MAX_FIELD_WORDS = 8
_MAX_YAML = 400_000  # characters
_MIN_SENTENCE_WORDS = 3
_MIN_ROWS = 2
_MIN_PAIRED = 0.8  # share of lines `key: value`, below which a text is running text
_YAML_LINE = re.compile(r"^[ \t]*(?:- |[\w .'\"-]{1,60}:(?:\s|$))", re.MULTILINE)
_YAML_ALIAS = re.compile(r"(?:^|[:\-\[,{])[ \t]*\*\w", re.MULTILINE)  # a few lines of them grow without bounds
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KEY_VALUE = re.compile(r"^[ \t]*(?:[-*] )?([\w .()/-]{1,40}): +(\S[^\n]{0,119})$", re.MULTILINE)
_HEADER = re.compile(r"\s*[A-Za-z_][\w.-]{0,29}(?: [\w.-]{1,20})?\s*")
_TABLE_ROW = re.compile(r"^[ \t]*\|(.+)\|[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ResultParts:
    """What a result holds.

    Attributes:
        fields: values that stand alone, in lower case without punctuation.
        texts: running texts; a result without structure is one of them.
    """

    fields: frozenset[str]
    texts: tuple[str, ...]


@lru_cache(maxsize=_CACHED_RESULTS)
def read_result(text: str) -> ResultParts:
    """Split a result into fields and running texts."""
    value = parse_result(text)
    if isinstance(value, str):
        values = _read_lines(value)
        return ResultParts(frozenset(filter(None, map(to_compact, values))), (value,))
    try:
        scalars = list_scalars(value)
    except RecursionError:
        return ResultParts(frozenset(), (text,))
    fields = [each for each in scalars if is_field(each)]
    texts = [each for each in scalars if not is_field(each)]
    return ResultParts(frozenset(filter(None, map(to_compact, fields))), tuple(texts))


def is_field(value: str) -> bool:
    """Return whether a value is short and no sentence."""
    words = value.split()
    if len(value) > _MAX_FIELD or len(words) > _MAX_FIELD_WORDS or "\n" in value.strip():
        return False
    return len(words) < _MIN_SENTENCE_WORDS or not (value.rstrip().endswith((".", "!", "?")) or names_directive(value))


def parse_result(text: str) -> object:
    """Return the structure of a text, or the text itself where it has none."""
    try:
        value = parse_structured(text)
    except RecursionError:
        return text
    if not isinstance(value, str):
        return value if isinstance(value, (dict, list, tuple, set)) else text
    if len(text) <= _MAX_YAML and _YAML_LINE.search(text) and not _YAML_ALIAS.search(text):
        try:
            loaded = yaml.load(text, _LOADER)  # noqa: S506 - a safe loader
        except (yaml.YAMLError, ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, (dict, list)):
            return loaded
    return _parse_rows(text) or text


def _parse_rows(text: str) -> list[list[str]] | None:
    """Read CSV: a header of names, and rows of as many cells; prose with commas is none."""
    lines = text.strip().splitlines()
    if len(lines) < _MIN_ROWS or "," not in lines[0]:
        return None
    try:
        rows = [row for row in csv.reader(lines) if row]
    except csv.Error:
        return None
    has_header = len(rows) >= _MIN_ROWS and len(rows[0]) > 1 and all(map(_HEADER.fullmatch, rows[0]))
    return rows if has_header and len({len(row) for row in rows}) == 1 else None


def _read_lines(text: str) -> list[str]:
    """List the values of `key: value` lines and of cells of a table in running text."""
    cells = [cell.strip() for row in _TABLE_ROW.findall(text) for cell in row.split("|")]
    num_lines = sum(bool(line.strip()) for line in text.splitlines())
    pairs = _KEY_VALUE.findall(text)
    values = [value.strip() for _, value in pairs] if len(pairs) >= _MIN_PAIRED * num_lines else []
    return [value for value in (*cells, *values) if is_field(value)]
