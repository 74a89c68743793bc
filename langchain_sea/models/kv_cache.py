"""What stands on a reader's one axis: answers to a prompt, and the keys and values of what they read before.

Shapes: C answers of one prompt, T positions, P positions of the prompt, D width, H heads, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from langchain_sea.core.protocols import Steering

__all__ = ["ROW_MULTIPLE", "GrowingKVCache", "PackedSequence", "KeyValues", "pad_rows"]

ROW_MULTIPLE = (
    4  # the rows of a matrix product are a multiple of this: MKL sums the odd ones in another order
)

KeyValues = tuple[tuple[Tensor, Tensor], ...]
"""Per layer keys and values of a prompt, (H, P, d) each; empty for a prompt of no tokens."""


class GrowingKVCache:
    """Keys and values of C answers as they grow, in room that is taken once: `write` puts in place.

    What was written counts from `advance` on: a reading that failed halfway is read again as if it had not been.
    """

    def __init__(self, rows: int, room: int) -> None:
        """Nothing is allocated before the first `write`; `room` is in tokens."""
        self.rows, self.room, self.length = rows, room, 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (C, H, T, d) to a layer; all of it, (C, H, length + T, d)."""
        if layer not in self._layers:
            rows, heads = keys.shape[:2]
            self._layers[layer] = (
                keys.new_empty(rows, heads, self.room, keys.shape[-1]),
                values.new_empty(rows, heads, self.room, values.shape[-1]),
            )
        end = self.length + keys.shape[2]
        for store, new in zip(self._layers[layer], (keys, values), strict=True):
            store[:, :, self.length : end] = new
        found, others = self._layers[layer]
        return found[:, :, :end], others[:, :, :end]

    def advance(self, count: int) -> None:
        """The last `count` positions written stay."""
        self.length += count

    @classmethod
    def from_prompt(cls, prompt: KeyValues, rows: int, room: int) -> GrowingKVCache:
        """With a copy of the prompt before each answer: for few rows one kernel then sees all there is."""
        own = cls(rows, (prompt[0][0].shape[1] if prompt else 0) + room)
        for layer, states in enumerate(prompt):
            keys, values = (x.expand(rows, -1, -1, -1) for x in states)
            own.write(layer, keys, values)
        own.length = own.room - room
        return own

    def select_rows(self, rows: Tensor) -> None:
        """Only these rows, (C',), go on."""
        self.rows = len(rows)
        self._layers = {layer: (k[rows], v[rows]) for layer, (k, v) in self._layers.items()}


@dataclass(slots=True, eq=False)
class PackedSequence:
    """C answers to one prompt that read T positions more.

    Attributes:
        embeds: (C, T, D).
        shared: the prompt's states.
        own: what the answers read before; what they read now is written there. None: none is kept.
        steering: added to what goes into a layer, at every position.
        start: positions before the first.
        states: filled by a reader that was asked to `keep_key_values`: per layer keys and values, (C, H, T, d).
    """

    embeds: Tensor
    shared: KeyValues = ()
    own: GrowingKVCache | None = None
    steering: Steering | None = None
    states: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """How many positions stand before the first."""
        return (self.shared[0][0].shape[1] if self.shared else 0) + (self.own.length if self.own else 0)

    @property
    def rows(self) -> int:
        """C × T."""
        return self.embeds.shape[0] * self.embeds.shape[1]

    def steering_rows(self, layer: int) -> Tensor:
        """(C × T, D) what is added there; zeros where nothing is."""
        if self.steering is None or self.steering.layer != layer:
            return self.embeds.new_zeros(self.embeds.shape).flatten(0, 1)
        return self.steering.vectors.to(self.embeds)[:, None].expand_as(self.embeds).flatten(0, 1)

    def mask(self, sliding_window: int | None) -> Tensor | None:
        """(T, start + T) True where a position must not look; None where it may look everywhere."""
        if sliding_window not in self._masks:
            length, start, device = self.embeds.shape[1], self.start, self.embeds.device
            ahead = (
                torch.arange(start + length, device=device)
                - torch.arange(start, start + length, device=device)[:, None]
            )
            # lengths decide, and no tensor is asked, which would wait for the device
            hidden = ahead > 0 if sliding_window is None else (ahead > 0) | (ahead <= -sliding_window)
            some = length > 1 or (sliding_window is not None and start + length > sliding_window)
            self._masks[sliding_window] = hidden if some else None
        return self._masks[sliding_window]


def pad_rows(rows: Tensor) -> Tensor:
    """(N, …) and as many zeros as make N a multiple of `ROW_MULTIPLE`; nothing is copied where none are missing."""
    extra = -len(rows) % ROW_MULTIPLE
    return torch.cat([rows, rows.new_zeros(extra, *rows.shape[1:])]) if extra else rows
