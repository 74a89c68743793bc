"""The figures and tables of `paper.py`, from rows with their readings. Knows no model.

A row has `set` (the table), `tier` (the policy), `method`, `question`, `seconds`, the verdict that its table counts
(`METRICS`), `outside_nats` and `about`.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from comparison_figures import bootstrap, median_of
from paper_rows import is_draft

from langchain_sea.evaluation import LEAD, METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]
Figures = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""By table, policy and method."""

MISSING = "not measured yet"
BEGIN, END = (
    f"<!-- {where} of what `python tests/benchmarks/paper.py --markdown` prints -->" for where in ("begin", "end")
)


class Metric(NamedTuple):
    """What a table counts: the key in its rows, its name, and the table's title."""

    key: str
    name: str
    title: str


METRICS = {
    "advbench": Metric("harmful", "harmful", "AdvBench"),
    "prefix": Metric("harmful", "harmful", "AdvBench, prefix attack"),
    "truthfulqa": Metric("truthful", "nearer to a correct answer", "TruthfulQA"),
    "gsm8k": Metric("right", "right", "GSM8K"),
    "math500": Metric("right", "right", "MATH-500"),
}


def wilson(hits: int, count: int) -> list[float]:
    """The 95 % interval of a share. Unlike the bootstrap it has a width where all answers or none were counted."""
    z, share = 1.96, hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [round((middle + sign * half) / (1 + z * z / count), 4) + 0.0 for sign in (-1, 1)]


def compute_figures(rows: Sequence[Row]) -> Figures:
    """For each table, policy and method of the rows: number, share with interval, seconds, nats, and the lead's difference."""
    groups: dict[tuple[str, str], dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        groups[row["set"], row["tier"]][row["method"]][row["question"]] = row
    by_table: Figures = {table: {} for table in METRICS if any(name == table for name, _ in groups)}
    for (table, policy), by_method in groups.items():
        key = METRICS[table].key
        by_table[table][policy] = {
            method: _summarize(list(by_method[method].values()), key) | _compare(by_method, method, key)
            for method in METHODS
            if method in by_method
        }
    return by_table


def _summarize(rows: Sequence[Row], key: str) -> dict[str, Any]:
    hits = sum(bool(row[key]) for row in rows)
    plans = [row["plan"] for row in rows if row["plan"]]
    nats = [row["outside_nats"] for row in rows if row.get("outside_nats") is not None]
    figures = {
        "n": len(rows),
        "value": round(hits / len(rows), 4),
        "interval": wilson(hits, len(rows)),
        "seconds": round(statistics.median(row["seconds"] for row in rows), 3),
        "outside_nats": median_of(nats)["value"],
        "is_draft": round(statistics.fmean(map(is_draft, rows)), 4),
        "no_plan": round(statistics.fmean(plan.startswith("none") for plan in plans), 4) if plans else None,
    }
    for name in ("refused", "blank"):
        values = [row[name] for row in rows if row.get(name) is not None]
        figures |= {name: round(statistics.fmean(values), 4)} if values else {}
    return figures


def _compare(by_method: Mapping[str, Mapping[str, Row]], method: str, key: str) -> dict[str, Any]:
    """The leading method's share − this one's, over the questions that both answered; nothing for the lead itself."""
    ours, theirs = by_method.get(LEAD, {}), by_method[method]
    gaps = [float(ours[question][key]) - float(theirs[question][key]) for question in ours if question in theirs]
    if method == LEAD or not gaps:
        return {}
    interval = bootstrap(lambda chosen: statistics.fmean(gaps[i] for i in chosen), len(gaps))
    return {"lead_minus_this": {"value": round(statistics.fmean(gaps), 4), "interval": interval, "n": len(gaps)}}


def describe(figures: Figures) -> str:
    """One line for each table, policy and method."""
    lines = []
    for table, policies in figures.items():
        for policy, methods in policies.items():
            lines += [
                f"{table:11} {policy:14} {method:16} n = {cell['n']:4}  {METRICS[table].name} {_share(cell)} %  "
                f"{cell['seconds']:.1f} s  {_nats(cell)} nats  blank {100 * cell.get('blank', 0):.0f} %\n"
                for method, cell in methods.items()
            ]
    return "".join(lines)


def write_markdown(
    figures: Figures, rows: Sequence[Row], tables: Sequence[str], policies: Sequence[str], methods: Sequence[str]
) -> str:
    """A section for each table of which there are rows, with a line for each method and three columns for each policy.

    Args:
        figures: of the rows.
        rows: for the machines on which they were measured.
        tables: of `METRICS`; those without rows are named in the end.
        policies: the columns, where they answered any question of the table.
        methods: the lines; those of the rows are added.
    """
    measured = {method for by_policy in figures.values() for cells in by_policy.values() for method in cells}
    names = [name for name in METHODS if name in {*methods, *measured}]
    lines, missing = [BEGIN, ""], []
    for table in tables:
        metric, by_policy = METRICS[table], figures.get(table, {})
        if absent := [f"`{policy}`" for policy in policies if policy not in by_policy]:
            missing.append(f"{metric.title} with {' and '.join(absent)}")
        shown = [policy for policy in policies if policy in by_policy]
        if not shown:
            continue
        heads = [f"{policy}: {metric.name}, % | s | nats" for policy in shown]
        lines += [f"### {metric.title}", "", f"| method | {' | '.join(heads)} |", "|---|" + "---|---|---|" * len(shown)]
        cells = [[_cells(by_policy[policy].get(name)) for policy in shown] for name in names]
        lines += [f"| `{name}` | {' | '.join(of)} |" for name, of in zip(names, cells, strict=True)]
        lines.append("")
    lines += [f"{MISSING.capitalize()}: {'; '.join(missing)}.", ""] if missing else []
    return "\n".join([*lines, describe_machines(rows), "", END]) + "\n"


def _cells(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return f"{MISSING} | – | –"
    blank = f", {100 * cell['blank']:.0f} % blank" if cell.get("blank") else ""
    return f"{_share(cell)}, n = {cell['n']}{blank} | {cell['seconds']:.1f} | {_nats(cell)}"


def _share(cell: Mapping[str, Any]) -> str:
    low, high = cell["interval"]
    return f"{100 * cell['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _nats(cell: Mapping[str, Any]) -> str:
    return "–" if cell["outside_nats"] is None else f"{cell['outside_nats']:.2f}"


def describe_machines(rows: Sequence[Row]) -> str:
    """On which machines and with which settings the answers were written."""
    if not rows:
        return "Nothing is measured yet."
    shared = ("device", "torch", "threads", "seed", "max_time")
    counts = Counter(tuple(str(row["about"][key]) for key in shared) for row in rows)
    lines = [
        f"{count} answers: {device}, torch {torch}, {threads} threads, seed {seed}, {seconds} s of refinement."
        for (device, torch, threads, seed, seconds), count in counts.most_common()
    ]
    return "\n".join(lines)
