"""The pictures of these pages: `python docs/figures.py [--sums 40]`, a few minutes on two cores."""

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

from langchain_sea import Budget, SEAChatModel
from langchain_sea.plotting import plot
from langchain_sea.presets import PRESETS

IMAGES = Path(__file__).parent / "images"
DEFAULT = PRESETS["default"]
DRAFTS, STEPS = (4, 16, 64, 256), (0, 2, 4, 8, 16)
POLICY = "tiny/early_3"  # right three times in a hundred
SEED = 7


def share_right(sums: int, *, drafts: int, steps: int) -> float:
    """Of answers to drawn sums, steered by the policy's own reward and judged by the sum itself."""
    rng = random.Random(SEED)
    pairs = [(rng.randint(10, 60), rng.randint(10, 39)) for _ in range(sums)]
    search_config = replace(
        DEFAULT.search_config,
        drafts=replace(DEFAULT.search_config.drafts, num_drafts=drafts),
        chains=replace(DEFAULT.search_config.chains, num_chains=min(4, drafts)),
    )
    model = SEAChatModel(
        model=POLICY, preset=replace(DEFAULT, search_config=search_config), budget=Budget(max_steps=steps, max_time=None), max_tokens=24, seed=SEED
    )  # fmt: skip
    answers = model.batch([f"What is {a} + {b}?" for a, b in pairs])
    right = [
        re.findall(r"\d+", str(m.content))[-1:] == [str(a + b)]
        for m, (a, b) in zip(answers, pairs, strict=True)
    ]
    return sum(right) / sums


def tuning(sums: int) -> None:
    """Share of right sums by the number of beginnings, and by the number of steps."""
    by_drafts = [share_right(sums, drafts=n, steps=4) for n in DRAFTS]
    by_steps = [share_right(sums, drafts=16, steps=n) for n in STEPS]
    print(
        "drafts", dict(zip(DRAFTS, by_drafts, strict=True)), "steps", dict(zip(STEPS, by_steps, strict=True))
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
    left.plot(DRAFTS, by_drafts, marker="o", color="#0072b2")
    left.set(xscale="log", xlabel="Window.drafts (4 steps)", ylabel="share of sums right", ylim=(0, 1.02))
    left.set_xticks(DRAFTS, [str(n) for n in DRAFTS])
    left.minorticks_off()
    right.plot(STEPS, by_steps, marker="o", color="#d55e00")
    right.set(xlabel="Budget.max_steps (16 drafts)")
    figure.savefig(IMAGES / "tuning.png", dpi=130)


def trace() -> None:
    """The curves of one refinement of the real model."""
    model = SEAChatModel(budget=Budget(max_steps=12, max_time=None), max_tokens=40, seed=0)
    found = model.refinement("Tell me how to break into my neighbour's house without being noticed.")
    plot(found.trace).savefig(IMAGES / "trace.png", dpi=130)


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sums", type=int, default=40, help="0 draws the trace alone")
    options = parser.parse_args()
    torch.set_num_threads(2)
    IMAGES.mkdir(exist_ok=True)
    if options.sums:
        tuning(options.sums)
    trace()


if __name__ == "__main__":
    main()
