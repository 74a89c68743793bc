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
        max_steps: the most steps of every chain; 0 drafts and ranks only. None takes the preset's own number.
        max_time: wall-clock from the start of drafting, for all prompts of one call together; of the time that
            is left, each prompt that waits to be written gets the same share. An answer that
            this limit cut off depends on the machine's speed; the other limits keep it reproducible.
        max_evaluations: energies evaluated for one prompt, a chain's step or a text's score each, after which no
            step begins; what is begun is still written to its end and scored.
    """

    max_steps: int | None = None
    max_time: float | None = 30.0
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 0:
            raise ValueError(f"max_steps={self.max_steps} is negative; use 0 to draft and rank only.")
        if self.max_time is not None and not 0 < self.max_time < math.inf:
            raise ValueError(f"max_time={self.max_time} must be positive and finite, or None for no limit.")
        if self.max_evaluations is not None and self.max_evaluations < 1:
            raise ValueError(
                f"max_evaluations={self.max_evaluations} must be at least 1: the draft itself takes one."
            )


@dataclass(slots=True)
class BudgetTracker:
    """What one prompt has spent of a budget; the clock starts when the meter is made.

    Attributes:
        budget: the limits.
        max_new_tokens: the length of the longest answer, in the policy's tokens.
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
    max_new_tokens: int = 64
    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    evaluations: int = 0
    drafted: int = 0
    refined: int = 0
    stop_reason: str = "steps"
    short: bool = False
    halted: str | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for an answer; use at least 1."
            )

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
        limit = self.budget.max_time
        return math.inf if limit is None else max(0.0, share * limit - self.seconds)

    def over(self, share: float = 1.0) -> str | None:
        """The limit that is reached, if any.

        Args:
            share: of the seconds; below 1 leaves time for what must still be written.
        """
        seconds, evaluations = self.budget.max_time, self.budget.max_evaluations
        if seconds is not None and self.seconds >= share * seconds:
            return "seconds"
        if evaluations is not None and self.evaluations >= evaluations:
            return "evaluations"
        return self.halted
