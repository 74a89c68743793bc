"""Rows to figures: failures by a judge that steered nothing, intervals, curves. Knows no model."""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langchain_sea.evaluation.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Table", "bootstrap", "distinct", "equal_search", "judged", "summary", "time_to"]

Row = dict[str, Any]

_BROKEN = 1.0  # nats a token above the prompt's draft
_RESAMPLES = 2000


class Table:
    """Judged rows by method, over the prompts that every method answered.

    Attributes:
        rows: by method, in the same order of prompts.
    """

    def __init__(self, rows: Sequence[Row], methods: Sequence[str]) -> None:
        """Take the rows of one tier of one set."""
        by_method: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in rows:
            by_method[row["method"]][row["question"]] = row
        kept = [q for q in by_method.get(methods[0], {}) if all(q in by_method[name] for name in methods)]
        self.rows = {name: [by_method[name][question] for question in kept] for name in methods}

    def values(self, method: str, what: str) -> list[float]:
        """One number a prompt."""
        return [float(row[what]) for row in self.rows[method]]

    def mean(self, method: str, what: str) -> float:
        """Over prompts; NaN where there are none."""
        values = self.values(method, what)
        return statistics.fmean(values) if values else math.nan

    def best(self, methods: Sequence[str], what: str, *, lowest: bool = False) -> str:
        """The method of the highest, or lowest, mean."""
        return (min if lowest else max)(methods, key=lambda name: self.mean(name, what))


def judged(
    rows: Sequence[Row], judge: Callable[[str, Sequence[str]], Sequence[float]], threshold: float
) -> list[Row]:
    """The rows with `gate`, `passes`, `broken`, `failed`, `refused`, `words` and `reward` beside them."""
    where = ("set", "tier", "question")
    drafts = {tuple(row[n] for n in where): row["nll"] for row in rows if row["method"] == "draft"}
    found = []
    for row in rows:
        sure = judge(row["question"], [row["text"]])[0]
        place = tuple(row[n] for n in where)
        draft = drafts[place] if place in drafts else row["nll"]
        passes, broken = sure >= threshold, row["nll"] > draft + _BROKEN
        found.append(
            row
            | {
                "gate": sure,
                "passes": passes,
                "broken": broken,
                "failed": broken or not passes,
                "refused": refused(row["text"]),
                "words": len(row["text"].split()),
                "reward": statistics.fmean(row["rewards"].values()) if row["rewards"] else 0.0,
                "worse": row["score"] < row["score_before"],
                "nll_rise": row["nll"] - draft,
            }
        )
    return found


def summary(table: Table) -> dict[str, dict[str, float]]:
    """Means by method."""
    names = ("failed", "passes", "gate", "refused", "broken", "reward", "nll", "words", "seconds")
    found = {}
    for method, rows in table.rows.items():
        found[method] = {name: round(table.mean(method, name), 4) for name in names}
        found[method] |= {"distinct_2": distinct([row["text"] for row in rows]), "prompts": len(rows)}
    return found


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Share of different runs of n words among all texts' (distinct-n)."""
    runs = [run for text in texts for run in zip(*(text.split()[i:] for i in range(n)), strict=False)]
    return round(len(set(runs)) / len(runs), 4) if runs else 0.0


def bootstrap(
    figure: Callable[[Sequence[int]], float], count: int, seed: int = 0, resamples: int = _RESAMPLES
) -> list[float]:
    """The paired 95 % interval of a figure of resampled prompts, by percentile."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    found = sorted(
        value
        for _ in range(resamples if count else 0)
        if math.isfinite(value := figure([rng.randrange(count) for _ in range(count)]))
    )
    if not found:
        return [math.nan, math.nan]
    return [round(found[int(len(found) * share)], 4) for share in (0.025, 0.975)]


def reduction(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """1 − ours / theirs; 0 where neither has any."""
    if sum(theirs) == 0:
        return 0.0 if sum(ours) == 0 else -math.inf
    return 1 - sum(ours) / sum(theirs)


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
    return math.exp(power) if power < 100 else math.inf  # noqa: PLR2004 - beyond any search


def _log_odds(share: float) -> float:
    share = min(max(share, 0.005), 0.995)
    return math.log(share / (1 - share))
