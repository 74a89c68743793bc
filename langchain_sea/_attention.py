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
    window: int | None  # how far it looks back; None: everywhere


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
    if shared is not None or how.softcap is not None:
        found = _attend_both(query * how.scale, own, shared, mask, how)
    elif mask is None:
        many = query.reshape(rows, own[0].shape[1], -1, query.shape[-1])  # (C, Hₖ, G·T, d)
        found = scaled_dot_product_attention(many, *own, scale=how.scale)
    else:
        found = scaled_dot_product_attention(query, *own, attn_mask=~mask, scale=how.scale, enable_gqa=True)
    return found.reshape(rows, heads, length, -1).transpose(1, 2).flatten(0, 1)


def _attend_both(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    how: How,
) -> Tensor:
    """The equation above, in the open: scaled (C, H, T, d) → (C, Hₖ, G·T, d)."""
    rows, groups = own[0].shape[:2]
    # heads first: all answers' queries then stand in one matrix before the prompt's keys
    many = query.reshape(rows, groups, -1, query.shape[-1]).transpose(0, 1).contiguous()  # (Hₖ, C, G·T, d)
    keys, values = (x.transpose(0, 1) for x in own)  # (Hₖ, C, S, d)
    before = shared[0].shape[1] if shared is not None else 0
    scores = [_shaped(many @ keys.transpose(-1, -2), None if mask is None else mask[:, before:], how.softcap)]
    if shared is not None:
        theirs = (many.flatten(1, 2) @ shared[0].transpose(-1, -2)).view(*many.shape[:3], -1)
        # only a window hides any of the prompt: else its scores, the most by far, need no mask
        hidden = None if how.window is None or mask is None else mask[:, :before]
        scores.insert(0, _shaped(theirs, hidden, how.softcap))
    both = torch.cat(scores, -1)  # (Hₖ, C, G·T, P + S)
    weights = both.softmax(-1, dtype=torch.promote_types(both.dtype, torch.float32)).to(values.dtype)
    if shared is None:
        return (weights @ values).transpose(0, 1)
    first, rest = torch.split(weights, [before, keys.shape[2]], -1)  # slices would cost zeros on the way back
    found = rest @ values + (first.flatten(1, 2) @ shared[1]).view(*many.shape[:3], -1)  # (Hₖ, C, G·T, d)
    return found.transpose(0, 1)


def _shaped(scores: Tensor, hidden: Tensor | None, softcap: float | None) -> Tensor:
    """(Hₖ, C, G·T, n) scores, capped, and −∞ where (T, n) `hidden` says so."""
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if hidden is None:
        return scores
    apart = scores.view(*scores.shape[:2], -1, *hidden.shape)
    return apart.masked_fill(hidden, -torch.inf).view(scores.shape)
