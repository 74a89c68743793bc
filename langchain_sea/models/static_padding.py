"""Sequences as one batch of fixed shape, with zeros behind each.

Shapes: C rows of a sequence, T positions, D width; B rows of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from langchain_sea.models.kv_cache import PackedSequence
    from langchain_sea.models.static_shapes import BatchShape

__all__ = ["join_steering", "pad_parts"]


def pad_parts(parts: Sequence[Tensor], shape: BatchShape) -> Tensor:
    """Return the parts, (C', T', D) each, as one batch, (B, T, D), zeros behind each; differentiable."""
    padded = [pad(x, (0, 0, 0, shape.tokens - x.shape[1], 0, shape.rows - x.shape[0])) for x in parts]
    missing = shape.prompts - len(parts)
    if missing:
        padded.append(padded[0].new_zeros(missing * shape.rows, *padded[0].shape[1:]))
    return torch.cat(padded) if len(padded) > 1 else padded[0]


def join_steering(sequences: Sequence[PackedSequence], shape: BatchShape) -> Tensor | None:
    """Return what is added to each row, (B, D); None if nothing is."""
    if not any(s.steering for s in sequences):
        return None
    parts = [
        s.steering.vectors.to(s.embeds)[:, None]
        if s.steering
        else s.embeds.new_zeros(len(s.embeds), 1, s.embeds.shape[-1])
        for s in sequences
    ]
    return pad_parts(parts, shape._replace(tokens=1))[:, 0]
