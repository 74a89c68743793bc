"""Settings of the latents compared on tuning questions: `--variants default,random --prompts 8 --seed 0 --json FILE`.

Questions are harmful ones of HarmBench's validation set, on which nothing is reported, or with `--reward` everyday ones
for a function that grades a text. Every variant gets one plan (16
draws of 8 tokens in a round, 5 rounds, 8 continued), so that the work is equal and seconds do not matter. Printed are the
mean energy of the draws in each round, the energy of the answer, and how many answers the gate passes: it steers nothing.
With `--reward`, the mean value of the answers and of their drafts follows.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import public_data
import torch
from latent_variants import DEPTHS, SEARCHES, use_search
from quality_callables import CALLABLES

from langchain_sea import Budget, load_gate, load_model, make_energy, refine
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, Preset
from langchain_sea.sampling.latent import LatentSampler

_PLAN = SearchPlan(groups=2, rows=8, rounds=5, tokens=8, kept=8)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "none": {"update": "none"},
    "random": {"update": "random"},
    "aisp": {"update": "aisp"},
    "own_gradients": {"shares_gradient": False},
    "long_steps": {"sampler": LatentSampler(step_size=0.15, momentum=0.5)},
    "from_zero": {"starts": (0.0, 0.0)},
    "small_starts": {"starts": (0.35, 0.5)},
    "half_from_zero": {"starts": (0.0, 0.45)},
    "marginal": {"sampler": LatentSampler(step_size=0.1, momentum=0.8, estimator="marginal")},
    "noise": {"sampler": LatentSampler(step_size=0.1, momentum=0.8, noise_scale=0.1)},
    "prior": {"sampler": LatentSampler(step_size=0.1, momentum=0.8, prior_scale=0.02)},
    "divergence": {"divergence_weight": 1.0},
    "plain_continuation": {"continuation_shares": (0.0,)},
    "half_continuation": {"continuation_shares": (0.5,)},
    "whole_continuation": {"continuation_shares": (1.0,)},
} | {name: {} for name in SEARCHES}
VARIANTS |= {name: {"depth": depth} for name, depth in DEPTHS.items()}

EVERYDAY = (
    "What is a good breakfast?", "How do I write a birthday card?", "Tell me about the moon.", "How can I relax after work?",
    "Describe a small village.", "What do plants need?", "How do I learn a song?", "What is a museum?",
)  # fmt: skip
"""Questions for functions; none is among those that `quality.py` reports on."""


def read_questions(data: Path, count: int, seed: int) -> list[str]:
    """Return harmful questions without a context."""
    path = data / "harmbench" / "harmbench_behaviors_text_val.csv"
    with path.open(encoding="utf-8", newline="") as file:
        questions = [row["Behavior"] for row in csv.DictReader(file) if row["FunctionalCategory"] == "standard"]
    return random.Random(seed).sample(questions, count)


def make_preset(name: str, tokens: int) -> Preset:
    """Return the default preset with the settings of a variant, without answers beside the draft."""
    preset = PRESETS["default"]
    search = preset.search_config
    assert search.latent is not None
    plan = replace(_PLAN, tokens=tokens)
    return replace(
        preset,
        search_config=replace(search, plan=plan, latent=replace(search.latent, companions=None, **VARIANTS[name])),
    )


def main() -> None:
    """Print one line for each variant, and the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--variants", default="default,none,random,aisp,own_gradients,long_steps")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--reward", choices=sorted(CALLABLES), help="a function of quality.py; without it, safety")
    parser.add_argument("--opening", default="", help="what every answer begins with, such as 'Sure, here is'")
    parser.add_argument("--fixed-opening", action="store_true", help="latents do not act on the opening")
    parser.add_argument("--draw-tokens", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    policy, gate = load_model("smollm2-135m"), load_gate("safety")
    rows: list[dict[str, Any]] = []
    graded = CALLABLES.get(options.reward or "")
    reward = graded or "safety"
    if graded:
        questions = random.Random(options.seed).sample(EVERYDAY, options.prompts)
    else:
        questions = read_questions(public_data.find_folder(options.data), options.prompts, options.seed)
    for question in questions:
        messages = [{"role": "user", "content": question}]
        prompt = policy.prompt(messages, room=options.tokens)
        prompt = policy.open_answer(prompt, options.opening, options.tokens)
        if options.fixed_opening:
            prompt = policy.prompt_from_ids(prompt.ids, messages, options.tokens)
        for name in options.variants.split(","):
            use_search(name)
            preset = make_preset(name, options.draw_tokens)
            (found,) = refine(
                [prompt],
                energy=make_energy(policy, [reward], preset=preset),
                preset=preset,
                seed=options.seed,
                max_new_tokens=options.tokens,
                budget=Budget(max_time=None),
            )
            passes = gate(question, [options.opening + found.text])[0] >= gate.threshold
            energies = [statistics.fmean(step.energy) for step in found.trace]
            assert found.after is not None
            row = {"variant": name, "question": question, "text": found.text, "energies": energies}
            row |= {"energy": -found.after.score, "passes": bool(passes), "seconds": found.seconds}
            if graded:
                row["value"], row["draft_value"] = graded(question, [found.text, found.draft])
            rows.append(row | {"stop_reason": found.stop_reason})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            print(
                name,
                f"{-found.after.score:.2f}",
                "passes" if passes else "fails",
                repr(found.text[:80]),
                file=sys.stderr,
            )
    for name in options.variants.split(","):
        mine = [row for row in rows if row["variant"] == name]
        searched = [row["energies"] for row in mine if row["energies"]]
        by_round = [statistics.fmean(row[min(i, len(row) - 1)] for row in searched) for i in range(5)]
        values = [
            f"{key} {statistics.fmean(row[key] for row in mine):.3f}" for key in ("value", "draft_value") if graded
        ]
        print(
            f"{name:18} n {len(mine)}, searched {len(searched)}  draws {' '.join(f'{e:6.2f}' for e in by_round)}"
            f"  answer {statistics.fmean(row['energy'] for row in mine):6.2f}"
            f"  passes {statistics.fmean(row['passes'] for row in mine):.2f}",
            *values,
            flush=True,
        )


if __name__ == "__main__":
    main()
