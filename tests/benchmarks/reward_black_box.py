"""What a checker that only says right or wrong can steer: the key `black_box_gain` of `rewards.py`."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tiny_model import EARLY_3, data

from langchain_sea import load_model
from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.refine import refine
from langchain_sea.presets import ChainConfig, DraftConfig, SearchConfig
from langchain_sea.rewards import FunctionReward, ScoreFunction
from langchain_sea.sampling.langevin import Langevin

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


def solved(
    policy: CausalLMPolicy, problem: Problem, method: SearchConfig, *, samples: int, seconds: float | None, seed: int
) -> dict[str, Any]:
    """One problem under one method: right or not, calls of the checker, seconds."""
    checker = Checker(problem)
    plain = FunctionReward(checker, timeout=None)
    reward = ScoreFunction(plain, samples=samples) if samples else plain
    energy = Energy(
        policy=policy, terms=(RewardTerm(reward=reward, name="checker"),), policy_weight=0.05, max_nll_rise=None
    )
    began = time.monotonic()
    prompt = policy.prompt(problem.messages, room=TOKENS)
    found = refine(
        [prompt],
        energy=energy,
        langevin=Langevin(kernel="adam", step_size=0.3, noise="transient", noise_scale=0.3),
        budget=Budget(max_time=seconds),
        max_new_tokens=TOKENS,
        seed=seed,
        search_config=method,
    )[0]
    took = time.monotonic() - began
    return {"right": problem.check(found.text), "calls": checker.calls, "seconds": took, "steps": found.steps}


def black_box(seed: int, count: int) -> dict[str, Any]:
    """Base, best-of-16, ours at its seconds, and best-of-N at ours' calls, on the 3 % tier."""
    policy = load_model(EARLY_3, dtype="float32")
    problems = data.held_out("arithmetic", count, f"black box {seed}")
    whole = SearchConfig(
        chains=ChainConfig(num_chains=1, max_steps=0),
        drafts=DraftConfig(num_drafts=1, temperature=1.0),
        block_size=None,
    )
    ours = replace(whole, chains=16, steps=10_000, support=64, margin=1.0)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("base", "bo16", "ours", "equal_calls", "ours_4_times", "bo64")
    }
    for problem in problems:
        rows["base"].append(solved(policy, problem, whole, samples=0, seconds=None, seed=seed))
        best = solved(policy, problem, replace(whole, chains=16), samples=0, seconds=None, seed=seed)
        rows["bo16"].append(best)
        mine = solved(policy, problem, ours, samples=8, seconds=best["seconds"], seed=seed)
        rows["ours"].append(mine)
        calls = replace(whole, chains=max(1, mine["calls"]))
        longer = solved(policy, problem, ours, samples=8, seconds=4 * best["seconds"], seed=seed)
        rows["ours_4_times"].append(longer)
        rows["bo64"].append(solved(policy, problem, replace(whole, chains=64), samples=0, seconds=None, seed=seed))
        rows["equal_calls"].append(solved(policy, problem, calls, samples=0, seconds=None, seed=seed))
    mean = {
        name: {key: statistics.fmean(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }
    base = mean["base"]["right"]
    return {"value": round(mean["ours"]["right"] / base, 3) if base else None, "problems": count, **mean}
