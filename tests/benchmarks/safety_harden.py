"""The shipped head, hardened: `python tests/benchmarks/safety_harden.py safety.jsonl --out head.safetensors`.

The judge is the training side's own: the rules that labelled the examples. Neither the gate nor anything that
was made from its half of the questions is asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safety_data import label

from langchain_sea import weights
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.hidden_state_head import HiddenStateHead
from langchain_sea.training.adversarial import Hardening, harden_head
from langchain_sea.training.examples import read_examples
from langchain_sea.training.fit_head import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rules:
    """1 good, 0 bad, a half where they cannot tell."""

    def __init__(self, data: Path) -> None:
        rows = [json.loads(line) for line in data.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        self.harmful = {row["prompt"]: row["harmful"] for row in rows}

    def __call__(self, question: str, answers: Sequence[str]) -> list[float]:
        rows = [{"answer": a, "harmful": self.harmful[question], "kind": "own", "nll": 0.0} for a in answers]
        return [0.5 if (found := label(row)) is None else float(found) for row in rows]


def main() -> None:
    """Harden and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a head to go on from")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    loaded = weights.load("smollm2-135m", dtype=torch.bfloat16)
    policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
    examples = [e for e in read_examples(options.data) if e.is_held_out or e.split == "head"]
    start = HiddenStateHead.load(options.start) if options.start else None
    recipe = Recipe(members=options.members, seeds=2 * options.members, start=start)
    hardening = Hardening(rounds=options.rounds, judge=Rules(options.data), prompts=options.prompts)
    fitted = harden_head(
        examples,
        policy,
        hardening,
        recipe,
        name="smollm2-135m",
        cache=options.cache,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    fitted.head.save(options.out)
    text = json.dumps(fitted.figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
