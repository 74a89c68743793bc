"""Measures all tiers on fresh problems; knows no training.

Run from the root: `PYTHONPATH=tests python -m tiny_model.report`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.models.tiny import WEIGHTS
from tiny_model import data
from tiny_model.sample import LONGEST, Example, encode, sample, success
from tiny_model.tiers import load_tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tiny_model.problem import Problem

TIERS = ("expert", "early_30", "early_3", "early_03")
EARLY = TIERS[1:]
HEADLINE = ("early_03", "sum")  # the reward that `tiny` ships with
_BATCH = 128
_IGNORED = -100


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], answers: Sequence[str]
) -> torch.Tensor:
    """One row an answer: the log-probability of its tokens and its end, and their count."""
    rows = [encode(tokenizer, problem, answer) for problem, answer in zip(problems, answers, strict=True)]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    result = torch.zeros(len(rows), 2)
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        result[chosen] = _score(model, [rows[index] for index in chosen])
    return result


def _score(model: PreTrainedModel, rows: list[Example]) -> torch.Tensor:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
    labels = torch.tensor([[_IGNORED] * at + row[at:] + [_IGNORED] * (width - len(row)) for row, at in rows])[:, 1:]
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return torch.stack([-losses.sum(1), (labels != _IGNORED).sum(1).float()], dim=1)


def near_miss(problem: Problem, rng: random.Random) -> str:
    """The worked answer, its last result off by up to nine in both places."""
    _, _, last = problem.answer.rstrip(".").rpartition(" ")
    wrong = str(int(last) + rng.randint(1, 9))
    body = problem.answer.removesuffix(f"{last}. The answer is {last}.")
    return f"{body}{wrong}. The answer is {wrong}."


class Report:
    """The measurements of one seed, every model loaded once."""

    def __init__(self, prompts: int, seed: int) -> None:
        self.prompts, self.seed = prompts, seed
        self.rng = random.Random(seed)  # noqa: S311 - not for secrets
        loaded = {tier: load_tier(tier) for tier in TIERS}
        self.models = {tier: model for tier, (model, _) in loaded.items()}
        self.tokenizer = loaded["expert"][1]
        self.problems = data.held_out("arithmetic", prompts, f"report {seed}")

    def run(self) -> dict[str, Any]:
        """All figures, as the JSON holds them."""
        start = time.monotonic()
        answers = {tier: self._answers(tier) for tier in TIERS}
        figures: dict[str, Any] = {tier: success(self.problems, answers[tier]) for tier in TIERS}
        table = self._table(answers)
        tier, reduction = HEADLINE
        figures["pairwise_accuracy"] = table[tier][reduction]
        figures["pairwise"] = table
        figures |= {"tool_calls": self._skill("tool"), "polite": self._skill("polite")}
        figures |= {"prompts": self.prompts, "seed": self.seed, "megabytes": megabytes()}
        return figures | {"seconds": round(time.monotonic() - start, 1)}

    def _answers(self, tier: str) -> list[str]:
        seed = self.seed + TIERS.index(tier)
        return sample(self.models[tier], self.tokenizer, self.problems, seed=seed, longest=LONGEST["arithmetic"])

    def _skill(self, kind: str) -> float:
        problems = data.held_out(kind, self.prompts, f"report {self.seed}")
        answers = sample(self.models["expert"], self.tokenizer, problems, seed=self.seed, longest=LONGEST[kind])
        return success(problems, answers)

    def _pairs(self, answers: dict[str, list[str]]) -> list[tuple[Problem, str]]:
        """Each problem with one wrong sample, of an early tier drawn among those that were wrong."""
        pairs = []
        for index, problem in enumerate(self.problems):
            wrong = [answers[tier][index] for tier in EARLY if not problem.check(answers[tier][index])]
            if wrong:
                pairs.append((problem, self.rng.choice(wrong)))
        return pairs

    def _table(self, answers: dict[str, list[str]]) -> dict[str, dict[str, float]]:
        pairs = self._pairs(answers)
        problems = [problem for problem, _ in pairs]
        sides = {
            "right": [problem.answer for problem in problems],
            "wrong": [wrong for _, wrong in pairs],
            "near": [near_miss(problem, self.rng) for problem in problems],
        }
        scores = {
            tier: {side: log_likelihoods(model, self.tokenizer, problems, texts) for side, texts in sides.items()}
            for tier, model in self.models.items()
        }
        return {tier: _accuracies(scores["expert"], scores[tier]) for tier in EARLY}


def _accuracies(expert: dict[str, torch.Tensor], early: dict[str, torch.Tensor]) -> dict[str, float]:
    """How often the right answer's reward is the higher: by sum, by mean, and by sum over a near miss."""
    sums = {side: expert[side][:, 0] - early[side][:, 0] for side in expert}
    means = {side: total / expert[side][:, 1] for side, total in sums.items()}
    compared = {
        "sum": sums["right"] > sums["wrong"],
        "mean": means["right"] > means["wrong"],
        "near_miss": sums["right"] > sums["near"],
    }
    return {name: round(won.float().mean().item(), 4) for name, won in compared.items()}


def megabytes() -> float:
    """The size of the weights folder in the package."""
    return round(sum(path.stat().st_size for path in WEIGHTS.iterdir() if path.is_file()) / 1e6, 3)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(description="Measure the tiny models on fresh problems.")
    parser.add_argument("--prompts", type=int, default=1000, help="problems of each skill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures go; standard output shows them anyway")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0 leaves torch's own choice")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    text = json.dumps(Report(options.prompts, options.seed).run(), indent=2) + "\n"
    if options.json:
        options.json.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
