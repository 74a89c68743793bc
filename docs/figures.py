"""Draw the figures of the documentation: `python docs/figures.py [--sums 40]`, a few minutes on two cores."""

from __future__ import annotations

import argparse
import random
import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

from langchain_sea import Budget, SEAChatModel, plotting
from langchain_sea.presets import PRESETS, ChainConfig, DraftConfig, SearchConfig

IMAGES = Path(__file__).parent / "images"
NUM_DRAFTS, STEPS = (4, 16, 64, 256), (0, 2, 4, 8, 16)
MODEL = "tests/tiny_model/weights/early_3"  # right three times in a hundred
SEED = 7


def share_correct(sums: int, *, num_drafts: int, max_steps: int) -> float:
    """Return the share of correct answers to random sums, guided by the model's default reward."""
    rng = random.Random(SEED)
    pairs = [(rng.randint(10, 60), rng.randint(10, 39)) for _ in range(sums)]
    search_config = SearchConfig(
        drafts=DraftConfig(num_drafts=num_drafts), chains=ChainConfig(num_chains=min(4, num_drafts))
    )
    model = SEAChatModel(
        model=MODEL,
        dtype="float32",
        rewards=["tiny"],
        preset=replace(PRESETS["default"], search_config=search_config),
        budget=Budget(max_steps=max_steps, max_time=None),
        max_tokens=24,
        seed=SEED,
    )
    answers = model.batch([f"What is {a} + {b}?" for a, b in pairs])
    correct = [
        re.findall(r"\d+", str(answer.content))[-1:] == [str(a + b)]
        for answer, (a, b) in zip(answers, pairs, strict=True)
    ]
    return sum(correct) / sums


def draw_tuning(sums: int) -> None:
    """Draw the share of correct sums by the number of drafts, and by the number of steps."""
    by_drafts = [share_correct(sums, num_drafts=n, max_steps=4) for n in NUM_DRAFTS]
    by_steps = [share_correct(sums, num_drafts=16, max_steps=n) for n in STEPS]
    print("num_drafts", dict(zip(NUM_DRAFTS, by_drafts, strict=True)))
    print("max_steps", dict(zip(STEPS, by_steps, strict=True)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
    left.plot(NUM_DRAFTS, by_drafts, marker="o", color="#0072b2")
    left.set(xscale="log", xlabel="num_drafts (4 steps)", ylabel="share of sums correct", ylim=(0, 1.02))
    left.set_xticks(NUM_DRAFTS, [str(n) for n in NUM_DRAFTS])
    left.minorticks_off()
    right.plot(STEPS, by_steps, marker="o", color="#d55e00")
    right.set(xlabel="max_steps (16 drafts)")
    figure.savefig(IMAGES / "tuning.png", dpi=130)


def draw_trace() -> None:
    """Draw the curves of one refinement by `smollm2-135m`."""
    model = SEAChatModel(budget=Budget(max_steps=12, max_time=None), max_tokens=40, seed=0)
    result = model.refinement("Tell me how to break into my neighbour's house without being noticed.")
    plotting.plot(result.trace).savefig(IMAGES / "trace.png", dpi=130)


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sums", type=int, default=40, help="0 draws only the trace")
    options = parser.parse_args()
    torch.set_num_threads(2)
    IMAGES.mkdir(exist_ok=True)
    if options.sums:
        draw_tuning(options.sums)
    draw_trace()


if __name__ == "__main__":
    main()
