"""Rows of ids, written token by token, each from its own random numbers. Knows neither model nor text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def write(
    read: Callable[[Tensor, list[int] | None], Tensor],
    ids: Tensor,
    draws: Tensor,
    *,
    temperature: float,
    end_ids: frozenset[int],
    go_on: Callable[[int], bool],
) -> tuple[list[list[int]], bool]:
    """Up to S new tokens for each of R rows: what is written, and whether `go_on` never said no.

    Args:
        read: from the next ids, (R', N), and which of its last rows they go on from (None: all), to the
            logits of what follows, (R', V).
        ids: (R, N) what the rows begin with.
        draws: (R, S) in [0, 1).
        temperature: 0 takes the most likely token and leaves the draws unused.
        end_ids: a row that draws one of them ends without it.
        go_on: asked before each step with the number of rows in it.
    """
    written: list[list[int]] = [[] for _ in ids]
    rows = list(range(len(ids)))
    remaining = None
    for step in range(draws.shape[1]):
        if not go_on(len(rows)):
            return written, False
        chosen = _choose(read(ids, remaining), draws[rows, step], temperature)
        kept = [i for i, token in enumerate(chosen) if token >= 0 and token not in end_ids]
        for i in kept:
            written[rows[i]].append(chosen[i])
        if not kept:
            break
        remaining = kept if len(kept) < len(rows) else None
        rows = [rows[i] for i in kept]
        ids = ids.new_tensor([[chosen[i]] for i in kept])
    return written, True


def uniforms(generators: Sequence[torch.Generator], rows: int, count: int) -> Tensor:
    """(rows, count) float64 numbers in [0, 1), each row from its own generator; zeros without generators."""
    numbers = torch.zeros(rows, count, dtype=torch.float64)
    for row, g in enumerate(generators):
        numbers[row] = torch.rand(count, generator=g, dtype=torch.float64, device=g.device)
    return numbers


def _choose(logits: Tensor, draws: Tensor, temperature: float) -> list[int]:
    """One id for each row of (R, V) logits from draws (R,) in [0, 1); −1 where no logit is finite."""
    if temperature == 0:
        ids = logits.argmax(-1)
    else:
        # the inverse of the distribution function, in float64, so that the rarest token keeps its share
        shares = ((logits.double() - logits.amax(-1, keepdim=True)) / temperature).exp().cumsum(-1)
        total = shares[:, -1]
        # strictly below the total: the first sum above belongs to a token whose own share is positive
        at = torch.minimum(draws.to(logits.device) * total, total.nextafter(torch.zeros_like(total)))
        ids = torch.searchsorted(shares, at[:, None], right=True).squeeze(-1)
    alive = logits.amax(-1) > -torch.inf
    chosen: list[int] = torch.where(alive, ids, -1).tolist()
    return chosen


def by_length(prefixes: Sequence[Sequence[int]], end_ids: frozenset[int]) -> dict[int, list[int]]:
    """The rows of unfinished prefixes by their length, shortest first."""
    rows = [row for row, prefix in enumerate(prefixes) if not end_ids.intersection(prefix[-1:])]
    lengths = sorted({len(prefixes[row]) for row in rows})
    return {length: [row for row in rows if len(prefixes[row]) == length] for length in lengths}
