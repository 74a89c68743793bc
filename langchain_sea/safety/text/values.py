"""Strings and numbers inside a call's arguments and inside tool results, and how two texts are compared."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.caching import cache_short

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "get_argument",
    "get_field",
    "list_numbers",
    "list_scalars",
    "list_strings",
    "normalize",
    "parse_structured",
    "to_snake_case",
]

_CASE_CHANGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def normalize(text: str) -> str:
    """Return the text in lower case, with every run of white space as one blank."""
    return " ".join(text.casefold().split())


def to_snake_case(name: str) -> str:
    """Return `fileName` as `file_Name`, so that patterns of name parts match it; case stays as it is."""
    return _CASE_CHANGE.sub("_", name)


def parse_structured(text: str) -> object:
    """Parse JSON or a Python literal; text that is neither is returned unchanged."""
    for _ in range(2):  # some tools write a string that holds the literal
        try:
            value = json.loads(text)
        except ValueError:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return text
        except RecursionError:
            return text
        if not isinstance(value, str):
            return value
        text = value
    return text


def list_scalars(value: object) -> list[str]:
    """List all strings and numbers of a structure as text; the keys of dicts included."""
    if isinstance(value, dict):
        return [text for key, entry in value.items() for text in (*list_scalars(entry), str(key))]
    if isinstance(value, (list, tuple, set)):
        return [text for entry in value for text in list_scalars(entry)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


def list_strings(value: object, path: str = "") -> list[tuple[str, str]]:
    """List (path, string) of all strings in arguments; the keys of dicts included, since a caller may choose them."""
    if isinstance(value, dict):
        keys = [(path, key) for key in value]
        return keys + [pair for where, entry in _entries(value, path) for pair in list_strings(entry, where)]
    if isinstance(value, (list, tuple)):
        return [pair for where, entry in _entries(value, path) for pair in list_strings(entry, where)]
    return [(path, value)] if isinstance(value, str) else []


def list_numbers(value: object, path: str = "") -> list[tuple[str, float]]:
    """List (path, number) of all numbers in arguments; booleans do not count."""
    if isinstance(value, (dict, list, tuple)):
        return [pair for where, entry in _entries(value, path) for pair in list_numbers(entry, where)]
    return [(path, value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@cache_short
def get_argument(path: str) -> str:
    """Return the argument that a path of `list_strings` belongs to: `to` for `to[0].name`."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


@cache_short
def get_field(path: str) -> str:
    """Return the innermost name of a path: `address` for `message.to[0].address`."""
    names = [part for part in re.split(r"\[\d+\]|\.", path) if part]
    return names[-1] if names else path


def _entries(value: dict[str, object] | list[object] | tuple[object, ...], path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f"{path}.{key}".lstrip("."), entry) for key, entry in value.items())
    return ((f"{path}[{index}]", entry) for index, entry in enumerate(value))
