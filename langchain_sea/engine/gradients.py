"""The gradients of many requests' energies by one backward, and how far their rewards' pull apart."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.engine.ops import GradientOp

__all__ = ["min_gradient_cosine", "gradients"]


def gradients(pairs: Sequence[tuple[Tensor, Tensor]], *, keep: bool = False) -> list[Tensor]:
    """Of each energy, (C,), in its own leaf; zeros for an energy that is constant.

    Args:
        pairs: leaf and energy of each request.
        keep: whether there will be another backward.
    """
    moving = [(leaf, energy.sum()) for leaf, energy in pairs if energy.requires_grad]
    leaves, totals = [leaf for leaf, _ in moving], [total for _, total in moving]
    found = (
        torch.autograd.grad(totals, leaves, retain_graph=keep, allow_unused=True, materialize_grads=True)
        if moving
        else ()
    )
    gradients = iter(found)
    return [next(gradients) if energy.requires_grad else torch.zeros_like(leaf) for leaf, energy in pairs]


def min_gradient_cosine(pairs: Sequence[tuple[GradientOp, EnergyTerms]]) -> list[Tensor]:
    """(C,) for each: the lowest cosine between two of its rewards' gradients.

    Infinity where fewer than two steer. A backward for each reward, all requests' together.
    """
    columns = [_steering(work, terms) for work, terms in pairs]
    found: list[list[Tensor]] = [[] for _ in pairs]
    for n in range(max(map(len, columns), default=0)):
        some = [i for i, mine in enumerate(columns) if n < len(mine)]
        wanted = [(pairs[i][0].leaf, columns[i][n]) for i in some]
        for i, slope in zip(some, gradients(wanted, keep=True), strict=True):
            found[i].append(slope.flatten(1))
    return [_lowest_cosine(mine, terms.nll) for mine, (_, terms) in zip(found, pairs, strict=True)]


def _steering(work: GradientOp, terms: EnergyTerms) -> list[Tensor]:
    """The rewards that have a gradient, (C,) each, where there are two or more and the energy asks."""
    pairs = zip(work.energy.terms, terms.rewards.unbind(1), strict=True)
    mine = [values for term, values in pairs if term.is_differentiable]
    return mine if len(mine) > 1 and work.energy.report_gradient_cosine else []


def _lowest_cosine(gradients: Sequence[Tensor], like: Tensor) -> Tensor:
    """(C,) over all pairs of (C, N) gradients; 0 where one of them is zero."""
    if not gradients:
        return torch.full_like(like.detach(), torch.inf)
    found = [cosine_similarity(one, other, dim=1) for one, other in combinations(gradients, 2)]
    return torch.stack(found).amin(0).to(like.dtype)
