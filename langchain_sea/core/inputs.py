"""What users may pass as a reward or as a gate."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from langchain_sea.core.protocols import Reward
from langchain_sea.core.terms import RewardTerm

__all__ = ["GateLike", "RewardLike"]

RewardLike = str | os.PathLike[str] | RewardTerm | Reward | Callable[..., Any]
"""A name or path, a term, a reward, or a function `(prompt, completions) -> scores`; see `make_terms`."""

GateLike = str | Callable[..., Any]
"""A name or path, or a function `(prompt, completions) -> scores`; see `load_gate`."""
