"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["suggest"]


def suggest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "did you mean 'x'?" with the known name nearest to `name`, or an empty string if none is near.

    `cutoff` is the least similarity in [0, 1] by `difflib.SequenceMatcher.ratio`.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {matches[0]!r}?" if matches else ""
