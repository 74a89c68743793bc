"""Fit a gate to scored answers: `python -m langchain_sea.training.fit_gate DATA --out FILE`."""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from langchain_sea.models import loading
from langchain_sea.rewards.pair_classifier import GateInfo, PairClassifier, PairClassifierGate, tokenize_pairs
from langchain_sea.training.examples import (
    DataError,
    Example,
    drop_blank_answers,
    hash_fraction,
    read_examples,
    sample_examples,
)
from langchain_sea.training.metrics import auc, find_threshold, measure_gate, score_examples, to_labels, to_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.loading import Loaded

__all__ = ["GateRecipe", "fit_gate", "main"]

_VALIDATION_FRACTION = 0.12  # of the training prompts; they choose epoch and threshold
_WARM_UP = 0.05  # of the steps
_BUCKET = 16  # batches that are sorted by length together


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecipe:
    """How a gate is fitted.

    Attributes:
        epochs: passes over the data; the epoch that is best on validation prompts is kept.
        seed: of the initial weights, the order of the data and dropout.
        batch: answers per step.
        learning_rate: AdamW's for the low-rank updates; it falls to zero.
        output_rate: AdamW's for the output.
        rank: of the low-rank updates.
        passing: the fraction of bad answers that may pass the threshold on validation prompts.
        cuts: numbers of words; the prefixes of these lengths are trained on as well, with the label of their answer.
            For a model that is to guide the search, which must score unfinished answers.
    """

    epochs: int = 3
    seed: int = 0
    batch: int = 16
    learning_rate: float = 1e-3
    output_rate: float = 1e-3
    rank: int = 16
    passing: float = 0.05
    cuts: tuple[int, ...] = ()


def fit_gate(
    examples: Sequence[Example],
    encoder: Loaded,
    recipe: GateRecipe | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> PairClassifierGate:
    """Fit a gate, choose its threshold on validation prompts, and measure it on held-out examples.

    Args:
        examples: scored answers.
        encoder: a loaded encoder; it is not changed.
        recipe: None means the defaults.
        report: is called with a line of progress.

    Raises:
        DataError: too few prompts, or all answers alike.
    """
    started = time.monotonic()
    recipe = recipe or GateRecipe()
    learned = [e for e in drop_blank_answers(examples) if not e.is_held_out]
    inner = [e for e in learned if _is_validation(e)]
    train = [e for e in learned if not _is_validation(e)]
    train += [prefix for e in train if not e.whole for prefix in _prefixes(e, recipe.cuts)]
    if not (_has_both_kinds(train) and _has_both_kinds(inner)):
        raise DataError(f"{len(learned)} answers are too few, or all alike: add prompts with good and bad ones.")
    info = GateInfo(encoder=encoder.name, rank=recipe.rank)
    tensors, epoch = _fit_best((train, inner), encoder, recipe, info, report)
    tensors = {name: tensor.half() for name, tensor in tensors.items()}  # measured as it will be saved
    figures = {"epoch": epoch, "learned": len(train), "minutes": round((time.monotonic() - started) / 60, 1)}
    return choose_threshold(PairClassifierGate(tensors, replace(info, figures=figures)), examples, recipe)


def _is_validation(example: Example) -> bool:
    """Whether it chooses epoch and threshold, and is not trained on; the same for all examples of a prompt."""
    return hash_fraction(example.conversation_key, "inner:") < _VALIDATION_FRACTION


def choose_threshold(gate: PairClassifierGate, examples: Sequence[Example], recipe: GateRecipe) -> PairClassifierGate:
    """Choose a gate's threshold on validation prompts, and measure it.

    Args:
        gate: in the precision in which it is saved.
        examples: those it was trained on, and the held-out ones.
        recipe: says which fraction of bad answers may pass.

    Returns:
        The gate with the threshold and its figures.

    Raises:
        DataError: the validation prompts have no good answer, or no bad one.
    """
    usable = drop_blank_answers(examples)
    inner = [e for e in usable if not e.is_held_out and _is_validation(e)]
    held_out = [e for e in usable if e.is_held_out]
    if not _has_both_kinds(inner):
        raise DataError(
            f"the {len(inner)} validation answers are too few, or all alike, to choose a threshold: add prompts "
            "with good and bad answers."
        )
    threshold = find_threshold(score_examples(gate, inner), to_labels(inner), recipe.passing)
    figures = gate.info.figures | {
        "inner": measure_gate(gate, inner, threshold),
        "held_out": measure_gate(gate, held_out, threshold),
    }
    return gate.with_info(replace(gate.info, threshold=threshold, figures=figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit a gate to a file and write it; its figures go to standard output."""
    options = _parser().parse_args(arguments)
    try:
        rows = read_examples(options.data)
        train = [e for e in rows if not e.is_held_out and options.split in {None, e.split}]
        train = sample_examples(train, options.limit, options.seed)
        examples = [*train, *(e for e in rows if e.is_held_out)]
        recipe = GateRecipe(
            epochs=options.epochs,
            seed=options.seed,
            learning_rate=options.learning_rate,
            batch=options.batch,
            rank=options.rank,
            cuts=tuple(options.cuts),
        )
        if options.join:
            members = [PairClassifierGate.load(path) for path in options.join]
            gate = choose_threshold(PairClassifierGate.from_members(members), examples, recipe)
        else:
            encoder = loading.load(options.encoder, kind="encoder", dtype=torch.float32, report=_print_error)
            gate = fit_gate(examples, encoder, recipe, report=_print_error)
    except (ValueError, OSError) as error:
        _print_error(f"error: {error}")
        return 1
    gate.save(options.out)
    figures = {"threshold": gate.threshold, **gate.info.figures}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="JSONL of scored answers")
    parser.add_argument("--out", type=Path, required=True, help="the gate's safetensors")
    parser.add_argument("--encoder", default="minilm", help="name, hub id or folder of an encoder")
    parser.add_argument("--split", help="train only on lines of this split")
    parser.add_argument("--limit", type=int, help="train on at most this many answers")
    parser.add_argument("--join", type=Path, nargs="+", help="do not fit: combine these gates, and choose a threshold")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the low-rank updates")
    parser.add_argument("--batch", type=int, default=16, help="answers per step")
    parser.add_argument("--rank", type=int, default=16, help="of the low-rank updates")
    parser.add_argument("--cuts", type=int, nargs="*", default=[], help="also train on this many words of each answer")
    return parser


class _Trainer:
    """A pair classifier in training, with its optimiser and learning rate."""

    def __init__(self, encoder: Loaded, recipe: GateRecipe, info: GateInfo, num_steps: int) -> None:
        self.info, self.device = info, encoder.model.device
        self.classifier = PairClassifier(encoder.model).to(self.device)
        self.classifier.add_lora_layers(info.rank, info.scale)
        self.optimizer = _make_optimizer(self.classifier, recipe)
        self.tokenizer = copy.deepcopy(encoder.tokenizer)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _learning_rate_factor(step / num_steps)
        )

    def step(self, batch: Sequence[Example]) -> None:
        """Take one step on a batch."""
        inputs = tokenize_pairs(self.tokenizer, to_pairs(batch), self.info.longest)
        with torch.autocast(self.device.type, torch.bfloat16):  # twice as fast, on a CPU too
            logits = self.classifier({name: ids.to(self.device) for name, ids in inputs.items()})
        self.optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits.float(), to_labels(batch).to(logits.device))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()


def _fit_best(
    parts: tuple[Sequence[Example], Sequence[Example]],
    encoder: Loaded,
    recipe: GateRecipe,
    info: GateInfo,
    report: Callable[[str], None],
) -> tuple[dict[str, Tensor], int]:
    """Train on the first part, and return the tensors of the epoch that is best on the second, and the epoch.

    The global generator is restored.
    """
    train, inner = parts
    best, best_tensors, best_epoch = -math.inf, dict[str, Tensor](), 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        trainer = _Trainer(encoder, recipe, info, recipe.epochs * math.ceil(len(train) / recipe.batch))
        for epoch in range(1, recipe.epochs + 1):
            trainer.classifier.train()
            for batch in tqdm(_batches(train, recipe.batch), desc=f"epoch {epoch}", disable=None):
                trainer.step(batch)
            tensors = {name: tensor.clone() for name, tensor in trainer.classifier.trained_tensors().items()}
            quality = auc(score_examples(PairClassifierGate(tensors, info), inner), to_labels(inner))
            report(f"epoch {epoch}: AUC {quality:.4f} on the validation prompts")
            if quality > best:
                best, best_tensors, best_epoch = quality, tensors, epoch
    return best_tensors, best_epoch


def _has_both_kinds(examples: Sequence[Example]) -> bool:
    return {example.is_good for example in examples} == {True, False}


def _prefixes(example: Example, cuts: Sequence[int]) -> list[Example]:
    """Return the example with its answer cut off after so many words."""
    words = example.answer.split()
    return [replace(example, answer=" ".join(words[:cut])) for cut in cuts if cut < len(words)]


def _make_optimizer(classifier: PairClassifier, recipe: GateRecipe) -> torch.optim.Optimizer:
    output = list(classifier.output.parameters())
    updates = [p for p in classifier.encoder.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [{"params": updates, "lr": recipe.learning_rate}, {"params": output, "lr": recipe.output_rate}]
    )


def _learning_rate_factor(done: float) -> float:
    """Return the factor of the learning rate: it rises in the first steps, and then falls to zero."""
    return min(done / _WARM_UP, (1 - done) / (1 - _WARM_UP)) if done < 1 else 0.0


def _batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """Return batches in random order; answers of similar length share a batch, which needs less padding."""
    order = [examples[i] for i in torch.randperm(len(examples)).tolist()]
    batches: list[Sequence[Example]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET], key=lambda e: sum(map(len, to_pairs([e])[0])))
        batches += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    return [batches[i] for i in torch.randperm(len(batches)).tolist()]


def _print_error(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
