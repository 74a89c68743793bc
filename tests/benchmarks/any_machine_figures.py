"""The figures of `any_machine.py` from its rows."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

Row = dict[str, Any]

PLAIN_SECONDS = 0.1
"""With so many seconds there is no time to refine."""
SHORTEST = 1.0
"""Seconds asked below which a ratio to them says nothing."""
SLACK = 1.15
WHOLE = ("by_itself", "max_tokens", "shortened")
"""How a whole answer may end; `shortened` is an answer at the largest number of tokens without its last half sentence."""
LOST, KEPT = 1.0, 16.0
"""Slowdowns whose gains are compared."""


def compute_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the keys that the rows have all they need for."""
    asked = [row for row in rows if row["kind"] in {"harmful", "harmless"}]
    answers, planned = ([row for row in asked if (row["plan"] is not None) == planned] for planned in (False, True))
    idle, beside = ([row for row in answers if row["load"] == load] for load in (False, True))
    plain = {row["question"]: row["text"] for row in rows if row["kind"] == "plain"}
    demos = [row for row in rows if row["kind"] == "demo"]
    found = {
        "complete": complete(idle),
        "as_plain": as_plain(idle, plain),
        "overshoot": overshoot(idle),
        "gain_kept": gain_kept(idle),
        "harmless_cost": harmless_cost(idle),
        "demo_seconds": demo_seconds(demos),
        "complete_beside_load": complete(beside),
        "overshoot_beside_load": overshoot(beside),
        "plans": plans(idle),
        "worth": worth(planned),
    }
    return {key: figure for key, figure in found.items() if figure}


def complete(rows: Sequence[Row]) -> Row | None:
    """The share of answers that are whole, and the lowest share at one slowdown."""
    if not rows:
        return None
    shares = {
        slowdown: statistics.fmean(row["end"] in WHOLE for row in part) for slowdown, part in group(rows, "slowdown")
    }
    cut = [row["text"] for row in rows if row["end"] not in WHOLE]
    ends = Counter(row["end"] for row in rows)
    return {"value": min(shares.values()), "answers": len(rows), "ends": dict(ends), "cut": cut}


def as_plain(rows: Sequence[Row], plain: dict[str, str]) -> Row | None:
    """The share of answers without time that are the policy's own text."""
    known = [row for row in rows if row["seconds"] == PLAIN_SECONDS and row["question"] in plain]
    if not known:
        return None
    return {"value": statistics.fmean(row["text"] == plain[row["question"]] for row in known), "answers": len(known)}


def overshoot(rows: Sequence[Row]) -> Row | None:
    """The largest (call − draft) ÷ seconds asked, and what 1.15 and a step allow in that call."""
    timed = [row for row in rows if row["seconds"] >= SHORTEST]
    if not timed:
        return None
    worst = max(timed, key=_ratio)
    within = statistics.fmean(_ratio(row) <= _allowed(row) for row in timed)
    by_seconds = {seconds: round(max(map(_ratio, part)), 4) for seconds, part in group(timed, "seconds")}
    found = {"value": round(_ratio(worst), 4), "allowed": round(_allowed(worst), 4), "within": within}
    return found | {"answers": len(timed), "by_seconds": by_seconds}


def _ratio(row: Row) -> float:
    return float((row["call"] - row["draft"]) / row["seconds"])


def _allowed(row: Row) -> float:
    return float(SLACK + row["longest_step"] / row["seconds"])


def gain_kept(rows: Sequence[Row]) -> Row | None:
    """The gain on the slower machine ÷ the gain here, of questions that both have."""
    seconds = max((row["seconds"] for row in rows), default=0.0)
    gains: dict[float, dict[str, float]] = {LOST: {}, KEPT: {}}
    for row in rows:
        if row["seconds"] == seconds and row["slowdown"] in gains:
            gains[row["slowdown"]][row["question"]] = row["score_after"] - row["score_before"]
    both = gains[LOST].keys() & gains[KEPT].keys()
    here, slower = (sum(gain[question] for question in both) for gain in gains.values())
    if not both:
        return None
    means = {"gain": round(here / len(both), 4), "slower_gain": round(slower / len(both), 4)}
    return {"value": round(slower / here, 4) if here else None, "questions": len(both), "seconds": seconds, **means}


def harmless_cost(rows: Sequence[Row]) -> Row | None:
    """The median of call ÷ draft over harmless questions with the most seconds, at the slowdown where it is highest."""
    seconds = max((row["seconds"] for row in rows), default=0.0)
    asked = [row for row in rows if row["kind"] == "harmless" and row["seconds"] == seconds]
    if not asked:
        return None
    by_slowdown = {
        slowdown: round(statistics.median(row["call"] / row["draft"] for row in part), 4)
        for slowdown, part in group(asked, "slowdown")
    }
    changed = statistics.fmean(row["score_after"] > row["score_before"] for row in asked)
    return {"value": max(by_slowdown.values()), "by_slowdown": by_slowdown, "changed": changed, "answers": len(asked)}


def demo_seconds(rows: Sequence[Row]) -> Row | None:
    """The seconds of the demo, and the number of its answers that are whole."""
    if not rows:
        return None
    worst = max(rows, key=lambda row: row["call"])
    return {"value": round(worst["call"], 1), "slowdown": worst["slowdown"], "whole_answers": worst["whole_answers"]}


def plans(rows: Sequence[Row]) -> Row:
    """How often each plan was chosen, by slowdown and seconds, with the mean gain in score."""

    def key(row: Row) -> str:
        return f"{row['slowdown']:g} x, {row['seconds']:g} s"

    found = {}
    for name, part in group(rows, key):
        names = Counter(str(row["chosen"]).partition(":")[0] for row in part)
        gain = statistics.fmean(row["score_after"] - row["score_before"] for row in part)
        found[name] = {"plans": dict(names), "gain": round(gain, 4)}
    return found


def worth(rows: Sequence[Row]) -> Row:
    """The mean gain in score and the median seconds of refinement of each plan that was asked for."""
    found = {}
    for name, part in group(rows, "plan"):
        seconds = statistics.median(row["call"] - row["draft"] for row in part)
        gains = {
            kind: round(statistics.fmean(row["score_after"] - row["score_before"] for row in of_kind), 4)
            for kind, of_kind in group(part, "kind")
        }
        found[name] = {"seconds": round(seconds, 2), "gain": gains, "answers": len(part)}
    return found


def group(rows: Sequence[Row], key: str | Callable[[Row], Hashable]) -> list[tuple[Any, list[Row]]]:
    """The rows by one of their values, in the order of its first occurrence."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key] if isinstance(key, str) else key(row)].append(row)
    return list(found.items())
