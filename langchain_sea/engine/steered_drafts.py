"""How the beginnings of a block are drafted along a reward's steering vector.

Some rewards know a direction in which the policy's hidden states differ between good and bad answers. Half of the
beginnings are then the policy's own. For the others a multiple of the vector is added to the hidden states, each with
another one of the likeliest first tokens: along the vector the policy goes on as it would after such a token, but it
would hardly ever draw most of them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import Steering
from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine.ops import ForwardOp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["best_of_each_sign", "first_tokens", "make_steering", "steering_coefficients"]


def steering_coefficients(energy: Energy, coefficients: Sequence[float], num_rows: int) -> list[float]:
    """Return the multiple of the steering vector for each beginning, 0 for the policy's own.

    Without a steering vector there are `num_rows` zeros; with one, half as many, and `num_rows` steered ones.
    """
    if find_steering_vector(energy.terms) is None or not coefficients:
        return [0.0] * num_rows
    steered = [coefficients[i % len(coefficients)] for i in range(num_rows)]
    return [0.0] * (num_rows - num_rows // 2) + steered


def make_steering(energy: Energy, coefficients: Sequence[float]) -> Steering | None:
    """Return what is added to the hidden states of each beginning; None if no coefficient is other than 0."""
    vector = find_steering_vector(energy.terms)
    if vector is None or not any(coefficients):
        return None
    return Steering(vector.layer, torch.tensor(coefficients)[:, None] * vector.direction.cpu().float())


def first_tokens(energy: Energy, prompt: Prompt, coefficients: Sequence[float]) -> RequestSteps[list[list[int]]]:
    """Return the ids that each beginning starts with: one for steered beginnings, none for the policy's own.

    The n-th beginning of each sign starts with the n-th likeliest token; a small vocabulary has fewer.
    """
    first: list[list[int]] = [[] for _ in coefficients]
    signs = [[row for row, c in enumerate(coefficients) if _sign(c) == sign] for sign in (1, -1)]
    if not any(signs):
        return first
    policy = energy.policy
    output = yield ForwardOp(policy, prompt, [[*prompt.answer, 0]])
    any_id = torch.tensor([[0]], device=policy.device)
    ids, _ = output.candidates(any_id, max(map(len, signs)) + 1, policy.banned)
    likeliest = ids[0, 0, 1:].tolist()
    for rows in signs:
        for row, token in zip(rows, likeliest, strict=False):
            first[row] = [token]
    return first


def best_of_each_sign(
    ranked: Sequence[list[int]], coefficients: Mapping[tuple[int, ...], float], num_kept: int
) -> list[list[int]]:
    """Return the first `num_kept` of the policy's own beginnings, and of those steered in each direction.

    A block is short, so that its ranking says little about which direction the answer should take.

    Args:
        ranked: beginnings, the best first.
        coefficients: by beginning; one that is missing was not steered.
        num_kept: of each sign.
    """
    best: list[list[int]] = []
    for sign in (0, 1, -1):
        same_sign = (ids for ids in ranked if _sign(coefficients.get(tuple(ids), 0.0)) == sign)
        best += islice(same_sign, num_kept)
    return best


def _sign(coefficient: float) -> int:
    return (coefficient > 0) - (coefficient < 0)
