"""Fit a refusal head: `python -m langchain_sea.training.fit_refusal FILE --out refusal_head.safetensors`.

Each line is one JSON object: "prompt", a text; "should_refuse", 1 for a question that should be refused and 0 for one
that should not; optionally an "answer" with "refusal", 0 … 1, how much it is a refusal; and, as for `fit-reward`,
"split" and "opening". Lines without an answer are used for the questions only.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from langchain_sea.core.files import read_text
from langchain_sea.models import loading
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.refusal_head import RefusalHead, compute_question_states
from langchain_sea.training.examples import GOOD_LABEL, HELD_OUT, DataError, Example, parse_json_object
from langchain_sea.training.fit_head import Recipe, fit_head
from langchain_sea.training.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["fit_refusal_head"]

_RIDGE = 0.3  # penalty per question
_FOLDS = 5
_FALSE_POSITIVE_RATE = 0.03  # aimed at, among questions that should not be refused

Row = dict[str, Any]


def fit_refusal_head(
    rows: Sequence[Row], policy: CausalLMPolicy, recipe: Recipe | None = None, *, weight: float, name: str = ""
) -> RefusalHead:
    """Fit the head on answers by `fit_head`, and the questions by ridge regression.

    Args:
        rows: the lines of a file; those with a split of `HELD_OUT` are used for measurements only.
        policy: computes the states; it is not changed.
        recipe: of the head.
        weight: w of the refusal head.
        name: the policy's name, saved with the head.

    Raises:
        DataError: a line lacks a key, or there are too few lines of each kind.
    """
    labels = {_get_prompt(row): (_get_number(row, "should_refuse"), row.get("split") in HELD_OUT) for row in rows}
    fitted = fit_head([_example(row) for row in rows if "answer" in row], policy, recipe, name=name)
    refusal_head = RefusalHead(fitted.head, weight)
    questions = tqdm(labels, desc="reading questions", unit="question", disable=None)
    layer = fitted.head.info.layer
    states = torch.stack([compute_question_states(policy, question, layer) for question in questions])
    targets = torch.tensor([target for target, _ in labels.values()])
    is_held_out = torch.tensor([held_out for _, held_out in labels.values()])
    _regress(refusal_head, states[~is_held_out], targets[~is_held_out])
    fitted.head.info.figures["questions"] = _measure(refusal_head, states, targets, is_held_out)
    return refusal_head.eval().requires_grad_(False)


def _regress(refusal_head: RefusalHead, states: Tensor, should_refuse: Tensor) -> None:
    """Fit the slope by ridge regression of standardised states, (N, 2D), to ±1, and choose the bias.

    With this bias 3 % of the questions that should not be refused have a positive value; each question is predicted
    by a fit to the other folds.
    """
    if should_refuse.min() == should_refuse.max():
        raise DataError('"should_refuse" is the same for all questions: there must be some of both kinds.')
    refusal_head.mean.copy_(states.mean(0))
    refusal_head.std.copy_(states.std(0).clamp(min=1e-6))
    inputs = ((states - refusal_head.mean) / refusal_head.std).double()
    targets = 2 * should_refuse.double() - 1
    folds = torch.arange(len(states)) % _FOLDS
    predictions = torch.empty_like(targets)
    for fold in range(_FOLDS):
        others = folds != fold
        slope, center = _ridge(inputs[others], targets[others])
        predictions[~others] = inputs[~others] @ slope + center
    slope, center = _ridge(inputs, targets)
    refusal_head.slope.copy_(slope)
    refusal_head.bias.copy_(center - predictions[targets < 0].quantile(1 - _FALSE_POSITIVE_RATE).clamp(min=0))


def _ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope, (D,), and the constant of a ridge regression of (N, D) to (N,)."""
    center = targets.mean()
    penalty = _RIDGE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    return torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (targets - center)), center


def _measure(refusal_head: RefusalHead, states: Tensor, should_refuse: Tensor, is_held_out: Tensor) -> dict[str, Any]:
    """Return how well held-out questions are told apart."""
    figures: dict[str, Any] = {"learned": int((~is_held_out).sum()), "held_out": int(is_held_out.sum())}
    logits, is_positive = refusal_head.question_logits(states), should_refuse > GOOD_LABEL
    labels = should_refuse[is_held_out]
    if is_held_out.any() and labels.min() < labels.max():
        figures["auc"] = round(auc(logits[is_held_out], is_positive[is_held_out]), 4)
        for name, which in (("true_positive_rate", is_positive), ("false_positive_rate", ~is_positive)):
            figures[name] = round(float((logits > 0)[is_held_out & which].float().mean()), 4)
    return figures


def _example(row: Row) -> Example:
    messages = ({"role": "user", "content": _get_prompt(row)},)
    return Example(
        messages=messages,
        answer=str(row["answer"]),
        label=_get_number(row, "refusal"),
        split=str(row.get("split", "train")),
        opening=str(row.get("opening", "")),
    )


def _get_prompt(row: Row) -> str:
    if not isinstance(prompt := row.get("prompt"), str) or not prompt.strip():
        raise DataError(f'"prompt" is {prompt!r}, not a question, in {str(row)[:80]}.')
    return prompt


def _get_number(row: Row, name: str) -> float:
    value = row.get(name)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f'"{name}" is {value!r}, not a number from 0 to 1, in {str(row)[:80]}.')
    return float(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit a refusal head to a file and write it; its figures go to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--policy", default="smollm2-135m", help="name, hub id, folder or .gguf file")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the policy's weights")
    parser.add_argument("--split", help="train only on lines of this split")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--weight", type=float, default=1.5, help="in the log-odds of the head beside it")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        lines = read_text(options.data, 'JSON lines with "prompt" and "should_refuse"').splitlines()
        rows = [row for row in map(parse_json_object, filter(str.strip, lines)) if _is_selected(row, options.split)]
        recipe = Recipe(members=options.members, seeds=max(3, options.members), layer=options.layer)
        precision = getattr(torch, options.dtype) if options.dtype else None
        loaded = loading.load(options.policy, dtype=precision)
        policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
        refusal_head = fit_refusal_head(rows, policy, recipe, weight=options.weight, name=options.policy)
    except (DataError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    refusal_head.save(options.out)
    sys.stdout.write(json.dumps(refusal_head.head.info.figures, indent=2) + "\n")
    return 0


def _is_selected(row: Row, split: str | None) -> bool:
    return split is None or row.get("split") in {split, *HELD_OUT}


if __name__ == "__main__":
    sys.exit(main())
