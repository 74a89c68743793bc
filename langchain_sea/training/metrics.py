"""How well values order answers: AUC, pairs in order, at every cut. Knows neither policy nor head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from langchain_sea.training.features import CUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.training.examples import Example

__all__ = ["Data", "auc", "collected", "counts", "measured", "quality"]

_NO_ROW = -1


class Data(NamedTuple):
    """Answers with their states."""

    features: Tensor  # (N, cuts + 1, 2D)
    labels: Tensor  # (N,)
    whole: Tensor  # (N,) bool: the label speaks of the end alone
    units: Tensor  # (U, 2) rows: a scored answer and −1, or a chosen and a rejected one

    @property
    def scored(self) -> Tensor:
        """(S,) rows of scored answers."""
        return self.units[self.units[:, 1] == _NO_ROW][:, 0]

    @property
    def pairs(self) -> Tensor:
        """(P, 2) rows of chosen and rejected answers."""
        return self.units[self.units[:, 1] != _NO_ROW]

    @property
    def begun(self) -> Data:
        """Without those whose label speaks of the end alone: what beginnings are measured on."""
        return self._replace(units=self.units[~self.whole[self.units[:, 0]]])


def collected(pooled: Tensor, examples: Sequence[Example]) -> Data:
    """Pooled states with what the examples say of them."""
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
    """The chance that a good one's value is above a bad one's, ties half; NaN where one kind is missing."""
    _, places, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[places]  # from 1; ties share their mean
    good = labels > 0.5  # noqa: PLR2004 - half way between bad and good
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if not n_good or not n_bad:
        return math.nan
    return float((ranks[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


def quality(values: Tensor, data: Data) -> float:
    """AUC of scored answers, share of pairs in order; their mean where there are both."""
    scored, pairs = data.scored, data.pairs
    found = [auc(values[scored], data.labels[scored])] if len(scored) else []
    if len(pairs):
        found.append(float((values[pairs[:, 0]] > values[pairs[:, 1]]).float().mean()))
    return sum(found) / len(found) if found else math.nan


def measured(values: Tensor, data: Data) -> dict[str, dict[str, float]]:
    """AUC of scored answers and accuracy of pairs at every cut; `values` (N, cuts + 1)."""
    found = {}
    paired = data.units[:, 1] != _NO_ROW
    for what, wanted in (("auc", ~paired), ("pair_accuracy", paired)):
        if wanted.any():
            part = data._replace(units=data.units[wanted])
            ends = [*map(str, CUTS), "whole"]
            parts = [*[part.begun] * len(CUTS), part]
            columns = zip(ends, values.unbind(1), parts, strict=True)
            found[what] = {end: round(quality(column, data), 4) for end, column, data in columns}
    return found


def counts(examples: Sequence[Example]) -> dict[str, Any]:
    """How many answers and prompts."""
    return {"answers": len(examples), "prompts": len({example.asked for example in examples})}
