"""The figures and tables of `peers.py`, from rows with their readings. Knows no model and no tool."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from comparison_figures import bootstrap, mean_of, median_of, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]

COLUMNS = ("passes", "reward_gain", "outside_nats", "outside_relevance", "seconds", "samples", "lines")
HEADS = ("judge passes", "reward gain", "outside nats", "outside relevance", "seconds", "samples", "lines")
_MEANS, _MEDIANS = ("passes", "reward_gain"), ("outside_nats", "outside_relevance", "seconds", "samples")


def group(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, list[Row]]:
    """The rows of each method, in the same order, for the questions that all of them answered."""
    found: dict[str, dict[str, Row]] = {name: {} for name in methods}
    for row in rows:
        if row["method"] in found:
            found[row["method"]][row["question"]] = row
    shared = [question for question in found[methods[0]] if all(question in found[name] for name in methods)]
    return {name: [found[name][question] for question in shared] for name in methods}


def add_gains(rows: Sequence[Row]) -> list[Row]:
    """The rows with their rewards above the mean of plain answers to the question, which one row of it has."""
    plain = {row["question"]: row["plain_reward"] for row in rows if "plain_reward" in row}
    return [row | {"reward_gain": row["reward"] - plain[row["question"]]} for row in rows]


def summarize(grouped: Mapping[str, Sequence[Row]], lines: Mapping[str, int]) -> dict[str, Any]:
    """For each method the figures of `COLUMNS`; one that its rows lack is left out."""
    found: dict[str, Any] = {}
    for name, rows in grouped.items():
        of_method: dict[str, Any] = {"lines": lines[name]}
        for what in (*_MEANS, *_MEDIANS):
            values = [float(row[what]) for row in rows if row.get(what) is not None]
            if values:
                of_method[what] = _plain(mean_of(values) if what in _MEANS else median_of(values))
        found[name] = of_method
    return found


def compare(grouped: Mapping[str, Sequence[Row]], lines: Mapping[str, int], lead: str) -> dict[str, Any]:
    """The lead's passes, reward gain, seconds and lines ÷ those of each other method."""
    return {
        name: _ratios(grouped[lead], rows) | {"lines": _rounded(lines[lead] / lines[name])}
        for name, rows in grouped.items()
        if name != lead
    }


def _ratios(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for what in ("passes", "reward_gain", "seconds"):
        tops, bottoms = ([float(row[what]) for row in rows] for rows in (ours, theirs))

        def share(chosen: Sequence[int], tops: Sequence[float] = tops, bottoms: Sequence[float] = bottoms) -> float:
            return ratio([tops[i] for i in chosen], [bottoms[i] for i in chosen])

        everything = range(len(tops))
        found[what] = _plain(
            {"value": share(everything), "interval": bootstrap(share, len(tops)), "answers": len(tops)}
        )
    return found


def write_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, one method a line; passes with their interval."""
    lines = [f"| method | {' | '.join(HEADS)} |", f"|---|{'---|' * len(HEADS)}"]
    lines += [f"| `{name}` | {' | '.join(_cell(row, what) for what in COLUMNS)} |" for name, row in figures.items()]
    return "\n".join(lines) + "\n"


def write_ratios(ratios: Mapping[str, Mapping[str, Any]], lead: str) -> str:
    """Markdown: the lead ÷ each other method."""
    what = ("passes", "reward_gain", "seconds", "lines")
    lines = [f"| `{lead}` ÷ | judge passes | reward gain | seconds | lines |", f"|---|{'---|' * len(what)}"]
    lines += [f"| `{name}` | {' | '.join(_cell(row, each) for each in what)} |" for name, row in ratios.items()]
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any], what: str) -> str:
    figure = row.get(what)
    value = figure.get("value") if isinstance(figure, dict) else figure
    if value is None:
        return "–"
    text = f"{value:.0f}" if what in {"samples", "lines"} and value == int(value) else f"{value:.2f}"
    interval = figure.get("interval") if what == "passes" and isinstance(figure, dict) else None
    return f"{text} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else text


def _plain(figure: dict[str, Any]) -> dict[str, Any]:
    """The figure with null for what is no number, which JSON lacks."""
    ends = figure["interval"]
    is_known = figure["value"] is not None and math.isfinite(figure["value"])
    return figure | {
        "value": _rounded(figure["value"]) if is_known else None,
        "interval": ends if all(map(math.isfinite, ends)) else None,
    }


def _rounded(value: float) -> float:
    return round(value, 4)


def describe_time(rows: Sequence[Row]) -> str:
    """What one question took with all methods."""
    by_question: dict[str, float] = {}
    for row in rows:
        by_question[row["question"]] = by_question.get(row["question"], 0.0) + row["seconds"]
    return f"one question of all methods took {statistics.median(by_question.values()):.0f} s\n" if by_question else ""
