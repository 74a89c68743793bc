"""Soft tokens → embeddings. Knows no model, but how to ask one for the embeddings of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["embed_soft_tokens", "to_float32_or_wider"]


def embed_soft_tokens(
    embed: Callable[[Tensor], Tensor], soft: Tensor, support: Tensor, *, one: bool
) -> Tensor:
    """Σₖ softₖ · embedding(k), (C, T, K) twice → (C, T, D), mixed in float32 or wider.

    Args:
        embed: ids, (N,), to embeddings, (N, D).
        soft: the weights.
        support: the ids they belong to.
        one: whether these are the same at every position, as all of the vocabulary is.
    """
    if one:
        table = to_float32_or_wider(embed(support[0, 0]))  # (K, D)
        return torch.matmul(soft.to(table.dtype), table)
    ids, places = torch.unique(support, return_inverse=True)
    table = to_float32_or_wider(embed(ids))  # (U, D)
    places, weights = places.flatten(0, 1), soft.to(table.dtype).flatten(0, 1)
    # never (C, T, K, D): the bag sums as it reads, forward and backward
    return embedding_bag(places, table, mode="sum", per_sample_weights=weights).view(*soft.shape[:2], -1)


def to_float32_or_wider(tensor: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
