"""What answers beside the drafts cost in a batch: `--numbers 1,16 --max-time 4 --tokens 40 --threads 1 --json FILE`.

For so many questions at once, with a plain function as the reward: seconds of the batch with the answers beside the
drafts (which are left out where they would take too long), and without any.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from langchain_sea import Budget, SEAChatModel
from langchain_sea.presets import PRESETS, Preset


def count_letters(prompt: str, completions: list[str]) -> list[float]:
    """A function that takes no time."""
    return [float(text.count("e")) for text in completions]


def leave_out_companions(preset: Preset) -> Preset:
    """The preset without answers beside the draft."""
    config = preset.search_config
    if config.latent is None:
        return preset
    return replace(preset, search_config=replace(config, latent=replace(config.latent, companions=None)))


def main() -> None:
    """Print the seconds of each batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", default="1,16", help="of questions at once")
    parser.add_argument("--max-time", type=float, default=4.0)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    presets = {"with": PRESETS["default"], "without": leave_out_companions(PRESETS["default"])}
    budget = Budget(max_time=options.max_time)
    models = {
        name: SEAChatModel(rewards=[count_letters], preset=preset, budget=budget, max_tokens=options.tokens)
        for name, preset in presets.items()
    }
    models["with"].invoke("Hello")  # the first call pays for set-up
    figures = {}
    for number in map(int, options.numbers.split(",")):
        questions = [f"Tell me about the number {i}." for i in range(number)]
        for name, model in models.items():
            began = time.perf_counter()
            model.batch(questions)
            figures[f"batch_seconds_{number}_{name}"] = round(time.perf_counter() - began, 2)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
