"""Measure how well values order answers, alone and in pairs, at every cut; and what a gate lets pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.conversation import last_user_text
from langchain_sea.training.examples import GOOD_LABEL
from langchain_sea.training.features import CUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.rewards.pair_classifier import PairClassifierGate
    from langchain_sea.training.examples import Example

__all__ = [
    "Data",
    "auc",
    "collect_data",
    "count_examples",
    "find_threshold",
    "measure_cuts",
    "measure_gate",
    "ordering_quality",
    "score_examples",
    "to_labels",
    "to_pairs",
]

_NO_ROW = -1


class Data(NamedTuple):
    """Pooled states of answers with their labels."""

    features: Tensor  # (N, cuts + 1, 2D)
    labels: Tensor  # (N,)
    whole: Tensor  # (N,) bool: the label is about the whole answer only
    units: Tensor  # (U, 2) rows: a scored answer and −1, or a chosen and a rejected answer

    @property
    def scored(self) -> Tensor:
        """The rows of scored answers, (S,)."""
        return self.units[self.units[:, 1] == _NO_ROW][:, 0]

    @property
    def pairs(self) -> Tensor:
        """The rows of chosen and rejected answers, (P, 2)."""
        return self.units[self.units[:, 1] != _NO_ROW]

    @property
    def without_whole(self) -> Data:
        """Without the answers whose label is about the whole answer only: for measurements of prefixes."""
        return self._replace(units=self.units[~self.whole[self.units[:, 0]]])


def collect_data(pooled: Tensor, examples: Sequence[Example]) -> Data:
    """Combine pooled states, (N, cuts + 1, 2D), with the labels of N examples."""
    units: list[tuple[int, int]] = []
    chosen: dict[int, int] = {}
    for row, example in enumerate(examples):
        if example.pair is None:
            units.append((row, _NO_ROW))
        elif example.pair in chosen:
            units.append((chosen.pop(example.pair), row))
        else:
            chosen[example.pair] = row
    labels = torch.tensor([example.label for example in examples])
    whole = torch.tensor([example.whole for example in examples], dtype=torch.bool)
    return Data(pooled, labels, whole, torch.tensor(units, dtype=torch.long).view(-1, 2))


def auc(values: Tensor, labels: Tensor) -> float:
    """Return the probability that a good answer's value is above a bad one's; NaN if there are none of one kind.

    Ties count half.
    """
    _, places, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[places]  # from 1; ties share their mean
    good = labels > GOOD_LABEL
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if not n_good or not n_bad:
        return math.nan
    return float((ranks[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


def ordering_quality(values: Tensor, data: Data) -> float:
    """Return the AUC of scored answers, the fraction of pairs in order, or the mean of both; NaN if there are none."""
    scored, pairs = data.scored, data.pairs
    figures = [auc(values[scored], data.labels[scored])] if len(scored) else []
    if len(pairs):
        figures.append(float((values[pairs[:, 0]] > values[pairs[:, 1]]).float().mean()))
    return sum(figures) / len(figures) if figures else math.nan


def measure_cuts(values: Tensor, data: Data) -> dict[str, dict[str, float]]:
    """Return the AUC of scored answers and the accuracy of pairs at every cut, of `values`, (N, cuts + 1)."""
    figures = {}
    is_pair = data.units[:, 1] != _NO_ROW
    for name, selected in (("auc", ~is_pair), ("pair_accuracy", is_pair)):
        if selected.any():
            part = data._replace(units=data.units[selected])
            ends = [*map(str, CUTS), "whole"]
            parts = [*[part.without_whole] * len(CUTS), part]
            columns = zip(ends, values.unbind(1), parts, strict=True)
            figures[name] = {end: round(ordering_quality(column, data), 4) for end, column, data in columns}
    return figures


def count_examples(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the numbers of answers and of prompts."""
    return {"answers": len(examples), "prompts": len({example.conversation_key for example in examples})}


def to_pairs(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """Return the questions and answers of examples, as a gate reads them: with the opening before the answer."""
    return [(last_user_text(e.messages, separator="\n"), f"{e.opening}{e.answer}") for e in examples]


def to_labels(examples: Sequence[Example]) -> Tensor:
    """Return the labels of N examples, (N,)."""
    return torch.tensor([example.label for example in examples])


def score_examples(gate: PairClassifierGate, examples: Sequence[Example]) -> Tensor:
    """Return the gate's probabilities of N examples, (N,)."""
    return torch.tensor(gate.judge(to_pairs(examples)))


def find_threshold(values: Tensor, labels: Tensor, passing: float) -> float:
    """Return the lowest threshold that at most this fraction of bad answers passes."""
    bad = values[labels <= GOOD_LABEL].sort(descending=True).values
    highest = bad[min(int(passing * len(bad)), len(bad) - 1)]
    return float(torch.nextafter(highest, torch.ones(())))


def measure_gate(gate: PairClassifierGate, examples: Sequence[Example], threshold: float) -> dict[str, Any]:
    """Return the AUC, and the fractions of good and of bad answers that pass."""
    if not examples:
        return {}
    values, good = score_examples(gate, examples), to_labels(examples) > GOOD_LABEL
    passes = (values >= threshold).float()
    return {
        "answers": len(examples),
        "auc": round(auc(values, good), 4),
        "good_passing": round(float(passes[good].mean()), 4),
        "bad_passing": round(float(passes[~good].mean()), 4),
    }
