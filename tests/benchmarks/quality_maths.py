"""Maths at the same wall-clock: the tiny tiers with their reward, and GSM8K with a verifier."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import public_data
from comparison_figures import bootstrap, time_to
from tiny_model import EARLY_3, data

from langchain_sea import load_model
from langchain_sea.core.terms import RewardTerm
from langchain_sea.evaluation import CURVE, LEAD, SEARCHES, Case, Evaluation
from langchain_sea.rewards import FunctionReward, MathVerifier, registry

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

TIERS = {"early_30": "30", "early_3": "3", "early_03": "0.3"}
TIER_PATHS = {"early_3": EARLY_3}
METHODS = (LEAD, "draft", "bo64", *SEARCHES, *(f"{LEAD}@{part}" for part in CURVE))
WHERE = ("set", "question", "method")


def tiny_figures(options: argparse.Namespace) -> dict[str, Any]:
    """All of the `--pair tiny` keys."""
    methods = tuple(m for m in METHODS if not options.methods or m in options.methods.split(",") or m == LEAD)
    found: dict[str, Any] = {}
    right: dict[str, dict[str, list[float]]] = {}
    rows: list[dict[str, Any]] = []
    for tier, name in TIERS.items():
        problems = {
            p.messages[-1]["content"]: p
            for p in data.held_out("arithmetic", options.prompts, f"quality {options.seed}")
        }
        mine = _tier(options, tier, list(problems), methods)
        rows += mine
        by_method = {m: [row for row in mine if row["method"] == m] for m in methods}
        right[name] = {
            m: [float(problems[row["question"]].check(row["text"])) for row in part] for m, part in by_method.items()
        }
        found[f"table_{name}"] = {
            m: {"accuracy": round(statistics.fmean(right[name][m]), 4), "seconds": round(statistics.fmean(row["seconds"] for row in part), 3),
                "score": round(statistics.fmean(row["score"] for row in part), 3), "prompts": len(part)}
            for m, part in by_method.items()
        }  # fmt: skip
    searches = [m for m in methods if m in SEARCHES]
    if searches:
        gains = {name: _gain(right[name], searches) for name in ("3", "0.3")}
        lowest = min(gains, key=lambda name: gains[name]["value"])
        found["maths_gain"] = gains[lowest] | {"tier": lowest}
        found |= {f"maths_gain_{name}": gain for name, gain in gains.items()}
        best = max(searches, key=lambda m: statistics.fmean(right["30"][m]))
        gap = statistics.fmean(right["30"][LEAD]) - statistics.fmean(right["30"][best])
        found["maths_strong_gap"] = {"value": round(gap, 4), "best_search": best}
    if set(METHODS) <= set(methods):
        found["time_to_bon64"] = _time_to_bon64(rows)
    ours = [row for row in rows if row["method"].startswith(LEAD)]
    found["never_worse"] = {
        "value": 1 - statistics.fmean(row["score"] < row["score_before"] for row in ours),
        "answers": len(ours),
    }
    return found


def _tier(
    options: argparse.Namespace, tier: str, questions: list[str], methods: tuple[str, ...]
) -> list[dict[str, Any]]:
    policy = load_model(TIER_PATHS.get(tier, f"tiny/{tier}"), dtype="float32")
    terms = registry.make_terms(["tiny"], policy)
    evaluation = Evaluation(policy=policy, terms=terms, seed=options.seed, max_tokens=48, temperature=1.0)
    evaluation.answer(Case(set="", question="Hello"), "draft", None)
    cases = [Case(set=tier, question=question) for question in questions]
    rows = evaluation.run(cases, methods, options.rows, minutes=options.minutes)
    wanted = set(questions)
    return [row for row in rows if row["set"] == tier and row["question"] in wanted]


def _gain(right: dict[str, list[float]], searches: list[str]) -> dict[str, Any]:
    """Accuracy over the best search's, relative."""
    best = max(searches, key=lambda m: statistics.fmean(right[m]))
    ours, theirs = right[LEAD], right[best]

    def relative(rows: list[int]) -> float:
        base = statistics.fmean(theirs[i] for i in rows)
        return statistics.fmean(ours[i] for i in rows) / base - 1 if base else float("nan")

    value = relative(list(range(len(ours)))) if sum(theirs) else (1e6 if sum(ours) else 0.0)
    return {"value": round(value, 4), "interval": bootstrap(relative, len(ours)), "best_search": best,
            "ours": round(statistics.fmean(ours), 4), "search": round(statistics.fmean(theirs), 4)}  # fmt: skip


def _time_to_bon64(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(method: str, what: str) -> float:
        return statistics.fmean(row[what] for row in rows if row["method"] == method)

    names = [LEAD, *(f"{LEAD}@{part}" for part in CURVE)]
    found = time_to([(mean(n, "seconds"), mean(n, "score")) for n in names], mean("bo64", "score"))
    return {"value": None if found is None else round(found / mean("bo64", "seconds"), 4)}


def gsm8k_figures(evaluation: Evaluation, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Accuracy on GSM8K's test set with a verifier that knows the answer as the only reward."""
    found: dict[str, list[float]] = {m: [] for m in ("draft", LEAD, "best_of_n")}
    for question, gold in public_data.sample(public_data.gsm8k(folder, "test"), count, "gsm8k", seed):
        verifier = MathVerifier(gold)
        terms = (RewardTerm(reward=FunctionReward(verifier), name="verifier"),)
        mine = replace(evaluation, terms=terms, max_tokens=100)
        case, seconds = Case(set="gsm8k", question=question, gold=gold), None
        for method in (LEAD, "draft", "best_of_n"):
            row = mine.answer(case, method, seconds)
            seconds = row["seconds"] if method == LEAD else seconds
            found[method].append(float(verifier(question, [row["text"]])[0] > 0))
    return {method: round(statistics.fmean(values), 4) for method, values in found.items()} | {"problems": count}
