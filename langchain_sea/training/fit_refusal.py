"""A stance from a file: `python -m langchain_sea.training.fit_refusal FILE --out stance.safetensors`.

Each line is one JSON object: "prompt", text; "declined", 1 for a question that must be declined and 0 for one that
must not; and, where there is one, an "answer" with "declines", 0 … 1, how far it does. Optional as for `fit-reward`:
"split" and "opening". Lines without an answer teach the questions alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from langchain_sea.models import loading
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.refusal_head import RefusalHead, question_states
from langchain_sea.training.examples import HELD_OUT, DataError, Example, json_object
from langchain_sea.training.fit_head import Recipe, fit_head
from langchain_sea.training.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["fit_stance"]

_RIDGE = 0.3  # of the number of questions
_FOLDS = 5
_WRONGED = 0.03  # of the questions that need not be declined, as many may be called to be

Row = dict[str, Any]


def fit_stance(
    rows: Sequence[Row],
    policy: CausalLMPolicy,
    recipe: Recipe | None = None,
    *,
    weight: float,
    name: str = "",
) -> RefusalHead:
    """The head on answers by `fit_head`, and what questions call for by ridge regression.

    Args:
        rows: lines of a file; those whose split is of `HELD_OUT` are measured on alone.
        policy: whose states are read; left as it is.
        recipe: of the head.
        weight: w of the stance.
        name: the policy's, kept with the head.

    Raises:
        DataError: a line lacks what it must have, or too few teach anything.
    """
    called = {_asked(row): (_number(row, "declined"), row.get("split") in HELD_OUT) for row in rows}
    fitted = fit_head([_example(row) for row in rows if "answer" in row], policy, recipe, name=name)
    stance = RefusalHead(fitted.head, weight)
    asked = tqdm(called, desc="reading questions", unit="question", disable=None)
    read = torch.stack([question_states(policy, question, fitted.head.info.layer) for question in asked])
    wanted = torch.tensor([value for value, _ in called.values()])
    held = torch.tensor([held for _, held in called.values()])
    _regress(stance, read[~held], wanted[~held])
    fitted.head.info.figures["questions"] = _measured(stance, read, wanted, held)
    return stance.eval().requires_grad_(False)


def _regress(stance: RefusalHead, read: Tensor, wanted: Tensor) -> None:
    """The slope and bias that bring standardised states nearest to ±1, with a penalty; then the bias by rule.

    Zero is where three in a hundred questions that need not be declined lie above it, each seen by a fit to others.
    """
    if wanted.min() == wanted.max():
        raise DataError('"declined" is the same for all questions: there must be some of both kinds.')
    stance.mean.copy_(read.mean(0))
    stance.std.copy_(read.std(0).clamp(min=1e-6))
    inputs = ((read - stance.mean) / stance.std).double()
    targets = 2 * wanted.double() - 1
    folds = torch.arange(len(read)) % _FOLDS
    seen = torch.empty_like(targets)
    for fold in range(_FOLDS):
        others = folds != fold
        slope, center = _ridge(inputs[others], targets[others])
        seen[~others] = inputs[~others] @ slope + center
    slope, center = _ridge(inputs, targets)
    stance.slope.copy_(slope)
    stance.bias.copy_(center - seen[targets < 0].quantile(1 - _WRONGED).clamp(min=0))


def _ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D), (N,) → slope, (D,), and what is added."""
    center = targets.mean()
    penalty = _RIDGE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    return torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (targets - center)), center


def _measured(stance: RefusalHead, read: Tensor, wanted: Tensor, held: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {"learned": int((~held).sum()), "held_out": int(held.sum())}
    calls = 2 * ((read - stance.mean) / stance.std @ stance.slope + stance.bias)
    if held.any() and wanted[held].min() < wanted[held].max():
        found["auc"] = round(auc(calls[held], wanted[held] > 0.5), 4)  # noqa: PLR2004 - half way
        for name, which in (("called", wanted > 0.5), ("wronged", wanted <= 0.5)):  # noqa: PLR2004 - same
            found[name] = round(float((calls > 0)[held & which].float().mean()), 4)
    return found


def _example(row: Row) -> Example:
    messages = ({"role": "user", "content": _asked(row)},)
    return Example(
        messages=messages,
        answer=str(row["answer"]),
        label=_number(row, "declines"),
        split=str(row.get("split", "train")),
        opening=str(row.get("opening", "")),
    )


def _asked(row: Row) -> str:
    if not isinstance(prompt := row.get("prompt"), str) or not prompt.strip():
        raise DataError(f'"prompt" is {prompt!r}, not a question, in {str(row)[:80]}.')
    return prompt


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f'"{name}" is {value!r}, not a number from 0 to 1, in {str(row)[:80]}.')
    return float(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write; figures go to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--policy", default="smollm2-135m", help="name, hub id, folder or .gguf file")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the policy's weights")
    parser.add_argument("--split", help="learn only from lines whose split is this")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--weight", type=float, default=1.5, help="in the log-odds of the head beside it")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        lines = options.data.read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json_object, filter(str.strip, lines)) if _wanted(row, options.split)]
        recipe = Recipe(members=options.members, seeds=max(3, options.members), layer=options.layer)
        precision = getattr(torch, options.dtype) if options.dtype else None
        loaded = loading.load(options.policy, dtype=precision)
        policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
        stance = fit_stance(rows, policy, recipe, weight=options.weight, name=options.policy)
    except (DataError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    stance.save(options.out)
    sys.stdout.write(json.dumps(stance.head.info.figures, indent=2) + "\n")
    return 0


def _wanted(row: Row, split: str | None) -> bool:
    return split is None or row.get("split") in {split, *HELD_OUT}


if __name__ == "__main__":
    sys.exit(main())
