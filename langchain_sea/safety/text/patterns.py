"""Patterns that take linear time, and what a rule reports about one text. Knows no argument."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_sea.errors import ExtraMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Danger", "compile_pattern", "find_matching", "search_patterns"]


class Danger(NamedTuple):
    """Why a text is dangerous.

    Attributes:
        reason: in words, with the part of the text that it is about.
        is_certain: whether no honest call has such a text; otherwise a human should look.
    """

    reason: str
    is_certain: bool = False


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str, *, match_case: bool = False) -> Any:
    """Compile a pattern of RE2, whose time grows linearly with the text.

    Raises:
        ExtraMissingError: google-re2 is not installed.
    """
    re2 = _import_re2()
    return re2.compile(pattern, _make_options(match_case=match_case))


def find_matching(text: str, patterns: tuple[str, ...]) -> list[int]:
    """Return the numbers of the patterns that match somewhere in a text, in order, whatever the case of letters.

    All of them are looked for in one pass, which takes about as long as one search. RE2 says nothing where memory does
    not suffice for that pass, so a pattern that always matches is looked for as well; without it, each is searched.
    """
    compiled = _compile_set(patterns)
    matching = None if compiled is None else compiled.Match(text)
    if not matching or len(patterns) not in matching:
        return [number for number, pattern in enumerate(patterns) if compile_pattern(pattern).search(text)]
    return sorted(number for number in matching if number < len(patterns))


def search_patterns(text: str, rules: Sequence[tuple[str, str]], *, is_certain: bool = False) -> Iterator[Danger]:
    """Yield a danger for each (reason, pattern) that matches the text."""
    for number in find_matching(text, tuple(pattern for _, pattern in rules)):
        reason, pattern = rules[number]
        match = compile_pattern(pattern).search(text)
        yield Danger(f"{reason} ({match[0].strip()[:60]!r})", is_certain)


@lru_cache(maxsize=256)
def _compile_set(patterns: tuple[str, ...]) -> Any:
    """Compile patterns and, as the last one, one that always matches; None if they are too large together."""
    re2 = _import_re2()
    whole = re2.Set.SearchSet(_make_options(match_case=False))
    try:
        for pattern in (*patterns, ""):
            whole.Add(pattern)
        whole.Compile()
    except re2.error:
        return None
    return whole


def _make_options(*, match_case: bool) -> Any:
    options = _import_re2().Options()
    options.case_sensitive = match_case
    options.log_errors = False
    return options


def _import_re2() -> Any:
    try:
        import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError("the rules need google-re2: pip install 'langchain-sea[agents]'") from error
    return re2
