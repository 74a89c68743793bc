"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["require_name", "suggest"]


def suggest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "did you mean 'x'?" with the known name nearest to `name`, or an empty string if none is near.

    `cutoff` is the least similarity in [0, 1] by `difflib.SequenceMatcher.ratio`.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {matches[0]!r}?" if matches else ""


def require_name(name: object, known: Collection[str], kind: str, *, otherwise: str = "") -> None:
    """Check that a name is one of a fixed list.

    Args:
        name: that a user passed.
        known: all names that there are.
        kind: what is named, for the message.
        otherwise: what may be passed in place of a name.

    Raises:
        ValueError: it is none of them; the message lists them and suggests the nearest one.
    """
    if isinstance(name, str) and name in known:
        return
    hint = suggest(name, known) if isinstance(name, str) else ""
    choices = ", ".join([*map(repr, known), *([f"or pass {otherwise}"] if otherwise else [])])
    raise ValueError(f"no {kind} {name!r:.200}: choose {choices}{f'; {hint}' if hint else '.'}")
