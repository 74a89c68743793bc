"""How rows get into a batch that is decoded: which places are free, and what is written there.

Shapes: C rows of a group, B places of a batch; H heads, n positions, d width of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from langchain_sea.models.decode_batch import DecodeBatch, DecodeShape
    from langchain_sea.models.generation import LengthGroup, PolicyGeneration
    from langchain_sea.models.static_attention import KeyValue

__all__ = ["Arrival", "find_places", "load_rows"]


class Arrival(NamedTuple):
    """A group whose rows are put into a batch.

    Attributes:
        state: the generation.
        group: the group.
        first: the place of its first row; the others follow it.
        key_values: of its rows, without those of the prompt: (C, H, n, d) of each layer; empty if there are none.
    """

    state: PolicyGeneration
    group: LengthGroup
    first: int
    key_values: Sequence[KeyValue]

    @property
    def num_own(self) -> int:
        """Positions after the prompt whose keys and values the rows have, n."""
        return self.key_values[0][0].shape[2] if self.key_values else 0


def find_places(shape: DecodeShape, used: Collection[int], sizes: Sequence[int]) -> list[int] | None:
    """Return the first place of each group, or None if there is no room for all.

    Args:
        shape: of the batch.
        used: places that are in use.
        sizes: C of each group. Its rows are neighbours, and a prompt that rows share has its places to itself.
    """
    first_places, place = [], 0
    for size in sizes:
        needed, run = shape.rows if shape.prompt_tokens else size, 0
        if size > needed:
            return None
        while run < needed:
            if place == shape.num_rows:
                return None
            run = 0 if place in used else run + 1
            place += 1
        first_places.append(place - needed)
    return first_places


def load_rows(batch: DecodeBatch, arrivals: Sequence[Arrival]) -> None:
    """Write all that a step reads of the rows into their places."""
    for arrival in arrivals:
        _load_keys(batch, arrival)
    counts = [len(arrival.group.rows) for arrival in arrivals]
    firsts = [arrival.first for arrival in arrivals]
    places = _range_all(firsts, counts)
    # made on the host and copied once
    device = batch.tokens.device
    at = torch.tensor(places, device=device)
    temperatures = [a.state.temperature for a, count in zip(arrivals, counts, strict=True) for _ in range(count)]
    batch.tokens[at] = torch.tensor([ids[-1] for a in arrivals for ids in a.group.ids]).to(device)
    batch.temperatures[at] = torch.tensor(temperatures).to(device)
    batch.draws[at] = torch.cat([_next_draws(a, batch.shape.capacity) for a in arrivals]).to(device)
    lengths = [batch.shape.num_before(a.group) + a.num_own for a in arrivals]
    if batch.shape.prompt_tokens:
        slots = torch.tensor([first // batch.shape.rows for first in firsts], device=device)
    else:
        slots = at
        lengths = [length for length, count in zip(lengths, counts, strict=True) for _ in range(count)]
    batch.lengths[slots] = torch.tensor(lengths).to(device)
    batch.steps[slots] = 0


def _range_all(firsts: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Return the places of all rows."""
    return [first + i for first, count in zip(firsts, counts, strict=True) for i in range(count)]


def _load_keys(batch: DecodeBatch, arrival: Arrival) -> None:
    """Write the keys and values of the rows, and what is added to their states."""
    state, group, first, key_values = arrival
    rows, before = slice(first, first + len(group.rows)), batch.shape.num_before(group)
    # those of the rows that were there before may be infinite, which no mask hides
    torch._foreach_zero_([part[rows] for pair in batch.cache for part in pair])
    _copy_positions(batch.cache, rows, 0, group.prompt.key_values if before else ())
    _copy_positions(batch.cache, rows, before, key_values)
    for layer, vectors in batch.vectors.items():
        vectors[rows] = 0
        if state.steering is not None and state.steering.layer == layer:
            vectors[rows] = state.steering.vectors[group.rows].to(vectors)


def _next_draws(arrival: Arrival, count: int) -> Tensor:
    """Return the random numbers of the next tokens of each row, (C, count); zeros where there are no more."""
    state, group, _, _ = arrival
    used = len(state.written[group.rows[0]])
    num_draws = min(group.num_left, count)
    return pad(state.draws[group.rows, used : used + num_draws], (0, count - num_draws))


def _copy_positions(cache: Sequence[KeyValue], rows: slice, start: int, key_values: Sequence[KeyValue]) -> None:
    """Write keys and values, (H, n, d) or (C, H, n, d) of each layer, into rows of a batch, from a position on."""
    if not key_values or not key_values[0][0].shape[-2]:
        return
    targets, sources = [], []
    for held_pair, pair in zip(cache, key_values, strict=True):
        for held, new in zip(held_pair, pair, strict=True):
            target = held[rows, :, start : start + new.shape[-2]]
            targets.append(target)
            sources.append(new.expand_as(target))
    torch._foreach_copy_(targets, sources)
