"""How much one refinement may spend, what it has spent, and why it ended."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one refinement. The first one reached ends it, with the best answer so far. None: no such limit.

    The policy's own answer, the draft, is always written to its end first; no limit here cuts it short.

    Attributes:
        max_steps: the largest number of steps of each chain, or of the latents. 0 only draws and ranks; None takes
            the preset's or the plan's number.
        max_time: seconds of wall-clock time from the end of the draft, for each prompt. What is searched within
            them depends on the speed of the machine, unless a plan is given; see `plans`.
        max_evaluations: the largest number of energy evaluations for one prompt, after which no step begins.
            One step of a chain is one evaluation, as is the scoring of one text. What is in progress is still
            generated and scored.
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
            raise ValueError(f"max_evaluations={self.max_evaluations} must be at least 1: the draft itself takes one.")


class StopReason(StrEnum):
    """Why a refinement ended."""

    STEPS = "steps"  # every chain made its number of steps
    SECONDS = "seconds"  # `max_time` is over
    EVALUATIONS = "evaluations"  # `max_evaluations` are used up
    CONVERGED = "converged"  # no chain changed a token for `patience` steps
    DRAFT_IS_GOOD = "draft_is_good"  # no candidate beat the draft by more than the noise of the rewards
    TIMEOUT = "timeout"  # the hard limit of the call is over
    NOT_FINITE = "not_finite"  # the energy or a gradient of a chain was infinite or NaN
    EMPTY = "empty"  # the draft has no tokens, so that there is nothing to change
    MAX_DROP = "max_drop"  # the best text lost more of an audited reward than its `max_drop`
    OUT_OF_MEMORY = "out_of_memory"
    REWARD_UNAVAILABLE = "reward_unavailable"
    INTERRUPTED = "interrupted"  # Ctrl-C
    CANCELLED = "cancelled"  # the asyncio task that waited for the answer was cancelled
    CLOSED = "closed"  # the stream was closed before its end


ENDED_FROM_OUTSIDE = frozenset(
    {
        *(StopReason.TIMEOUT, StopReason.REWARD_UNAVAILABLE),
        *(StopReason.INTERRUPTED, StopReason.CANCELLED, StopReason.CLOSED),
    }
)
"""Ends that neither the budget nor the search decided about: the next call may go further."""


@dataclass(slots=True)
class BudgetTracker:
    """What one prompt has spent of its budget.

    Attributes:
        budget: the limits.
        max_new_tokens: the length of the longest answer, in the policy's tokens.
        timeout: seconds from `start` after which the call must end, whatever it is doing; None: no such limit.
        clock: returns seconds that never decrease.
        started: the time of `start`, or else of when the tracker was made.
        refinement_started: the time at which the draft was complete; None before.
        steps: taken by the chains.
        evaluations: of the energy, of chains and of texts.
        draft_tokens: that the policy generated.
        refine_tokens: in the chains, summed over all evaluations.
        stop_reason: what ended the chains.
        is_out_of_memory: whether memory ran out, so that fewer chains were run, or none.
        stop_requested: why no further step may begin, where that is none of the limits.
    """

    budget: Budget
    max_new_tokens: int = 64
    timeout: float | None = None
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    refinement_started: float | None = None
    steps: int = 0
    evaluations: int = 0
    draft_tokens: int = 0
    refine_tokens: int = 0
    stop_reason: StopReason = StopReason.STEPS
    is_out_of_memory: bool = False
    stop_requested: StopReason | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} leaves no room for an answer; use at least 1.")
        self.started = self.clock()

    def start(self) -> None:
        """Start the clock: time spent in a queue does not count."""
        self.started = self.clock()

    def start_refinement(self) -> None:
        """Start the clock of `max_time`: the draft is complete. Only the first call does anything."""
        if self.refinement_started is None:
            self.refinement_started = self.clock()

    @property
    def seconds(self) -> float:
        """Wall-clock time since the start."""
        return self.clock() - self.started

    @property
    def draft_seconds(self) -> float:
        """Wall-clock time that the draft took, or has taken so far."""
        end = self.clock() if self.refinement_started is None else self.refinement_started
        return end - self.started

    @property
    def is_timed_out(self) -> bool:
        """Whether the call must end now."""
        return self.timeout is not None and self.seconds >= self.timeout

    def count_evaluations(self, answers: Sequence[Sequence[int]]) -> None:
        """Count one evaluation of the energy for each of the chains' answers."""
        self.evaluations += len(answers)
        self.refine_tokens += sum(map(len, answers))

    def count_gradient(self, answers: Sequence[Sequence[int]]) -> None:
        """Count the tokens of draws for which a gradient in the latents was computed."""
        self.refine_tokens += sum(map(len, answers))

    def remaining(self, fraction: float = 1.0) -> float:
        """Return the seconds until this fraction of `max_time` is over, or the call must end; infinity without limits.

        Before the draft is complete only the limit of the call counts.
        """
        limit, started = self.budget.max_time, self.refinement_started
        left = math.inf if self.timeout is None else self.timeout - self.seconds
        if limit is not None and started is not None:
            left = min(left, fraction * limit - (self.clock() - started))
        return max(0.0, left)

    def exhausted_limit(self, fraction: float = 1.0) -> StopReason | None:
        """Return the limit that is reached, if any.

        Args:
            fraction: of `max_time`. One below 1 leaves time for what must still be generated.
        """
        max_evaluations = self.budget.max_evaluations
        if self.is_timed_out:
            return StopReason.TIMEOUT
        if self.remaining(fraction) <= 0:
            return StopReason.SECONDS
        if max_evaluations is not None and self.evaluations >= max_evaluations:
            return StopReason.EVALUATIONS
        return self.stop_requested
