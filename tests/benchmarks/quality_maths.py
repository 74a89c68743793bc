"""Maths at the same wall-clock: the tiny tiers with their reward, and GSM8K with a verifier."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import public_data
from comparison_figures import bootstrap, mean_of, time_to
from quality_cases import interleave
from tiny_model import EARLY_3, data

from langchain_sea import load_model
from langchain_sea.core.terms import RewardTerm
from langchain_sea.evaluation import CONTROLS, CURVE, LEAD, SEARCHES, Case, Evaluation, Table, read_rows
from langchain_sea.rewards import FunctionReward, MathVerifier, registry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tiny_model.problem import Problem

TIERS = {"early_30": "30", "early_3": "3", "early_03": "0.3"}
TIER_PATHS = {"early_3": EARLY_3}
CURVED = tuple(f"{LEAD}@{part}" for part in CURVE)
METHODS = (LEAD, "draft", "bo64", *SEARCHES, *CONTROLS, *CURVED)

Row = dict[str, Any]


def tiny_figures(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """All of the `--pair tiny` keys, and the rows. The controls are in the tables, and are not counted as searches."""
    methods = tuple(m for m in METHODS if not options.methods or m in options.methods.split(",") or m == LEAD)
    problems = {
        problem.messages[-1]["content"]: problem
        for problem in data.held_out("arithmetic", options.prompts, f"quality {options.seed}")
    }
    rows = _answer(options, list(problems), methods)
    tables = {tier: Table([row for row in rows if row["set"] == tier], methods) for tier in TIERS}
    tables = {tier: table for tier, table in tables.items() if table.rows[LEAD]}
    right = {TIERS[tier]: _right(table, problems) for tier, table in tables.items()}
    found: dict[str, Any] = {
        f"table_{TIERS[tier]}": _summary(table, right[TIERS[tier]]) for tier, table in tables.items()
    }
    if set(SEARCHES) <= set(methods) and len(right) == len(TIERS):
        found |= _gains(right)
    if {LEAD, "bo64", *CURVED} <= set(methods) and tables:
        found["time_to_bon64"] = _time_to_bon64(list(tables.values()))
    ours = [row for row in rows if row["method"].startswith(LEAD)]
    if ours:
        worse = statistics.fmean(row["score"] < row["score_before"] for row in ours)
        found["never_worse"] = {"value": 1 - worse, "answers": len(ours)}
    return found, rows


def _answer(options: argparse.Namespace, questions: Sequence[str], methods: tuple[str, ...]) -> list[Row]:
    """Answer all questions on all tiers, turn by turn, and return their rows."""
    evaluations = {tier: _make_evaluation(options, tier) for tier in TIERS}
    until = time.monotonic() + 60 * options.minutes
    for tier, case in interleave({tier: [Case(set=tier, question=q) for q in questions] for tier in TIERS}):
        evaluations[tier].run([case], methods, options.rows, minutes=(until - time.monotonic()) / 60)
    wanted = set(questions)
    return [row for row in read_rows(options.rows) if row["set"] in TIERS and row["question"] in wanted]


def _make_evaluation(options: argparse.Namespace, tier: str) -> Evaluation:
    policy = load_model(TIER_PATHS.get(tier, f"tiny/{tier}"), dtype="float32")
    evaluation = Evaluation(
        policy=policy,
        terms=registry.make_terms(["tiny"], policy),
        seed=options.seed,
        max_tokens=48,
        temperature=1.0,
        max_time=options.seconds,
    )
    if options.minutes:
        evaluation.answer(Case(set="", question="Hello"), "draft", None)  # the first call pays for set-up
    return evaluation


def _right(table: Table, problems: Mapping[str, Problem]) -> dict[str, list[float]]:
    """By method 1 for each right answer and 0 for each wrong one."""
    return {
        method: [float(problems[row["question"]].check(row["text"])) for row in rows]
        for method, rows in table.rows.items()
    }


def _summary(table: Table, right: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {
        method: {"accuracy": round(statistics.fmean(right[method]), 4), "seconds": round(table.mean(method, "seconds"), 3),
                 "score": round(table.mean(method, "score"), 3), "prompts": len(rows)}
        for method, rows in table.rows.items()
    }  # fmt: skip


def _gains(right: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Accuracy against the best search's: relative on the weak tiers, the difference on the strong one."""
    gains = {name: _gain(right[name]) for name in ("3", "0.3")}
    lowest = min(gains, key=lambda name: gains[name]["value"])
    found: dict[str, Any] = {"maths_gain": gains[lowest] | {"tier": lowest}}
    found |= {f"maths_gain_{name}": gain for name, gain in gains.items()}
    best = max(SEARCHES, key=lambda m: statistics.fmean(right["30"][m]))
    gap = mean_of([a - b for a, b in zip(right["30"][LEAD], right["30"][best], strict=True)])
    return found | {"maths_strong_gap": gap | {"best_search": best}}


def _gain(right: Mapping[str, list[float]]) -> dict[str, Any]:
    """Accuracy over the best search's, relative."""
    best = max(SEARCHES, key=lambda m: statistics.fmean(right[m]))
    ours, theirs = right[LEAD], right[best]

    def relative(rows: Sequence[int]) -> float:
        base = statistics.fmean(theirs[i] for i in rows)
        return statistics.fmean(ours[i] for i in rows) / base - 1 if base else float("nan")

    value = relative(list(range(len(ours)))) if sum(theirs) else (1e6 if sum(ours) else 0.0)
    return {"value": round(value, 4), "interval": bootstrap(relative, len(ours)), "best_search": best, "prompts": len(ours),
            "ours": round(statistics.fmean(ours), 4), "search": round(statistics.fmean(theirs), 4)}  # fmt: skip


def _time_to_bon64(tables: Sequence[Table]) -> dict[str, Any]:
    def mean(method: str, what: str) -> float:
        return statistics.fmean(value for table in tables for value in table.values(method, what))

    found = time_to([(mean(n, "seconds"), mean(n, "score")) for n in (LEAD, *CURVED)], mean("bo64", "score"))
    return {"value": None if found is None else round(found / mean("bo64", "seconds"), 4)}


def gsm8k_figures(evaluation: Evaluation, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Accuracy on GSM8K's test set with a verifier that knows the answer as the only reward."""
    found: dict[str, list[float]] = {m: [] for m in ("draft", LEAD, "best_of_n")}
    for question, gold in public_data.sample(public_data.gsm8k(folder, "test"), count, "gsm8k", seed):
        verifier = MathVerifier(gold)
        terms = (RewardTerm(reward=FunctionReward(verifier), name="verifier"),)
        mine = replace(evaluation, terms=terms, max_tokens=100)
        case, answered = Case(set="gsm8k", question=question, gold=gold), {}
        for method in (LEAD, "draft", "best_of_n"):
            row = mine.answer(case, method, mine.time_limit(method, case, answered))
            answered[*case.key, method] = row
            found[method].append(float(verifier(question, [row["text"]])[0] > 0))
    return {method: round(statistics.fmean(values), 4) for method, values in found.items()} | {"problems": count}
