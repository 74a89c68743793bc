"""Better answers at the same wall-clock, by a judge that steered nothing: `--pair real|tiny --json FILE`.

Every method drafts at the same temperature; the default preset answers first and sets the seconds of each
prompt, and all others get as many. Rows are kept (`--rows`), and a run that was cut off goes on from them.
`--tiers` and `--methods` pick a part. "The best search" is the best of the baselines by the figure at hand.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import public_data
import torch
from comparison_figures import bootstrap, equal_search, reduction, time_to
from quality_maths import gsm8k_figures, tiny_figures
from refusals import is_refusal

from langchain_sea import load_gate, load_model
from langchain_sea.evaluation import (
    CURVE,
    LEAD,
    METHODS,
    SEARCHES,
    Case,
    Evaluation,
    Table,
    add_gate_scores,
    read_rows,
    summarize,
)
from langchain_sea.evaluation.metrics import FIGURES
from langchain_sea.rewards import registry

TIERS = ("weak", "attacked", "strong", "harmless")
BASELINES = tuple(SEARCHES)
SIZES = (1, 2, 4, 8, 16, 32, 64)
NEEDED = {
    "weak": METHODS,
    "attacked": (LEAD, "draft", *BASELINES),
    "strong": (LEAD, "draft", *BASELINES),
    "harmless": (LEAD, "draft", "bo64"),
}

Row = dict[str, Any]


def cases(data: Path, tier: str, count: int, seed: int) -> list[Case]:
    """A seeded choice of AdvBench, or of XSTest's reported safe half."""
    if tier == "harmless":
        found = public_data.sample(public_data.xstest_safe(data, reported=True), count, "xstest", seed)
        return [public_data.make_case("xstest", question) for question in found]
    found = public_data.sample(public_data.advbench(data), count, "advbench", seed)
    return [public_data.make_case("advbench", question, tier) for question in found]


def chosen(values: list[float], rows: list[int]) -> list[float]:
    """Of the resampled prompts."""
    return [values[i] for i in rows]


def failures(table: Table) -> dict[str, Any]:
    """1 − our failures ÷ the best search's, with its interval."""
    best = table.best(BASELINES, "failed", lowest=True)
    ours, theirs = table.values(LEAD, "failed"), table.values(best, "failed")
    found = bootstrap(lambda rows: reduction(chosen(ours, rows), chosen(theirs, rows)), len(ours))
    return {
        "value": _plain(reduction(ours, theirs)), "interval": found, "best_search": best, "prompts": len(ours),
        "ours": round(statistics.fmean(ours), 4), "search": round(statistics.fmean(theirs), 4),
    }  # fmt: skip


def difference(table: Table, what: str, other: str) -> dict[str, Any]:
    """Ours − another's mean."""
    ours, theirs = table.values(LEAD, what), table.values(other, what)
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = bootstrap(lambda rows: statistics.fmean(chosen(gaps, rows)), len(gaps))
    return {"value": round(statistics.fmean(gaps), 4), "interval": found, "against": other, "prompts": len(gaps)}


def gate_gap(table: Table, center: float, scale: float) -> dict[str, Any]:
    """Gain in texts that the gate passes ÷ gain in texts that the reward takes for good."""

    def praised(method: str) -> float:
        return statistics.fmean(float(r * scale + center > 0) for r in table.values(method, "reward"))

    gate = table.mean(LEAD, "passes") - table.mean("draft", "passes")
    reward = praised(LEAD) - praised("draft")
    return {"value": _plain(gate / reward) if reward > 0 else None, "gate": round(gate, 4), "reward": round(reward, 4)}


def time_to_bon64(table: Table) -> dict[str, Any]:
    """Seconds at which our curve reaches best-of-64's mean reward ÷ its seconds; null if it never does."""
    names = [LEAD, *(f"{LEAD}@{part}" for part in CURVE)]
    points = [(table.mean(name, "seconds"), table.mean(name, "reward")) for name in names]
    level, seconds = table.mean("bo64", "reward"), table.mean("bo64", "seconds")
    found = time_to(points, level)
    curve = [[round(s, 3), round(r, 3)] for s, r in sorted(points)]
    return {
        "value": None if found is None else round(found / seconds, 4),
        "curve": curve,
        "bo64": [round(seconds, 3), round(level, 3)],
    }


def order_of_search(table: Table, gate: Any) -> dict[str, Any]:
    """The N at which best-of-N would pass the gate as often as we do, from the curve of its first n drafts."""
    passes: dict[int, list[float]] = {n: [] for n in SIZES}
    for row in table.rows["bo64"]:
        sure = list(gate(row["question"], [text for text, _, _ in row["drafts"]]))
        for n in SIZES:
            first = row["drafts"][:n]
            best = max(range(len(first)), key=lambda i, rows=first: rows[i][1])
            passes[n].append(float(sure[best] >= gate.threshold))
    ours = table.values(LEAD, "passes")

    def needed(rows: list[int]) -> float:
        curve = {n: statistics.fmean(chosen(values, rows)) for n, values in passes.items()}
        return min(1e6, equal_search(curve, statistics.fmean(chosen(ours, rows))))

    everyone = list(range(len(ours)))
    curve = {str(n): round(statistics.fmean(values), 4) for n, values in passes.items()}
    return {
        "value": round(needed(everyone), 1),
        "interval": bootstrap(needed, len(ours)),
        "curve": curve,
        "ours": statistics.fmean(ours),
    }


def figures(rows: list[Row], gate: Any, term: Any, wanted: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The keys that the rows have all they need for."""
    seen = [row | {"refused": is_refusal(row["text"])} for row in add_gate_scores(rows, gate, gate.threshold)]
    of = partial(_part, seen)
    found: dict[str, Any] = {}
    for tier, methods in wanted.items():
        table = Table(of(tier), methods)
        if not table.rows[LEAD]:
            continue
        found[f"table_{tier}"] = summarize(table, (*FIGURES, "refused"))
        whole = set(NEEDED[tier]) <= set(methods)
        if tier == "weak" and whole:
            found["safety_failures_reduction"] = failures(table)
            found["gate_gap"] = gate_gap(table, term.center, term.scale)
            rises = table.values(LEAD, "nll_rise")
            found["nll_rise"] = {"value": round(statistics.median(rises), 4), "prompts": len(rises)}
            found["time_to_bon64"] = time_to_bon64(table)
            found["beats_presets"] = difference(table, "passes", table.best(("paper", "reference"), "passes"))
            found["order_of_search"] = order_of_search(table, gate)
        if tier == "attacked" and whole:
            found["attacked_failures_reduction"] = failures(table)
        if tier == "strong" and whole:
            found["strong_tier_gap"] = difference(table, "passes", table.best(BASELINES, "passes"))
        if tier == "harmless" and whole:
            found["over_refusal_delta"] = difference(table, "refused", "draft")
    mine = [row for row in seen if row["method"].startswith(LEAD)]
    found["never_worse"] = (
        {"value": 1 - statistics.fmean(row["worse"] for row in mine), "answers": len(mine)} if mine else None
    )
    return found


def _part(rows: list[Row], tier: str) -> list[Row]:
    if tier == "harmless":
        return [row for row in rows if row["set"] == "xstest"]
    return [row for row in rows if row["set"] == "advbench" and row["tier"] == tier]


def _plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def real(options: argparse.Namespace) -> dict[str, Any]:
    """The safety figures, and GSM8K's."""
    data = public_data.find_folder(options.data)
    policy = load_model(options.policy, options.device)
    terms = registry.make_terms(["safety"], policy)
    evaluation = Evaluation(policy=policy, terms=terms, seed=options.seed, max_tokens=options.tokens)
    asked = options.methods.split(",") if options.methods else None
    wanted = {
        t: tuple(m for m in NEEDED[t] if not asked or m in asked or m == LEAD)
        for t in options.tiers.split(",")
        if t in TIERS
    }
    evaluation.answer(Case(set="", question="Hello"), "draft", None)  # the first call pays for set-up
    by_tier = {tier: cases(data, tier, options.prompts, options.seed) for tier in wanted}
    until = time.monotonic() + 60 * options.minutes
    for number in range(options.prompts):  # tier by tier within a prompt: what is cut off is cut evenly
        for tier, found in by_tier.items():
            evaluation.run(
                found[number : number + 1], wanted[tier], options.rows, minutes=(until - time.monotonic()) / 60
            )
    rows = [row for row in read_rows(options.rows) if row["set"] in {"advbench", "xstest"}]
    found = figures(rows, load_gate("safety"), terms[0], wanted)
    if options.gsm8k:
        found["gsm8k"] = gsm8k_figures(evaluation, data, options.gsm8k, options.seed)
    return found


def main() -> None:
    """Measure what is missing, then print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", choices=("real", "tiny"), default="real")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiers", default=",".join(TIERS))
    parser.add_argument("--methods", default="")
    parser.add_argument("--gsm8k", type=int, default=0, help="so many problems of it, too")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no answer after so many")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.rows = options.rows or Path(f"quality-{options.pair}-{options.seed}.jsonl")
    found = real(options) if options.pair == "real" else tiny_figures(options)
    text = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
