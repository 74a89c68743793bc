"""Fit a reward head to a file of examples, with adversarial training if asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.cli.console import write_line, write_status
from langchain_sea.cli.options import add_model_name

if TYPE_CHECKING:
    import argparse

    from langchain_sea.training.adversarial import Hardening
    from langchain_sea.training.examples import Example
    from langchain_sea.training.fit_head import Recipe

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fit-reward`."""
    parser.add_argument("data", type=Path, help="JSONL of scored answers, preference pairs, or dialogues")
    add_model_name(parser)
    parser.add_argument("--out", type=Path, required=True, help="the head's safetensors")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="precision of the model's weights")
    parser.add_argument("--layer", type=int, help="hidden states to read (default: 0.53 of the layers)")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=1, help="heads averaged: mean minus spread")
    parser.add_argument("--start", type=Path, help="a head to continue from")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--split", help="learn only from lines whose split is this")
    parser.add_argument("--limit", type=int, help="the most answers to learn from")
    parser.add_argument(
        "--cache", type=Path, help="folder for the hidden states, from which an interrupted run continues"
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--harden", type=int, default=0, help="rounds of adversarial training")
    parser.add_argument(
        "--judge",
        type=Path,
        help="with --harden: a gate's file, which labels the adversarial texts; not the gate used later",
    )
    parser.add_argument("--attacked", type=int, default=120, help="with --harden: prompts attacked in every round")


def run(options: argparse.Namespace) -> int:
    """Fit a head to a file and write it; figures go to standard output."""
    import torch

    from langchain_sea.core.files import require_folder_of
    from langchain_sea.models import loading
    from langchain_sea.models.causal_lm import CausalLMPolicy
    from langchain_sea.training.adversarial import harden_head
    from langchain_sea.training.fit_head import fit_head

    for path in filter(None, (options.out, options.json)):
        require_folder_of(path)
    examples = _read_examples(options)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    loaded = loading.load(options.model, dtype=dtype, report=write_status)
    policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
    recipe, hardening = _make_recipe(options), _make_hardening(options)
    context: dict[str, Any] = {"name": options.model, "cache": options.cache, "report": write_status}
    if hardening:
        fitted = harden_head(examples, policy, hardening, recipe, **context)
    else:
        fitted = fit_head(examples, policy, recipe, **context)
    fitted.head.save(options.out)
    text = json.dumps(fitted.figures, indent=2)
    if options.json:
        options.json.write_text(f"{text}\n", encoding="utf-8")
    write_line(text)
    return 0


def _read_examples(options: argparse.Namespace) -> list[Example]:
    """Return examples to learn from, limited to `--split` and `--limit`, and all of those held out."""
    from langchain_sea.training.examples import read_examples, sample_examples

    examples = read_examples(options.data)
    to_learn = [e for e in examples if not e.is_held_out and options.split in {None, e.split}]
    return [*sample_examples(to_learn, options.limit, options.seed), *(e for e in examples if e.is_held_out)]


def _make_recipe(options: argparse.Namespace) -> Recipe:
    from langchain_sea.rewards.hidden_state_head import HiddenStateHead
    from langchain_sea.training.fit_head import Recipe

    return Recipe(
        layer=options.layer,
        epochs=options.epochs,
        seed=options.seed,
        seeds=max(3, options.members),
        members=options.members,
        start=HiddenStateHead.load(options.start) if options.start else None,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
    )


def _make_hardening(options: argparse.Namespace) -> Hardening | None:
    from langchain_sea.rewards.pair_classifier import PairClassifierGate
    from langchain_sea.training.adversarial import Hardening
    from langchain_sea.training.examples import DataError

    if not options.harden:
        return None
    if options.judge is None:
        raise DataError(
            f"--harden {options.harden} needs --judge: the file of a gate that labels the refined texts. Make one from "
            "the same examples by `python -m langchain_sea.training.fit_gate`."
        )
    return Hardening(rounds=options.harden, judge=PairClassifierGate.load(options.judge), prompts=options.attacked)
