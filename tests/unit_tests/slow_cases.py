"""Which cases of a test are fast: those that take the same path as another are slow, and `make check` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def make_slow(case: Any) -> Any:
    """Return the case as a slow one; a tuple has the values of several parameters."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)


def first_fast(cases: Iterable[Any], count: int = 1) -> list[Any]:
    """Return all cases, of which so many at the beginning are fast."""
    return [case if number < count else make_slow(case) for number, case in enumerate(cases)]


def named_fast(cases: Iterable[Any], fast: Collection[Any]) -> list[Any]:
    """Return all cases, of which these are fast."""
    cases = list(cases)
    assert all(case in cases for case in fast)
    return [case if case in fast else make_slow(case) for case in cases]
