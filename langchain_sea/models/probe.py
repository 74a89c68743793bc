"""A few tokens, to try once whether a way to compute what a model computes gives the same. Knows no text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["embed_probe", "is_close", "probe_ids"]

_ROWS, _LENGTH = 2, 6
_WIDE_TOLERANCE, _NARROW_TOLERANCE = 1e-3, 0.1  # errors are near 1 where a way is wrong


def probe_ids(model: PreTrainedModel) -> Tensor:
    """Return two rows of six different ids, (2, 6)."""
    vocab_size: int = model.config.get_text_config().vocab_size
    ids = torch.linspace(0, vocab_size - 1, _ROWS * _LENGTH, device=model.device).long()
    return ids.view(_LENGTH, _ROWS).T.contiguous()


@torch.no_grad()
def embed_probe(model: PreTrainedModel) -> Tensor:
    """Return the embeddings of `probe_ids`, (2, 6, D)."""
    embedded: Tensor = model.get_input_embeddings()(probe_ids(model))
    return embedded


def is_close(actual: Tensor, expected: Tensor) -> bool:
    """Whether the states of most tokens, (…, D), are equal but for rounding in the precision of `expected`.

    In half precision a router may send a token to another expert; in float32, all tokens must be equal.
    """
    actual, wide = actual.float(), expected.float()
    errors = ((actual - wide).norm(dim=-1) / wide.norm(dim=-1)).flatten()
    if torch.finfo(expected.dtype).bits < torch.finfo(torch.float32).bits:
        return bool(errors.median() < _NARROW_TOLERANCE)
    return bool(errors.max() < _WIDE_TOLERANCE)
