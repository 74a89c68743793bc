"""A cache for functions of one text that keeps no long texts: a model chooses how long its arguments are."""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cache_short"]

T = TypeVar("T")
_LONGEST = 300  # characters
_SIZE = 4_096  # texts


def cache_short(function: Callable[[str], T]) -> Callable[[str], T]:
    """Remember the results for the last 4,096 texts of up to 300 characters; longer texts are computed each time."""
    cached = lru_cache(maxsize=_SIZE)(function)

    @wraps(function)
    def call(text: str) -> T:
        return cached(text) if len(text) <= _LONGEST else function(text)

    return call
