"""The gradients of many requests' energies by one backward pass, and the cosines between those of their rewards.

Shapes: C chains, N numbers of a chain's gradient.
"""

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

__all__ = ["gradients", "min_gradient_cosine"]


def gradients(pairs: Sequence[tuple[Tensor, Tensor]], *, retain_graph: bool = False) -> list[Tensor]:
    """Return the gradient of each energy, (C,), in its own leaf; zeros for an energy that is constant.

    Args:
        pairs: leaf and energy of each request.
        retain_graph: whether another backward pass follows.
    """
    variable = [(leaf, energy.sum()) for leaf, energy in pairs if energy.requires_grad]
    if not variable:
        return [torch.zeros_like(leaf) for leaf, _ in pairs]
    leaves, totals = zip(*variable, strict=True)
    computed = iter(
        torch.autograd.grad(totals, leaves, retain_graph=retain_graph, allow_unused=True, materialize_grads=True)
    )
    return [next(computed) if energy.requires_grad else torch.zeros_like(leaf) for leaf, energy in pairs]


def min_gradient_cosine(pairs: Sequence[tuple[GradientOp, EnergyTerms]]) -> list[Tensor]:
    """Return the lowest cosine between two rewards' gradients, (C,), for each request.

    It is infinity for requests with fewer than two differentiable rewards. There is one backward pass for the
    first reward of all requests, one for the second, and so on.
    """
    columns = [_differentiable_rewards(op, terms) for op, terms in pairs]
    by_request: list[list[Tensor]] = [[] for _ in pairs]
    for n in range(max(map(len, columns), default=0)):
        requests = [i for i, rewards in enumerate(columns) if n < len(rewards)]
        leaves_and_rewards = [(pairs[i][0].leaf, columns[i][n]) for i in requests]
        for i, gradient in zip(requests, gradients(leaves_and_rewards, retain_graph=True), strict=True):
            by_request[i].append(gradient.flatten(1))
    return [_lowest_cosine(grads, terms.nll) for grads, (_, terms) in zip(by_request, pairs, strict=True)]


def _differentiable_rewards(op: GradientOp, terms: EnergyTerms) -> list[Tensor]:
    """Return the values, (C,), of each differentiable reward; none if their cosines are not reported."""
    columns = zip(op.energy.terms, terms.rewards.unbind(1), strict=True)
    values = [column for term, column in columns if term.is_differentiable]
    return values if len(values) > 1 and op.energy.report_gradient_cosine else []


def _lowest_cosine(grads: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the lowest cosine over all pairs of (C, N) gradients, (C,); 0 where one of them is zero."""
    if not grads:
        return torch.full_like(like.detach(), torch.inf)
    cosines = [cosine_similarity(one, other, dim=1) for one, other in combinations(grads, 2)]
    return torch.stack(cosines).amin(0).to(like.dtype)
