"""Measure how fast a model is on this machine, and what is searched within some seconds: `doctor --speed`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line, write_status
from langchain_sea.core.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.engine.speed_model import SpeedModel
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["measure_speed", "show_speed"]

_QUESTION = "What should I pack for a weekend in the mountains?"
_GROUPS, _ROWS, _ROUNDS, _TOKENS = 2, 8, 3, 8
_SECONDS = (5.0, 10.0, 30.0)
_DRAFT_TOKENS = 100


def show_speed(name: str, rewards: Sequence[str]) -> int:
    """Print tokens per second, the seconds of a draft and of a gradient, and the plan for some limits of time.

    Args:
        name: of the model.
        rewards: what draws are judged by; without any the model's own reward.
    """
    import torch

    from langchain_sea.engine.planning import Workload, choose_plan
    from langchain_sea.models.registry import load_model
    from langchain_sea.presets import PRESETS

    policy = load_model(name, report=write_status)
    write_status("measuring …")
    start = time.monotonic()
    speed = measure_speed(policy, rewards)
    dtype = str(policy.model.dtype).removeprefix("torch.")
    threads = f", {count_of(torch.get_num_threads(), 'thread')}" if policy.device.type == "cpu" else ""
    write_line(f"{name}, {dtype} on {policy.device}{threads}; measured in {time.monotonic() - start:.1f} s")
    num_rows = _GROUPS * _ROWS
    alone, together = 1 / speed.decode(1), num_rows / speed.decode(num_rows)
    write_line(f"{'tokens a second':22} {alone:.1f} in one answer, {together:.1f} in {num_rows} together")
    write_line(f"{f'draft of {_DRAFT_TOKENS} tokens':22} {_DRAFT_TOKENS / alone:.1f} s")
    gradient = speed.gradient(num_rows * _TOKENS)
    write_line(f"{'gradient':22} {gradient:.3f} s for {num_rows} draws of {_TOKENS} tokens")
    stride = PRESETS["default"].search_config.continuation.stride
    for seconds in _SECONDS:
        plan, reason = choose_plan(speed, seconds, Workload(None, stride, stride))
        size = f"{plan.num_draws} draws × {count_of(plan.rounds, 'round')} of {plan.tokens} tokens, " if plan else ""
        plan_name = plan.name if plan else "none"
        write_line(f"{f'max_time={seconds:g}':22} {plan_name}: {size}{reason}")
    return 0


def measure_speed(policy: CausalLMPolicy, rewards: Sequence[str] = ()) -> SpeedModel:
    """Refine a short answer with a fixed plan, and return the speed that the engine has measured meanwhile.

    Args:
        policy: the model; what was measured of it before counts, too.
        rewards: what draws are judged by; without any the model's own reward.
    """
    from langchain_sea.budget import Budget
    from langchain_sea.engine.refine import refine
    from langchain_sea.engine.speed_model import get_speed
    from langchain_sea.plans import SearchPlan
    from langchain_sea.presets import PRESETS

    plan = SearchPlan(groups=_GROUPS, rows=_ROWS, rounds=_ROUNDS, tokens=_TOKENS, kept=_GROUPS)
    refine(
        [policy.prompt([{"role": "user", "content": _QUESTION}], room=_TOKENS)],
        energy=_make_energy(policy, rewards),
        search_config=replace(PRESETS["default"].search_config, plan=plan),
        budget=Budget(max_time=None),
        max_new_tokens=_TOKENS,
    )
    return get_speed(policy)


def _make_energy(policy: CausalLMPolicy, rewards: Sequence[str]) -> Energy:
    """Return an energy that draws are judged by as beginnings, if the model has such a reward, else as texts.

    It has no limits, because they would end the search before the gradient was measured.
    """
    from langchain_sea.rewards.registry import make_energy

    try:
        energy = make_energy(policy, list(rewards) or None)
    except ValueError:  # no reward ships for this model
        energy = None
    if energy is None or not energy.scores_prefixes:
        energy = make_energy(policy, [_count_characters])
    return replace(energy, limits=None)


def _count_characters(_prompt: str, completions: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in completions]
