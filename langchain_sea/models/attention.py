"""Attention for several answers to one prompt: all share the prompt's keys and values, none sees another answer.

    softmax([q·Kₚᵀ ; q·Kₒᵀ]) · [Vₚ ; Vₒ]    p: the prompt's, one copy for all its answers; o: an answer's own

An attention sink (gpt-oss) is one more logit of each head in that softmax; its weight multiplies no value.

Shapes: C answers of one prompt, T positions, S positions of an answer so far, P positions of the prompt,
H heads, Hₖ key-value heads with G query heads each, d width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

__all__ = ["AttentionSpec", "attend"]

_MAX_WEIGHTS = 2**22  # attention weights of one sequence held at once; beyond it, a fused kernel holds none
_MIN_NARROW_SCORES = 2**18  # scores over a prompt from which half precision is faster, casts included
_NARROW_BLOCK = 256  # half precision takes a multiple of this many positions
_NARROW_ROWS = 64  # and of this many rows: a CPU builds and keeps one kernel for each shape


class AttentionSpec(NamedTuple):
    """The settings of one layer's attention."""

    scale: float
    softcap: float | None
    sliding_window: int | None  # how many positions it looks back; None for all of them
    narrow: torch.dtype | None = None  # for products with most of a long prompt, if the tensors are wider
    sinks: Tensor | None = None  # (H,) logits of the attention sinks


def attend(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    spec: AttentionSpec,
) -> Tensor:
    """Attend from queries (C, H, T, d) to the prompt's keys and the answers' own, giving (C × T, H, d).

    Args:
        query: (C, H, T, d).
        own: keys and values of the answers, (C, Hₖ, S, d) each.
        shared: keys and values of the prompt, (Hₖ, P, d) each; None if there is no prompt, or `own` has it.
        mask: (T, P + S), True where a position must not look; None hides nothing.
        spec: the layer's settings.
    """
    rows, heads, length, _ = query.shape
    if shared is not None and rows * heads * length * (shared[0].shape[1] + own[0].shape[2]) > _MAX_WEIGHTS:
        keys, values = (
            torch.cat([prompt_part.expand(rows, -1, -1, -1), own_part], 2)
            for prompt_part, own_part in zip(shared, own, strict=True)
        )
        own, shared = (keys, values), None
    if shared is not None or spec.softcap is not None:
        output = _attend_to_both(query * spec.scale, own, shared, mask, spec)
    elif spec.sinks is not None:
        output = _attend_with_sinks(query, own, mask, spec.scale, spec.sinks)
    elif mask is None:
        grouped = query.reshape(rows, own[0].shape[1], -1, query.shape[-1])  # (C, Hₖ, G·T, d)
        output = scaled_dot_product_attention(grouped, *own, scale=spec.scale)
    else:
        output = scaled_dot_product_attention(query, *own, attn_mask=~mask, scale=spec.scale, enable_gqa=True)
    return output.reshape(rows, heads, length, -1).transpose(1, 2).flatten(0, 1)


def _attend_with_sinks(
    query: Tensor, own: tuple[Tensor, Tensor], mask: Tensor | None, scale: float, sinks: Tensor
) -> Tensor:
    """Attend from (C, H, T, d) to the answers' own keys and to one more, of zeros, whose score is the sink.

    Its value is zero as well, so that the fused kernel computes the equation.
    """
    keys, values = (pad(part, (0, 0, 0, 1)) for part in own)
    heads, length = query.shape[1:3]
    bias = query.new_zeros(heads, length, keys.shape[2])
    if mask is not None:
        bias.masked_fill_(pad(mask, (0, 1)), -torch.inf)
    bias[..., -1] = sinks.to(query.dtype)[:, None]
    return scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scale, enable_gqa=True)


def _attend_to_both(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    spec: AttentionSpec,
) -> Tensor:
    """Compute the equation above step by step: scaled queries (C, H, T, d) → (C, Hₖ, G·T, d)."""
    rows, groups = own[0].shape[:2]
    # heads first: the queries of all answers then form one matrix for the product with the prompt's keys
    grouped = query.reshape(rows, groups, -1, query.shape[-1]).transpose(0, 1).contiguous()  # (Hₖ, C, G·T, d)
    keys, values = (x.transpose(0, 1) for x in own)  # (Hₖ, C, S, d)
    parts = [] if shared is None else _prompt_parts(shared, grouped[0, ..., 0].numel(), spec.narrow)
    sizes = [prompt_keys.shape[1] for prompt_keys, _ in parts]
    masks = [None] * (1 + len(parts)) if mask is None else torch.split(mask, [*sizes, keys.shape[2]], 1)
    flat = grouped.flatten(1, 2)  # (Hₖ, C·G·T, d)
    scores = []
    for (prompt_keys, _), part_mask in zip(parts, masks, strict=False):
        part = _product(flat, prompt_keys.transpose(-1, -2)).view(*grouped.shape[:3], -1)
        # only a sliding window hides any of the prompt; otherwise its scores, by far the most, need no mask
        scores.append(_masked(part, part_mask if spec.sliding_window is not None else None, spec.softcap))
    scores.append(_masked(grouped @ keys.transpose(-1, -2), masks[-1], spec.softcap))
    if spec.sinks is not None:
        sinks = spec.sinks.to(query.dtype).view(groups, -1, 1).expand(-1, -1, query.shape[2])  # (Hₖ, G, T)
        scores.append(sinks.reshape(groups, 1, -1, 1).expand(-1, rows, -1, -1))
    all_scores = torch.cat(scores, -1)  # (Hₖ, C, G·T, P + S), with sinks one column more
    wide = torch.promote_types(all_scores.dtype, torch.float32)
    weights = all_scores.softmax(-1, dtype=wide).to(values.dtype)
    # split rather than slice: the backward pass of each slice would allocate a tensor of zeros
    of_sinks = all_scores.shape[-1] - sum(sizes) - keys.shape[2]
    *prompt_weights, own_weights, _ = torch.split(weights, [*sizes, keys.shape[2], of_sinks], -1)
    output = own_weights @ values  # (Hₖ, C, G·T, d)
    for part_weights, (_, prompt_values) in zip(prompt_weights, parts, strict=True):
        output = output + _product(part_weights.flatten(1, 2), prompt_values).view(output.shape)
    return output.transpose(0, 1)


def _prompt_parts(shared: tuple[Tensor, Tensor], rows: int, narrow: torch.dtype | None) -> list[tuple[Tensor, Tensor]]:
    """Split a prompt's keys and values, (Hₖ, P, d): with many rows, most of a long prompt becomes `narrow`."""
    bulk = shared[0].shape[1] // _NARROW_BLOCK * _NARROW_BLOCK
    if narrow is None or rows * bulk < _MIN_NARROW_SCORES:
        return [shared]
    pairs = [(part[:, :bulk].to(narrow), part[:, bulk:]) for part in shared]
    return [pair for pair in zip(*pairs, strict=True) if pair[0].shape[1]]


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply (Hₖ, R, n) by (Hₖ, n, m) in the matrix's precision; the result has the rows' precision."""
    if matrix.dtype == rows.dtype:
        return rows @ matrix
    count, extra = rows.shape[1], -rows.shape[1] % _NARROW_ROWS
    padded = pad(rows.to(matrix.dtype), (0, 0, 0, extra))
    product: Tensor = torch.split(padded @ matrix, [count, extra], 1)[0].to(rows.dtype)
    return product


def _masked(scores: Tensor, mask: Tensor | None, softcap: float | None) -> Tensor:
    """Cap scores (Hₖ, C, G·T, n), and set them to −∞ where the (T, n) mask is True."""
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is None:
        return scores
    by_position = scores.view(*scores.shape[:2], -1, *mask.shape)
    return by_position.masked_fill(mask, -torch.inf).view(scores.shape)
