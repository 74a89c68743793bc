"""`langchain-sea fit-reward DATA --policy NAME --out FILE`: a head from a file, hardened if asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.models import loading
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.hidden_state_head import HiddenStateHead
from langchain_sea.rewards.pair_classifier import PairClassifierGate
from langchain_sea.training.adversarial import Hardening, hardened
from langchain_sea.training.examples import DataError, limited, read_examples
from langchain_sea.training.fit_head import Recipe, fit_head

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fit-reward`."""
    parser.add_argument("data", type=Path, help="JSONL of scored answers, preference pairs, or dialogues")
    parser.add_argument("--policy", default="smollm2-135m", help="name, hub id, folder or .gguf file")
    parser.add_argument("--out", type=Path, required=True, help="the head's safetensors")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the policy's weights")
    parser.add_argument("--layer", type=int, help="hidden states to read (default: 0.53 of the layers)")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=1, help="heads joined: mean less spread")
    parser.add_argument("--start", type=Path, help="a head to go on from")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--split", help="learn only from lines whose split is this")
    parser.add_argument("--limit", type=int, help="learn from so many answers at most")
    parser.add_argument("--cache", type=Path, help="folder for the states: a run cut off goes on")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--harden", type=int, default=0, help="rounds of refining against the head")
    parser.add_argument(
        "--judge", type=Path, help="a gate's file that labels refined texts; never the final gate"
    )
    parser.add_argument("--attacked", type=int, default=120, help="prompts refined in every round")


def run(options: argparse.Namespace) -> int:
    """Fit a head to a file and write it; figures go to standard output."""
    try:
        found = read_examples(options.data)
        learned = [e for e in found if not e.held_out and options.split in {None, e.split}]
        examples = [*limited(learned, options.limit, options.seed), *(e for e in found if e.held_out)]
        precision = getattr(torch, options.dtype) if options.dtype else None
        loaded = loading.load(options.policy, dtype=precision, report=_say)
        policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
        recipe = Recipe(
            layer=options.layer,
            epochs=options.epochs,
            seed=options.seed,
            seeds=max(3, options.members),
            members=options.members,
            start=HiddenStateHead.load(options.start) if options.start else None,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        how: dict[str, Any] = {"name": options.policy, "cache": options.cache, "report": _say}
        hardening = _hardening(options)
        fitted = (
            hardened(examples, policy, hardening, recipe, **how)
            if hardening
            else fit_head(examples, policy, recipe, **how)
        )
    except (DataError, OSError) as error:
        _say(f"error: {error}")
        return 1
    fitted.head.save(options.out)
    text = json.dumps(fitted.figures, indent=2)
    if options.json:
        options.json.write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{text}\n")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _hardening(options: argparse.Namespace) -> Hardening | None:
    if not options.harden:
        return None
    if options.judge is None:
        raise DataError(
            f"--harden {options.harden} needs --judge: a gate's file, made from the same examples by "
            "`python -m langchain_sea.training.fit_gate`, that says which refined texts are good."
        )
    return Hardening(
        rounds=options.harden, judge=PairClassifierGate.load(options.judge), prompts=options.attacked
    )
