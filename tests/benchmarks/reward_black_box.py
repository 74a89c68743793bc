"""What a checker that only says right or wrong can steer: the key `black_box_gain` of `rewards.py`."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tiny_model import EARLY_3, data

from langchain_sea import Budget, load_model, make_energy, refine
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.baselines import BestOfN, search
from langchain_sea.rewards import FunctionReward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_model.problem import Problem

    from langchain_sea.models.causal_lm import CausalLMPolicy

TOKENS = 48


class Checker:
    """The exact check of one problem, counting its calls."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.calls = problem, 0

    def __call__(self, _prompt: str, completions: Sequence[str]) -> list[float]:
        self.calls += len(completions)
        return [float(self.problem.check(text)) for text in completions]


def solve(
    policy: CausalLMPolicy, problem: Problem, *, draws: int | None, seconds: float | None, seed: int
) -> dict[str, Any]:
    """Solve one problem by so many drafts, or by the default preset: right or not, calls of the checker, seconds."""
    checker = Checker(problem)
    term = RewardTerm(reward=FunctionReward(checker, timeout=None), name="checker")
    energy = replace(make_energy(policy, [term]), policy_weight=0.05, max_nll_rise=None, limits=None)
    prompt = policy.prompt(problem.messages, room=TOKENS)
    budget = Budget(max_time=seconds)
    began = time.monotonic()
    if draws is None:
        (found,) = refine([prompt], energy=energy, budget=budget, max_new_tokens=TOKENS, seed=seed)
    else:
        method = BestOfN(count=draws or None, temperature=1.0)
        (found,) = search([prompt], method, energy=energy, budget=budget, max_new_tokens=TOKENS, seed=seed)
    took = time.monotonic() - began
    return {"right": problem.check(found.text), "calls": checker.calls, "seconds": took, "steps": found.steps}


def black_box(seed: int, count: int) -> dict[str, Any]:
    """Base, best of 16 and 64, ours, and best of N in the seconds of ours, on the 3 % tier."""
    policy = load_model(EARLY_3, dtype="float32")
    problems = data.held_out("arithmetic", count, f"black box {seed}")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("base", "bo16", "bo64", "ours", "equal_seconds")}
    for problem in problems:
        for name, draws in (("base", 1), ("bo16", 16), ("bo64", 64)):
            rows[name].append(solve(policy, problem, draws=draws, seconds=None, seed=seed))
        ours = solve(policy, problem, draws=None, seconds=4 * rows["bo16"][-1]["seconds"], seed=seed)
        rows["ours"].append(ours)
        rows["equal_seconds"].append(solve(policy, problem, draws=0, seconds=ours["seconds"], seed=seed))
    mean = {
        name: {key: statistics.fmean(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }
    base = mean["base"]["right"]
    return {"value": round(mean["ours"]["right"] / base, 3) if base else None, "problems": count, **mean}
