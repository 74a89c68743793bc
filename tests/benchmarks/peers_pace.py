"""How many samples of a tool fit into the time that is left: the stopping rule of `peers.py`. Knows no tool."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 64  # samples of one call, which limits its memory
_LEAST_SECONDS = 1e-3  # of one sample, where two calls took as long


class Round(NamedTuple):
    """One call: its number of samples, and the answer."""

    samples: int
    answer: str


@dataclass
class Pace:
    """The seconds of a call with n samples: (fixed + each · n) · slowness.

    Attributes:
        fixed: seconds of a call, however many samples it takes.
        each: seconds of each sample.
        slowness: of the last calls, against the two that were measured.
        most: the largest number of samples that was tried. A call has at most twice as many, since the seconds of each
            sample may have been measured as nearly nothing on a busy machine.
    """

    fixed: float
    each: float
    slowness: float = 1.0
    most: int = MOST

    @classmethod
    def fit(cls, small: tuple[int, float], large: tuple[int, float]) -> Pace:
        """Measure it by two calls, as (samples, seconds)."""
        each = max(_LEAST_SECONDS, (large[1] - small[1]) / (large[0] - small[0]))
        return cls(max(0.0, small[1] - each * small[0]), each, most=large[0])

    def count(self, seconds: float) -> int:
        """The samples that one call of so many seconds has; 0 or less if it has none."""
        return min(2 * self.most, math.floor((seconds / self.slowness - self.fixed) / self.each))

    def learn(self, samples: int, seconds: float) -> None:
        """Take half of the news from a call, as machines are slow for a while."""
        self.most = max(self.most, samples)
        self.slowness = math.sqrt(self.slowness * seconds / (self.fixed + self.each * samples))


def spend(
    limit: float, call: Callable[[int], str], pace: Pace, *, clock: Callable[[], float] = time.monotonic
) -> list[Round]:
    """Call with as many samples as fit, again and again, until none do. The first call is made in any case.

    Args:
        limit: seconds of all calls together.
        call: takes the number of samples.
        pace: what a call is expected to take; it learns from each.
        clock: returns seconds.
    """
    start, rounds = clock(), list[Round]()
    while True:
        before = clock()
        samples = min(MOST, pace.count(limit - (before - start)))
        if samples < 1 and rounds:
            return rounds
        samples = max(samples, 1)
        rounds.append(Round(samples, call(samples)))
        pace.learn(samples, clock() - before)
