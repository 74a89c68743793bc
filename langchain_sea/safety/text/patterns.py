"""Patterns that take linear time, and what a rule reports about one text. Knows no argument."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_sea.errors import ExtraMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Danger", "compile_pattern", "search_patterns"]


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
    try:
        import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError("the rules need google-re2: pip install 'langchain-sea[agents]'") from error
    options = re2.Options()
    options.case_sensitive = match_case
    options.log_errors = False
    return re2.compile(pattern, options)


def search_patterns(text: str, rules: Iterable[tuple[str, str]], *, is_certain: bool = False) -> Iterator[Danger]:
    """Yield a danger for each (reason, pattern) that matches the text."""
    for reason, pattern in rules:
        if match := compile_pattern(pattern).search(text):
            yield Danger(f"{reason} ({match[0].strip()[:60]!r})", is_certain)
