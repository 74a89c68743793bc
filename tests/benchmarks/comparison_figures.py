"""Figures of the benchmarks alone: bootstrap intervals, reductions, and what lies between points of a curve."""

from __future__ import annotations

import math
import random
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESAMPLES = 2000


def bootstrap(
    figure: Callable[[Sequence[int]], float], count: int, seed: int = 0, resamples: int = RESAMPLES
) -> list[float]:
    """The paired 95 % interval of a figure of resampled prompts, by percentile."""
    rng = random.Random(seed)
    values = sorted(
        value
        for _ in range(resamples if count else 0)
        if math.isfinite(value := figure([rng.randrange(count) for _ in range(count)]))
    )
    if not values:
        return [math.nan, math.nan]
    return [round(values[int(len(values) * share)], 4) for share in (0.025, 0.975)]


def reduction(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """1 − ours / theirs; 0 where neither has any."""
    if sum(theirs) == 0:
        return 0.0 if sum(ours) == 0 else -math.inf
    return 1 - sum(ours) / sum(theirs)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Our sum ÷ theirs. Where theirs is not positive: infinity with the sign of ours, and NaN for 0 ÷ 0."""
    top, bottom = sum(ours), sum(theirs)
    if bottom > 0:
        return top / bottom
    return math.nan if top == bottom == 0 else math.copysign(math.inf, top)


def mean_of(values: Sequence[float]) -> dict[str, Any]:
    """The mean with its interval and number; None where there is none."""
    return _summary(values, statistics.fmean)


def median_of(values: Sequence[float]) -> dict[str, Any]:
    """The median with its interval and number, of those that are numbers; None where there is none."""
    return _summary([value for value in values if math.isfinite(value)], statistics.median)


def _summary(values: Sequence[float], middle: Callable[[Sequence[float]], float]) -> dict[str, Any]:
    found = bootstrap(lambda rows: middle([values[i] for i in rows]), len(values))
    return {"value": round(middle(values), 4) if values else None, "interval": found, "answers": len(values)}


def time_to(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """Seconds at which a curve of (seconds, value) first reaches a level, linear between its points."""
    before: tuple[float, float] | None = None
    for seconds, value in sorted(points):
        if value >= level:
            if before is None or value == before[1]:
                return seconds
            part = (level - before[1]) / (value - before[1])
            return before[0] + part * (seconds - before[0])
        before = (seconds, value)
    return None


def equal_search(curve: Mapping[int, float], level: float) -> float:
    """The N at which best-of-N passes as often, by a straight line of its log-odds in log N.

    Beyond the curve it is an extrapolation; infinity where the line does not rise to it.
    """
    logs = [math.log(n) for n in curve]
    odds = [_log_odds(share) for share in curve.values()]
    mean_x, mean_y = statistics.fmean(logs), statistics.fmean(odds)
    spread = sum((x - mean_x) ** 2 for x in logs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(logs, odds, strict=True)) / spread
    missing = _log_odds(level) - mean_y
    if slope <= 0:
        return 1.0 if missing <= 0 else math.inf
    power = mean_x + missing / slope
    return math.exp(power) if power < 100 else math.inf


def _log_odds(share: float) -> float:
    share = min(max(share, 0.005), 0.995)
    return math.log(share / (1 - share))
