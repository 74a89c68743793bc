"""How much one refinement may spend, and what it has spent. Knows neither chains nor text."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one refinement; the first one reached ends it with the best so far. None: no such limit.

    Attributes:
        steps: the most steps of every chain; 0 drafts and ranks only. None takes the preset's own number.
        seconds: wall-clock from the start of drafting, for all prompts of one call together; of the time that
            is left, each prompt that waits to be written gets the same share. An answer that
            this limit cut off depends on the machine's speed; the other limits keep it reproducible.
        tokens: the longest answer, in the policy's tokens.
        evaluations: energies evaluated for one prompt, a chain's step or a text's score each, after which no
            step begins; what is begun is still written to its end and scored.
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
class BudgetTracker:
    """What one prompt has spent of a budget; the clock starts when the meter is made.

    Attributes:
        budget: the limits.
        began: when.
        steps: of its chains.
        evaluations: energies of chains and texts.
        drafted: tokens that the policy wrote.
        refined: tokens in the chains, at every evaluation.
        stop_reason: what ended the chains.
        short: whether memory was, so that there are fewer chains, or none.
        halted: why no further step may begin, where something else than a limit says so.
    """

    budget: Budget
    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    evaluations: int = 0
    drafted: int = 0
    refined: int = 0
    stop_reason: str = "steps"
    short: bool = False
    halted: str | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock so far."""
        return time.monotonic() - self.began

    def count(self, answers: Sequence[Sequence[int]]) -> None:
        """An evaluation of chains at these answers."""
        self.evaluations += len(answers)
        self.refined += sum(map(len, answers))

    def left(self, share: float) -> float:
        """What is left of a share of the seconds, or infinity."""
        limit = self.budget.seconds
        return math.inf if limit is None else max(0.0, share * limit - self.seconds)

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
        return self.halted
