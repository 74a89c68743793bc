"""Scored answers to a gate: `python -m langchain_sea.training.fit_gate DATA --out FILE`. Knows no policy."""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from langchain_sea.core.conversation import last_user_text
from langchain_sea.models import loading
from langchain_sea.rewards.pair_classifier import (
    GateInfo,
    PairClassifier,
    PairClassifierGate,
    tokenize_pairs,
)
from langchain_sea.training.examples import (
    DataError,
    Example,
    drop_blank_answers,
    hash_fraction,
    read_examples,
    sample_examples,
)
from langchain_sea.training.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.loading import Loaded

__all__ = ["GateRecipe", "fit_gate", "main"]

_INNER = 0.12  # of the prompts learned from choose epoch and threshold
_WARM = 0.05  # of the steps
_BUCKET = 16  # batches sorted by length together


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecipe:
    """How a gate is fitted.

    Attributes:
        epochs: passes over the data; the best on prompts set aside is kept.
        seed: of the deltas, the order and dropout.
        batch: answers a step.
        learning_rate: AdamW's for the deltas, falling to zero.
        output_rate: AdamW's for the output.
        rank: of the deltas.
        passing: the share of bad answers that the threshold may let pass on the prompts set aside.
        cuts: words after which each answer is learned from as well, where its beginning bears its label: for a
            gate's model that is to steer, which must judge what has only begun.
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
    trunk: Loaded,
    recipe: GateRecipe | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> PairClassifierGate:
    """A gate on `trunk`, its threshold chosen by prompts set aside, its figures from the examples held out.

    Args:
        examples: scored answers.
        trunk: an encoder, left as it is.
        recipe: None takes the defaults.
        report: called with a line now and then.

    Raises:
        DataError: too few prompts, or all answers alike.
    """
    started = time.monotonic()
    recipe = recipe or GateRecipe()
    kept = drop_blank_answers(examples)
    learned = [e for e in kept if not e.held_out]
    inner = [e for e in learned if _chooses(e)]
    train = [e for e in learned if not _chooses(e)]
    train += [b for e in train if not e.whole for b in _begun(e, recipe.cuts)]
    if any(len({e.label > 0.5 for e in part}) < 2 for part in (train, inner)):  # noqa: PLR2004 - good and bad
        raise DataError(
            f"{len(learned)} answers are too few, or all alike: add prompts with good and bad ones."
        )
    info = GateInfo(trunk=trunk.name, rank=recipe.rank)
    deltas, epoch = _best((train, inner), trunk, recipe, info, report)
    deltas = {name: delta.half() for name, delta in deltas.items()}  # measured as it is stored
    figures = {"epoch": epoch, "learned": len(train), "minutes": round((time.monotonic() - started) / 60, 1)}
    return choose_threshold(PairClassifierGate(deltas, replace(info, figures=figures)), examples, recipe)


def _chooses(example: Example) -> bool:
    """Whether it chooses epoch and threshold, and is not learned from; all of a prompt's, opened or not."""
    return hash_fraction(example.asked, "inner:") < _INNER


def choose_threshold(
    gate: PairClassifierGate, examples: Sequence[Example], recipe: GateRecipe
) -> PairClassifierGate:
    """The gate, its threshold chosen anew by prompts set aside, with its figures.

    Args:
        gate: as it is stored.
        examples: those it was made of, and the held-out ones.
        recipe: says what share of bad answers may pass.

    Raises:
        DataError: no bad answer, or no good one, is set aside to choose by.
    """
    kept = drop_blank_answers(examples)
    inner = [e for e in kept if not e.held_out and _chooses(e)]
    held = [e for e in kept if e.held_out]
    if len({e.label > 0.5 for e in inner}) < 2:  # noqa: PLR2004 - good and bad
        raise DataError(
            f"{len(inner)} answers set aside are too few, or all alike, to choose a threshold by."
        )
    threshold = _threshold(_values(gate, inner), _labels(inner), recipe.passing)
    figures = gate.info.figures | {
        "inner": _measured(gate, inner, threshold),
        "held_out": _measured(gate, held, threshold),
    }
    return gate.with_info(replace(gate.info, threshold=threshold, figures=figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit a gate to a file and write it; figures go to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="JSONL of scored answers")
    parser.add_argument("--out", type=Path, required=True, help="the gate's safetensors")
    parser.add_argument("--trunk", default="minilm", help="name, hub id or folder of an encoder")
    parser.add_argument("--split", help="learn only from lines whose split is this")
    parser.add_argument("--limit", type=int, help="learn from so many answers at most")
    parser.add_argument(
        "--join", type=Path, nargs="+", help="fit nothing: join these gates, and choose a threshold"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the deltas")
    parser.add_argument("--batch", type=int, default=16, help="answers a step")
    parser.add_argument("--rank", type=int, default=16, help="of the deltas")
    parser.add_argument("--cuts", type=int, nargs="*", default=[], help="learn from so many words, too")
    options = parser.parse_args(arguments)
    try:
        found = read_examples(options.data)
        learned = [e for e in found if not e.held_out and options.split in {None, e.split}]
        examples = [*sample_examples(learned, options.limit, options.seed), *(e for e in found if e.held_out)]
        recipe = GateRecipe(
            epochs=options.epochs,
            seed=options.seed,
            learning_rate=options.learning_rate,
            batch=options.batch,
            rank=options.rank,
            cuts=tuple(options.cuts),
        )
        if options.join:
            gate = choose_threshold(
                PairClassifierGate.joined([PairClassifierGate.load(path) for path in options.join]),
                examples,
                recipe,
            )
        else:
            trunk = loading.load(options.trunk, kind="encoder", dtype=torch.float32, report=_say)
            gate = fit_gate(examples, trunk, recipe, report=_say)
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return 1
    gate.save(options.out)
    figures = {"threshold": gate.threshold, **gate.info.figures}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def _best(
    parts: tuple[Sequence[Example], Sequence[Example]],
    trunk: Loaded,
    recipe: GateRecipe,
    info: GateInfo,
    report: Callable[[str], None],
) -> tuple[dict[str, Tensor], int]:
    """The deltas after the epoch that is best on the second part; the global generator is left alone."""
    train, inner = parts
    best, kept, best_epoch = -math.inf, dict[str, Tensor](), 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        judge = PairClassifier(trunk.model).to(trunk.model.device)
        judge.add_deltas(info.rank, info.scale)
        optimizer, tokenizer = _optimizer(judge, recipe), copy.deepcopy(trunk.tokenizer)
        steps = recipe.epochs * math.ceil(len(train) / recipe.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
        for epoch in range(1, recipe.epochs + 1):
            judge.train()
            for batch in tqdm(_batches(train, recipe.batch), desc=f"epoch {epoch}", disable=None):
                inputs = tokenize_pairs(tokenizer, _pairs(batch), info.longest)
                with torch.autocast(trunk.model.device.type, torch.bfloat16):  # half the time, CPUs too
                    logits = judge({name: ids.to(trunk.model.device) for name, ids in inputs.items()})
                optimizer.zero_grad()
                binary_cross_entropy_with_logits(logits.float(), _labels(batch).to(logits.device)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            found = {name: delta.clone() for name, delta in judge.deltas().items()}
            quality = auc(_values(PairClassifierGate(found, info), inner), _labels(inner))
            report(f"epoch {epoch}: AUC {quality:.4f} on the prompts set aside")
            if quality > best:
                best, kept, best_epoch = quality, found, epoch
    return kept, best_epoch


def _begun(example: Example, cuts: Sequence[int]) -> list[Example]:
    words = example.answer.split()
    return [replace(example, answer=" ".join(words[:cut])) for cut in cuts if cut < len(words)]


def _optimizer(judge: PairClassifier, recipe: GateRecipe) -> torch.optim.Optimizer:
    output = list(judge.output.parameters())
    deltas = [p for p in judge.encoder.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [{"params": deltas, "lr": recipe.learning_rate}, {"params": output, "lr": recipe.output_rate}]
    )


def _rate(done: float) -> float:
    """Up in the first steps, then down to zero."""
    return min(done / _WARM, (1 - done) / (1 - _WARM)) if done < 1 else 0.0


def _batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """In random order, answers of like length together: less padding."""
    order = [examples[i] for i in torch.randperm(len(examples)).tolist()]
    found: list[Sequence[Example]] = []
    for start in range(0, len(order), size * _BUCKET):
        near = sorted(order[start : start + size * _BUCKET], key=lambda e: sum(map(len, _pairs([e])[0])))
        found += [near[i : i + size] for i in range(0, len(near), size)]
    return [found[i] for i in torch.randperm(len(found)).tolist()]


def _pairs(examples: Sequence[Example]) -> list[tuple[str, str]]:
    return [(last_user_text(e.messages, separator="\n"), f"{e.opening}{e.answer}") for e in examples]


def _labels(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([example.label for example in examples])


def _values(gate: PairClassifierGate, examples: Sequence[Example]) -> Tensor:
    return torch.tensor(gate.judge(_pairs(examples)))


def _threshold(values: Tensor, labels: Tensor, passing: float) -> float:
    """The lowest at which no more than that share of bad answers passes."""
    bad = values[labels <= 0.5].sort(descending=True).values  # noqa: PLR2004 - half way between bad and good
    highest = bad[min(int(passing * len(bad)), len(bad) - 1)]
    return float(torch.nextafter(highest, torch.ones(())))


def _measured(gate: PairClassifierGate, examples: Sequence[Example], threshold: float) -> dict[str, Any]:
    """AUC, and what share of good and of bad answers passes."""
    if not examples:
        return {}
    values, good = _values(gate, examples), _labels(examples) > 0.5  # noqa: PLR2004 - same
    passes = (values >= threshold).float()
    return {
        "answers": len(examples),
        "auc": round(auc(values, good), 4),
        "good_passing": round(float(passes[good].mean()), 4),
        "bad_passing": round(float(passes[~good].mean()), 4),
    }


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
