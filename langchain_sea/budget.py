"""How much one refinement may spend, and what it has spent. Knows neither chains nor text."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one refinement; the first one reached ends it with the best so far. None: no such limit.

    Attributes:
        steps: the most steps of every chain; 0 drafts and ranks only. None takes the preset's own number.
        seconds: wall-clock from the start of drafting, for all prompts of one call together. An answer that
            this limit cut off depends on the machine's speed; the other limits keep it reproducible.
        tokens: the longest answer, in the policy's tokens.
        evaluations: the most energies evaluated for one prompt, a chain's step or a text's score each.
    """

    steps: int | None = None
    seconds: float | None = 30.0
    tokens: int = 64
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"steps={self.steps} is negative; use 0 to draft and rank only.")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds={self.seconds} must be positive and finite, or None for no limit.")
        if self.tokens < 1:
            raise ValueError(f"tokens={self.tokens} leaves no room for an answer; use at least 1.")
        if self.evaluations is not None and self.evaluations < 1:
            raise ValueError(
                f"evaluations={self.evaluations} must be at least 1: the draft itself takes one."
            )


@dataclass(slots=True)
class Meter:
    """What one prompt has spent of a budget; the clock starts when the meter is made."""

    budget: Budget
    began: float = field(default_factory=time.monotonic)
    evaluations: int = 0
    drafted: int = 0
    refined: int = 0

    @property
    def seconds(self) -> float:
        """Wall-clock so far."""
        return time.monotonic() - self.began

    def over(self, share: float = 1.0) -> str | None:
        """The limit that is reached, if any.

        Args:
            share: of the seconds; below 1 leaves time for what must still be written.
        """
        seconds, evaluations = self.budget.seconds, self.budget.evaluations
        if seconds is not None and self.seconds >= share * seconds:
            return "seconds"
        if evaluations is not None and self.evaluations >= evaluations:
            return "evaluations"
        return None
