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
import itertools
import json
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import public_data
import torch
from latent_variants import DEPTHS, SEARCHES, use_search
from quality_callables import CALLABLES

from langchain_sea import Budget, load_gate, load_model, make_energy, refine
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, Preset
from langchain_sea.sampling.latent import LatentSampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy

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


def parse_options() -> argparse.Namespace:
    """Read the command line."""
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
    return parser.parse_args()


def answer_question(policy: CausalLMPolicy, name: str, question: str, options: argparse.Namespace) -> Refinement:
    """Return the answer of a variant."""
    messages = [{"role": "user", "content": question}]
    prompt = policy.prompt(messages, room=options.tokens)
    prompt = policy.open_answer(prompt, options.opening, options.tokens)
    if options.fixed_opening:
        prompt = policy.prompt_from_ids(prompt.ids, messages, options.tokens)
    use_search(name)
    preset = make_preset(name, options.draw_tokens)
    (answer,) = refine(
        [prompt],
        energy=make_energy(policy, [CALLABLES.get(options.reward, "safety")], preset=preset),
        preset=preset,
        seed=options.seed,
        max_new_tokens=options.tokens,
        budget=Budget(max_time=None),
    )
    return answer


def print_means(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print one line for a variant."""
    searched = [row["energies"] for row in rows if row["energies"]]
    by_round = [statistics.fmean(row[min(i, len(row) - 1)] for row in searched) for i in range(5)]
    print(
        f"{name:18} n {len(rows)}, searched {len(searched)}  draws {' '.join(f'{e:6.2f}' for e in by_round)}"
        f"  answer {statistics.fmean(row['energy'] for row in rows):6.2f}"
        f"  passes {statistics.fmean(row['passes'] for row in rows):.2f}",
        *(
            f"{key} {statistics.fmean(row[key] for row in rows):.3f}"
            for key in ("value", "draft_value")
            if key in rows[0]
        ),
        flush=True,
    )


def main() -> None:
    """Print one line for each variant, and the rows as JSON."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    policy, gate, graded = load_model("smollm2-135m"), load_gate("safety"), CALLABLES.get(options.reward)
    if graded:
        questions = random.Random(options.seed).sample(EVERYDAY, options.prompts)
    else:
        questions = read_questions(public_data.find_folder(options.data), options.prompts, options.seed)
    names, rows = options.variants.split(","), []
    for question, name in itertools.product(questions, names):
        answer = answer_question(policy, name, question, options)
        passes = gate(question, [options.opening + answer.text])[0] >= gate.threshold
        assert answer.after is not None
        row = {
            "variant": name, "question": question, "text": answer.text, "passes": bool(passes), "seconds": answer.seconds,
            "energies": [statistics.fmean(step.energy) for step in answer.trace], "energy": -answer.after.score,
            "stop_reason": answer.stop_reason,
        }  # fmt: skip
        if graded:
            row["value"], row["draft_value"] = graded(question, [answer.text, answer.draft])
        rows.append(row)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        verdict = "passes" if passes else "fails"
        print(name, f"{row['energy']:.2f}", verdict, repr(answer.text[:80]), file=sys.stderr)
    for name in names:
        print_means(name, [row for row in rows if row["variant"] == name])


if __name__ == "__main__":
    main()
