"""Attention of a prompt's answers, which share its keys and values and see none of each other.

    softmax([q·Kₚᵀ ; q·Kₒᵀ]) · [Vₚ ; Vₒ]    p: the prompt's, one copy for all its answers; o: an answer's own

Shapes: C answers of one prompt, T positions, S positions of an answer so far, P positions of the prompt,
H heads, Hₖ heads of keys with G heads of queries each, d width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["How", "attend"]

_MOST = 2**22  # attention weights of one segment held at once; beyond, a kernel that holds none


class How(NamedTuple):
    """What a layer's configuration says of its attention."""

    scale: float
    softcap: float | None


def attend(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    how: How,
) -> Tensor:
    """Queries (C, H, T, d) over a prompt's keys and their own, (C, Hₖ, S, d) → (C × T, H, d)."""
    rows, heads, length, _ = query.shape
    if shared is not None and rows * heads * length * (shared[0].shape[1] + own[0].shape[2]) > _MOST:
        keys, values = (
            torch.cat([theirs.expand(rows, -1, -1, -1), mine], 2)
            for theirs, mine in zip(shared, own, strict=True)
        )
        own, shared = (keys, values), None
    many = query.reshape(rows, own[0].shape[1], -1, query.shape[-1])  # (C, Hₖ, G·T, d)
    if shared is not None or how.softcap is not None:
        found = _attend_both(many * how.scale, own, shared, mask, how.softcap)
    elif mask is None:
        found = scaled_dot_product_attention(many, *own, scale=how.scale)
    else:
        found = scaled_dot_product_attention(query, *own, attn_mask=~mask, scale=how.scale, enable_gqa=True)
    return found.reshape(rows, heads, length, -1).transpose(1, 2).flatten(0, 1)


def _attend_both(
    many: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    softcap: float | None,
) -> Tensor:
    """The equation above, in the open: scaled (C, Hₖ, G·T, d) → the same shape."""
    rows, groups = many.shape[:2]
    keys, values = own
    scores = many @ keys.transpose(-1, -2)  # (C, Hₖ, G·T, S)
    before = 0
    if shared is not None:
        before = shared[0].shape[1]
        flat = many.transpose(0, 1).flatten(1, 2)  # (Hₖ, C·G·T, d)
        theirs = (flat @ shared[0].transpose(-1, -2)).view(groups, rows, -1, before).transpose(0, 1)
        scores = torch.cat([theirs, scores], -1)  # (C, Hₖ, G·T, P + S)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is not None:
        apart = scores.reshape(rows, groups, -1, *mask.shape)  # (C, Hₖ, G, T, P + S)
        scores = apart.masked_fill(mask, -torch.inf).view(scores.shape)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(values.dtype)
    found = weights[..., before:] @ values  # (C, Hₖ, G·T, d)
    if shared is None:
        return found
    flat = weights[..., :before].transpose(0, 1).flatten(1, 2)  # (Hₖ, C·G·T, P)
    return found + (flat @ shared[1]).view(groups, rows, -1, values.shape[-1]).transpose(0, 1)
