"""Operators of databases without SQL that run code, write, or turn a look-up of one secret into a look-up of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.text.argument_kinds import get_words
from langchain_sea.safety.text.patterns import Danger, compile_pattern
from langchain_sea.safety.text.values import parse_structured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["find_operators"]

_RUNNING = frozenset(["$where", "$function", "$accumulator", "mapreduce", "$eval", "_script"])
_WRITING = frozenset(["$out", "$merge"])
_SECRET_WORDS = frozenset("password passwd pwd pass secret token pin otp apikey hash code".split())
_HINT = r"[\"']\$(?:where|function|accumulator|eval|out|merge|ne|gt|gte|regex|nin|exists|not)[\"']\s*:"
_MAX_JSON = 20_000  # characters of JSON within a text that are parsed
_MAX_NODES = 20_000


def find_operators(arguments: Mapping[str, object]) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of operators in arguments, also in JSON within a text."""
    stack: list[tuple[str, str, object]] = [(name, name, value) for name, value in arguments.items()]
    for _ in range(_MAX_NODES):
        if not stack:
            return
        argument, name, value = stack.pop()
        if isinstance(value, dict):
            for key, entry in value.items():
                if reason := _judge_operator(str(key), name):
                    yield argument, Danger(reason)
                stack.append((argument, name if str(key).startswith("$") else str(key), entry))
        elif isinstance(value, (list, tuple)):
            stack += [(argument, name, entry) for entry in value]
        elif isinstance(value, str) and len(value) <= _MAX_JSON and value.lstrip()[:1] in ("{", "["):
            parsed = parse_structured(value) if compile_pattern(_HINT).search(value) else value
            if not isinstance(parsed, str):
                stack.append((argument, name, parsed))


def _judge_operator(key: str, name: str) -> str | None:
    """Return what an operator does below a field of this name."""
    if key.lower() in _RUNNING:
        return f"the database would run the code in {key!r}"
    if key in _WRITING:
        return f"the query would write its rows into a collection ({key!r})"
    if key in ("$ne", "$gt", "$gte", "$regex", "$nin", "$exists", "$not") and not _SECRET_WORDS.isdisjoint(
        get_words(name)
    ):
        return f"{key!r} matches any {name}"
    return None
