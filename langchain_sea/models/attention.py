"""Attention of a prompt's answers, which share its keys and values and see none of each other.

    softmax([q·Kₚᵀ ; q·Kₒᵀ]) · [Vₚ ; Vₒ]    p: the prompt's, one copy for all its answers; o: an answer's own

Shapes: C answers of one prompt, T positions, S positions of an answer so far, P positions of the prompt,
H heads, Hₖ heads of keys with G heads of queries each, d width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

__all__ = ["AttentionSpec", "attend"]

_MOST = 2**22  # attention weights of one segment held at once; beyond, a kernel that holds none
_WORTH = 2**18  # scores over a prompt from which products in half precision are faster, casts included
_BULK = 256  # positions in multiples of which they are taken, and
_ROWS = 64  # rows: each new shape costs a processor a kernel of its own, built and kept


class AttentionSpec(NamedTuple):
    """What a layer's configuration says of its attention."""

    scale: float
    softcap: float | None
    sliding_window: int | None  # how far it looks back; None: everywhere
    narrow: torch.dtype | None = None  # of products with most of a long prompt, where the others are wider


def attend(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    spec: AttentionSpec,
) -> Tensor:
    """Queries (C, H, T, d) over a prompt's keys and their own, (C, Hₖ, S, d) → (C × T, H, d)."""
    rows, heads, length, _ = query.shape
    if shared is not None and rows * heads * length * (shared[0].shape[1] + own[0].shape[2]) > _MOST:
        keys, values = (
            torch.cat([theirs.expand(rows, -1, -1, -1), mine], 2)
            for theirs, mine in zip(shared, own, strict=True)
        )
        own, shared = (keys, values), None
    if shared is not None or spec.softcap is not None:
        found = _attend_both(query * spec.scale, own, shared, mask, spec)
    elif mask is None:
        many = query.reshape(rows, own[0].shape[1], -1, query.shape[-1])  # (C, Hₖ, G·T, d)
        found = scaled_dot_product_attention(many, *own, scale=spec.scale)
    else:
        found = scaled_dot_product_attention(query, *own, attn_mask=~mask, scale=spec.scale, enable_gqa=True)
    return found.reshape(rows, heads, length, -1).transpose(1, 2).flatten(0, 1)


def _attend_both(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    spec: AttentionSpec,
) -> Tensor:
    """The equation above, in the open: scaled (C, H, T, d) → (C, Hₖ, G·T, d)."""
    rows, groups = own[0].shape[:2]
    # heads first: all answers' queries then stand in one matrix before the prompt's keys
    many = query.reshape(rows, groups, -1, query.shape[-1]).transpose(0, 1).contiguous()  # (Hₖ, C, G·T, d)
    keys, values = (x.transpose(0, 1) for x in own)  # (Hₖ, C, S, d)
    parts = [] if shared is None else _parts(shared, many[0, ..., 0].numel(), spec.narrow)
    sizes = [theirs.shape[1] for theirs, _ in parts]
    hidden = [None] * (1 + len(parts)) if mask is None else torch.split(mask, [*sizes, keys.shape[2]], 1)
    flat = many.flatten(1, 2)  # (Hₖ, C·G·T, d)
    scores = []
    for (theirs, _), hides in zip(parts, hidden, strict=False):
        found = _product(flat, theirs.transpose(-1, -2)).view(*many.shape[:3], -1)
        # only a window hides any of the prompt: else its scores, the most by far, need no mask
        scores.append(_shaped(found, hides if spec.sliding_window is not None else None, spec.softcap))
    scores.append(_shaped(many @ keys.transpose(-1, -2), hidden[-1], spec.softcap))
    both = torch.cat(scores, -1)  # (Hₖ, C, G·T, P + S)
    weights = both.softmax(-1, dtype=torch.promote_types(both.dtype, torch.float32)).to(values.dtype)
    # split: slices would each cost a tensor of zeros on the way back
    *firsts, rest = torch.split(weights, [*sizes, keys.shape[2]], -1)
    found = rest @ values  # (Hₖ, C, G·T, d)
    for first, (_, theirs) in zip(firsts, parts, strict=True):
        found = found + _product(first.flatten(1, 2), theirs).view(found.shape)
    return found.transpose(0, 1)


def _parts(
    shared: tuple[Tensor, Tensor], rows: int, narrow: torch.dtype | None
) -> list[tuple[Tensor, Tensor]]:
    """A prompt's keys and values, (Hₖ, P, d): for many rows most of a long one is narrow, the rest not."""
    bulk = shared[0].shape[1] // _BULK * _BULK
    if narrow is None or rows * bulk < _WORTH:
        return [shared]
    pairs = [(keys[:, :bulk].to(narrow), keys[:, bulk:]) for keys in shared]
    return [pair for pair in zip(*pairs, strict=True) if pair[0].shape[1]]


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """(Hₖ, R, n) @ (Hₖ, n, m) in the matrix's precision, and in the rows' own."""
    if matrix.dtype == rows.dtype:
        return rows @ matrix
    count, extra = rows.shape[1], -rows.shape[1] % _ROWS
    even = pad(rows.to(matrix.dtype), (0, 0, 0, extra))
    found: Tensor = torch.split(even @ matrix, [count, extra], 1)[0].to(rows.dtype)
    return found


def _shaped(scores: Tensor, hidden: Tensor | None, softcap: float | None) -> Tensor:
    """(Hₖ, C, G·T, n) scores, capped, and −∞ where (T, n) `hidden` says so."""
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if hidden is None:
        return scores
    apart = scores.view(*scores.shape[:2], -1, *hidden.shape)
    return apart.masked_fill(hidden, -torch.inf).view(scores.shape)
