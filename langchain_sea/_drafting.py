"""Rows of ids, written token by token, each from its own random numbers. Knows neither model nor text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_BLOCK = 256  # of the vocabulary: first the block is drawn, then the id in it


def uniforms(generators: Sequence[torch.Generator], rows: int, count: int) -> Tensor:
    """(rows, count) float64 numbers in [0, 1), each row from its own generator; zeros without generators."""
    numbers = torch.zeros(rows, count, dtype=torch.float64)
    for row, g in enumerate(generators):
        numbers[row] = torch.rand(count, generator=g, dtype=torch.float64, device=g.device)
    return numbers


def choose(logits: Tensor, draws: Tensor, temperatures: Tensor) -> list[int]:
    """One id for each row of (R, V) logits from draws (R,) in [0, 1); −1 where no logit is finite.

    The inverse of the distribution function at logits / temperature, (R,); at 0 the likeliest id.
    """
    peak = logits.amax(-1, keepdim=True)
    divisor = torch.where(temperatures > 0, temperatures, 1).to(logits.dtype)[:, None]
    shares = ((logits - peak) / divisor).exp().nan_to_num_(nan=0.0)
    blocks = pad(shares, (0, -shares.shape[-1] % _BLOCK)).view(len(shares), -1, _BLOCK)  # (R, B, 256)
    # sums in float64, so that the rarest token keeps its share
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    block, rest = _drawn(ends, draws.to(logits.device) * ends[:, -1])
    inside = blocks.gather(1, block[:, None, None].expand(-1, 1, _BLOCK)).squeeze(1).double().cumsum(-1)
    place, _ = _drawn(inside, rest)
    ids = torch.where(temperatures > 0, block * _BLOCK + place, logits.argmax(-1))
    chosen: list[int] = torch.where(peak.squeeze(-1) > -torch.inf, ids, -1).tolist()
    return chosen


def _drawn(ends: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the sums (R, N) above `at` (R,), and how far beyond the sum before it `at` lies.

    Strictly below the last: the first sum above then belongs to something whose own share is positive.
    """
    last = ends[:, -1]
    at = torch.minimum(at, last.nextafter(torch.zeros_like(last)))
    found = torch.searchsorted(ends, at[:, None], right=True).clamp(max=ends.shape[-1] - 1)
    before = pad(ends, (1, 0)).gather(-1, found).squeeze(-1)
    return found.squeeze(-1), at - before


def by_length(prefixes: Sequence[Sequence[int]], end_ids: frozenset[int]) -> dict[int, list[int]]:
    """The rows of unfinished prefixes by their length, shortest first."""
    rows = [row for row, prefix in enumerate(prefixes) if not end_ids.intersection(prefix[-1:])]
    lengths = sorted({len(prefixes[row]) for row in rows})
    return {length: [row for row in rows if len(prefixes[row]) == length] for length in lengths}
