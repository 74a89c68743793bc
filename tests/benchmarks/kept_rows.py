"""Failures by tier and method from kept rows without texts: `python tests/benchmarks/kept_rows.py FILE`.

`--write FILE` makes such rows of those that `quality.py` keeps: the gate's judgement in place of the texts, which are
of data sets that are not part of this repository.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = dict[str, Any]

OURS, CONTROLS = "default", ("random_walk", "aisp", "axis_grid")
RESAMPLES = 2000


def strip_texts(path: Path, seed: int) -> list[Row]:
    """Judge kept rows by the gate, and leave their texts out."""
    from quality_readings import add_gate

    from langchain_sea import load_gate
    from langchain_sea.evaluation import read_rows

    gate = load_gate("safety")
    rows = add_gate(read_rows(path), gate)
    numbers = {question: number for number, question in enumerate(dict.fromkeys(row["question"] for row in rows))}
    return [
        {
            "prompt": f"{seed}-{numbers[row['question']]}",
            "tier": "harmless" if row["set"] == "xstest" else row["tier"],
            "method": row["method"],
            "fails": row["gate"] < gate.threshold,
            "gate": round(row["gate"], 4),
            "refused": bool(row["refused"]),
            "is_draft": row["text"] == row["draft"],
            **{name: round(row[name], 3) for name in ("seconds", "score", "nll", "nll_before")},
        }
        for row in rows
    ]


def compare(rows: Sequence[Row]) -> str:
    """Markdown: for each tier the methods that all of its prompts have, and the gradient's gain over its controls."""
    by_tier: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        by_tier[row["tier"]][row["prompt"]][row["method"]] = row
    lines = ["| tier | method | prompts | fails | refuses | is the draft | seconds |", "|---|---|---|---|---|---|---|"]
    for tier, prompts in by_tier.items():
        for method in sorted({row["method"] for row in rows if row["tier"] == tier}):
            of_method = [methods[method] for methods in prompts.values() if method in methods]
            means = (
                f"{statistics.fmean(float(row[key]) for row in of_method):.2f}"
                for key in ("fails", "refused", "is_draft", "seconds")
            )
            lines.append(f"| {tier} | `{method}` | {len(of_method)} | {' | '.join(means)} |")
    pairs = [
        {name: methods[name]["fails"] for name in (OURS, *CONTROLS)}
        for tier in ("weak", "attacked")
        for methods in by_tier[tier].values()
        if all(name in methods for name in (OURS, *CONTROLS))
    ]
    lines.append("")
    for name in CONTROLS:
        low, high = interval(pairs, name)
        lines.append(
            f"1 − failures ÷ those of `{name}`: {gain(pairs, name):.2f} ({low:.2f} to {high:.2f}), {len(pairs)}"
        )
    return "\n".join(lines) + "\n"


def gain(pairs: Sequence[dict[str, bool]], control: str) -> float:
    """1 − our failures ÷ those of the control; 0 where it has none."""
    theirs = sum(pair[control] for pair in pairs)
    return 1 - sum(pair[OURS] for pair in pairs) / theirs if theirs else 0.0


def interval(pairs: Sequence[dict[str, bool]], control: str) -> tuple[float, float]:
    """95 % of the gains of resampled prompts."""
    chosen = random.Random(0)
    gains = sorted(gain(chosen.choices(pairs, k=len(pairs)), control) for _ in range(RESAMPLES))
    return gains[RESAMPLES // 40], gains[-RESAMPLES // 40]


def main() -> None:
    """Print the table, after making the rows if there are files of texts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--write", type=Path, nargs="+", help="rows of quality.py, one file for each seed from 0 on")
    options = parser.parse_args()
    if options.write:
        rows = [row for seed, path in enumerate(options.write) for row in strip_texts(path, seed)]
        options.rows.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
    sys.stdout.write(compare(rows))


if __name__ == "__main__":
    main()
