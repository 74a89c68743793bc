"""Rows of ids, written token by token, each from its own random numbers. Knows neither model nor text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ROWS = 16  # of logits at once, which so stay in a processor's cache: V = 50,000 takes 3 MB
_BLOCK = 256  # of the vocabulary: first the block is drawn, then the id in it


def uniforms(generators: Sequence[torch.Generator], rows: int, count: int) -> Tensor:
    """(rows, count) float64 numbers in [0, 1), each row from its own generator; zeros without generators."""
    numbers = torch.zeros(rows, count, dtype=torch.float64)
    for row, g in enumerate(generators):
        numbers[row] = torch.rand(count, generator=g, dtype=torch.float64, device=g.device)
    return numbers


def choose(logits: Tensor, draws: Tensor, temperatures: Tensor, never: Tensor) -> list[int]:
    """One id for each row of (R, V) logits from draws (R,) in [0, 1); −1 where no logit is finite.

    The inverse of the distribution function at logits / temperature, (R,); at 0 the likeliest id. Those that
    are `never` to be said, (V,), count as impossible.
    """
    size = _ROWS if logits.device.type == "cpu" else max(1, len(logits))
    parts = (slice(at, at + size) for at in range(0, len(logits), size))
    return [i for at in parts for i in _chosen(logits[at], draws[at], temperatures[at], never)]


def _chosen(narrow: Tensor, draws: Tensor, temperatures: Tensor, never: Tensor) -> list[int]:
    logits = narrow.to(torch.promote_types(narrow.dtype, torch.float32)).masked_fill(never, -torch.inf)
    peak, likeliest = logits.max(-1, keepdim=True)
    if not bool(peak.isfinite().all()):
        logits = logits.nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
        peak, likeliest = logits.max(-1, keepdim=True)
    divisor = torch.where(temperatures > 0, temperatures, 1).to(logits.dtype)[:, None]
    # from the least number, where nothing is finite: shares are zero then
    shares = (logits - peak.clamp(min=torch.finfo(logits.dtype).min)).div_(divisor).exp_()
    extra = -shares.shape[-1] % _BLOCK
    blocks = (pad(shares, (0, extra)) if extra else shares).view(len(shares), -1, _BLOCK)  # (R, B, 256)
    sums = blocks.sum(-1).double()
    ends = sums.cumsum(-1)
    block, rest = _drawn(ends, draws.to(logits.device) * ends[:, -1])
    inside = blocks.gather(1, block[:, None, None].expand(-1, 1, _BLOCK)).squeeze(1).double().cumsum(-1)
    # in float64, and by shares of the block's own sum, so that the rarest token keeps its share
    place, _ = _drawn(inside, rest * inside[:, -1] / sums.gather(-1, block[:, None]).squeeze(-1))
    ids = torch.where(temperatures > 0, block * _BLOCK + place, likeliest.squeeze(-1))
    found: list[int] = torch.where(peak.squeeze(-1) > -torch.inf, ids, -1).tolist()
    return found


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


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """What any of the places that name end ids says: one id, several, or none."""
    holders = (model.generation_config, model.config, model.config.get_text_config())
    named = [tokenizer.eos_token_id, *(getattr(holder, "eos_token_id", None) for holder in holders)]
    return {i for ids in named if ids is not None for i in ([ids] if isinstance(ids, int) else ids)}
