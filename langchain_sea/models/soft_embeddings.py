"""Embeddings of soft tokens. Knows no model, only a function that embeds ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["embed_soft_tokens", "to_float32_or_wider"]

_MAX_VALUES = 2**27  # of the candidates' embeddings that are held at once on a GPU, 512 MB


def embed_soft_tokens(embed: Callable[[Tensor], Tensor], soft: Tensor, support: Tensor, *, is_shared: bool) -> Tensor:
    """Compute Σₖ softₖ · embedding(k), two (C, T, K) → (C, T, D), in float32 or wider.

    Args:
        embed: embeds ids, (N,) → (N, D).
        soft: the weights.
        support: the ids that the weights belong to.
        is_shared: whether the ids are the same at every position, as they are for the whole vocabulary.
    """
    if is_shared:
        table = to_float32_or_wider(embed(support[0, 0]))  # (K, D)
        return torch.matmul(soft.to(table.dtype), table)
    if support.is_cuda:  # finding the different ids would wait for the GPU
        return _embed_each(embed, soft, support)
    ids, places = torch.unique(support, return_inverse=True)
    table = to_float32_or_wider(embed(ids))  # (U, D)
    places, weights = places.flatten(0, 1), soft.to(table.dtype).flatten(0, 1)
    # embedding_bag never holds (C, T, K, D): it sums while it reads, forward and backward
    return embedding_bag(places, table, mode="sum", per_sample_weights=weights).view(*soft.shape[:2], -1)


def _embed_each(embed: Callable[[Tensor], Tensor], soft: Tensor, support: Tensor) -> Tensor:
    """Embed every candidate of every position, a few positions at a time, so that (C, T, K, D) stays small."""
    flat_soft, flat_ids = soft.flatten(0, 1), support.flatten(0, 1)  # (C·T, K)
    width = embed(flat_ids[:1, 0]).shape[-1]
    size = max(1, _MAX_VALUES // (flat_ids.shape[1] * width))
    parts = [
        (flat_soft[at : at + size, None].to(table.dtype) @ table).squeeze(1)
        for at in range(0, len(flat_ids), size)
        for table in [to_float32_or_wider(embed(flat_ids[at : at + size]))]
    ]
    return torch.cat(parts).view(*soft.shape[:2], -1)


def to_float32_or_wider(tensor: Tensor) -> Tensor:
    """Convert half precision to float32; float32 and float64 stay as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
