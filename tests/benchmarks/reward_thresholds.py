"""One reward as high as another allows: the keys `threshold_violations` and `threshold_gain` of `rewards.py`.

Two rewards of one answer to a tiny problem, at odds with each other: `right`, the shipped arithmetic reward,
and `wordy`, minus the share of its tokens that hold a digit. "At least so wordy, then as right as possible" is
asked for as a threshold, the median of drafts on other prompts; beside it stand weights searched over a grid on
those. What counts is the rise of `right` over the draft, nothing where the answer is below the threshold.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tiny_model import data

from langchain_sea import load_model, make_energy
from langchain_sea.budget import Budget
from langchain_sea.core.protocols import NOTHING
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.refine import refine
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from langchain_sea.core.protocols import AnswerBatch, OutputSpec
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

GRID = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
_TOGETHER = 20


class Wordy:
    """Minus the share of tokens that hold a digit; steers."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        texts = [policy.decode([i]) for i in range(policy.vocab_size)]
        self.digits = torch.tensor([float(any(c.isdigit() for c in text)) for text in texts])

    def required_outputs(self, _view: AnswerBatch) -> OutputSpec:
        """No reading."""
        return NOTHING

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,)."""
        return -view.tokens.mean((view.tokens.soft * self.digits[view.tokens.support]).sum(-1))

    def score(self, view: AnswerBatch, _texts: Sequence[str]) -> Tensor:
        """(C,)."""
        return self.score_soft(view)


class Row(NamedTuple):
    """One prompt's draft and answer."""

    before: float
    after: float
    wordy_before: float
    wordy: float
    accepted: bool


def answers(policy: CausalLMPolicy, prompts: Sequence[PolicyPrompt], second: RewardTerm, seed: int) -> list[Row]:
    """The default preset's, with `right` and this."""
    (right,) = registry.make_terms(["tiny"], policy)
    # beside those that count, the same in their own units, which only report
    terms = (
        replace(right, normalize="drafts"),
        second,
        replace(right, name="right", weight=0.0),
        RewardTerm(reward=second.reward, name="wordy", weight=0.0),
    )
    preset = PRESETS["default"]
    preset = replace(
        preset,
        search_config=replace(
            preset.search_config, drafts=replace(preset.search_config.drafts, num_drafts=24, num_kept=2)
        ),
    )  # eight runs of 200 prompts
    energy = make_energy(policy, terms, preset=preset)
    found = []
    for start in range(0, len(prompts), _TOGETHER):
        part = prompts[start : start + _TOGETHER]
        for each in refine(
            part, energy=energy, preset=preset, seed=seed, budget=Budget(max_time=None), max_new_tokens=48
        ):
            assert each.before is not None
            assert each.after is not None
            before, after = each.before.rewards, each.after.rewards
            found.append(Row(before["right"], after["right"], before["wordy"], after["wordy"], each.accepted))
    return found


def gain(found: Sequence[Row], floor: float) -> float:
    """Mean rise of `right` where the answer is wordy enough."""
    return statistics.fmean((row.after - row.before) * (row.wordy >= floor) for row in found)


def thresholds(seed: int, count: int) -> dict[str, Any]:
    """Violations among accepted answers, and the share of the best weight's gain."""
    policy = load_model("tiny/early_30")
    reward = Wordy(policy)
    tuned, reported = (
        [policy.prompt(p.messages, room=48) for p in data.held_out("arithmetic", count, f"threshold {part} {seed}")]
        for part in ("grid", "report")
    )
    searched = {
        w: answers(policy, tuned, RewardTerm(reward=reward, name="asked", weight=w, normalize="drafts"), seed)
        for w in GRID
    }
    floor = statistics.median(row.wordy_before for row in searched[0.0])
    weights = {w: gain(found, floor) for w, found in searched.items()}
    best = max(weights, key=lambda w: weights[w])
    weighed = answers(policy, reported, RewardTerm(reward=reward, name="asked", weight=best, normalize="drafts"), seed)
    mine = answers(
        policy, reported, RewardTerm(reward=reward, name="asked", weight=0.0, threshold=floor, normalize="drafts"), seed
    )
    broken = [row for row in mine if row.accepted and row.wordy < floor]
    accepted = sum(row.accepted for row in mine)
    return {
        "threshold_violations": {"value": len(broken), "accepted": accepted, "prompts": len(mine)},
        "threshold_gain": {
            "value": round(gain(mine, floor) / gain(weighed, floor), 4),
            "ours": round(gain(mine, floor), 3),
            "weighed": round(gain(weighed, floor), 3),
            "weighed_below": sum(row.accepted and row.wordy < floor for row in weighed),
            "floor": floor,
            "best_weight": best,
            "by_weight": {str(w): round(found, 3) for w, found in weights.items()},
        },
    }
