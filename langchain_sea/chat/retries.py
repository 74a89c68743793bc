"""The seed of a repeated call: LangChain's `with_retry` asks again, and the same seed would give the same answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["with_new_seed"]

_ATTEMPT = re.compile(r"retry:attempt:(\d+)")
"""How LangChain tags the run of a second or later attempt."""
_STRIDE = 1_000_003
"""Between the seeds of two attempts: `n` answers have seeds that follow each other."""


def with_new_seed(options: dict[str, Any], tags: Iterable[str] | None, default: int | None) -> dict[str, Any]:
    """Return the options of a call with a seed of its own, where it repeats a failed one.

    Args:
        options: of the call; a seed among them is kept, unless it is None.
        tags: of the run.
        default: the seed of the first attempt; None where the caller has fixed it.
    """
    attempts = [int(match[1]) for tag in tags or () if (match := _ATTEMPT.fullmatch(tag))]
    if default is None or options.get("seed") is not None or not attempts:
        return options
    return options | {"seed": (default + _STRIDE * (max(attempts) - 1)) % 2**63}
