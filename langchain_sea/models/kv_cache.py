"""The input of one forward pass: answers to a prompt, and the keys and values that they attend to.

Shapes: C answers of one prompt, T positions, P positions of the prompt, D width, H heads, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import Cache

    from langchain_sea.core.protocols import LayerInput, Steering

__all__ = ["GrowingKVCache", "KeyValues", "ModelCache", "PackedSequence"]

KeyValues = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of a prompt, one pair of (H, P, d) per layer; empty for a prompt of no tokens."""


@dataclass(slots=True, eq=False)
class ModelCache:
    """A cache of `transformers`, which holds whatever states the layers of a model keep.

    Attributes:
        cache: for C rows.
        length: how many positions it has read.
    """

    cache: Cache
    length: int

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows, (C',)."""
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]


class GrowingKVCache:
    """Keys and values of C answers while they grow, in memory that is allocated once.

    `append` writes after the first `length` positions; `advance` then counts them. A forward pass that fails
    halfway can therefore be repeated.

    Attributes:
        rows: C.
        capacity: how many positions there is memory for.
        length: how many positions are kept.
        model_cache: the model's own cache of the same rows, where a runner needs one.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        """Allocate nothing before the first `append`; `capacity` counts tokens."""
        self.rows, self.capacity, self.length = rows, capacity, 0
        self.model_cache: ModelCache | None = None
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (C, H, T, d) to a layer and return all of its keys and values, (C, H, length + T, d)."""
        if layer not in self._layers:
            rows, heads = keys.shape[:2]
            self._layers[layer] = (
                keys.new_empty(rows, heads, self.capacity, keys.shape[-1]),
                values.new_empty(rows, heads, self.capacity, values.shape[-1]),
            )
        end = self.length + keys.shape[2]
        all_keys, all_values = self._layers[layer]
        all_keys[:, :, self.length : end] = keys
        all_values[:, :, self.length : end] = values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def advance(self, count: int) -> None:
        """Keep the last `count` positions that `append` wrote."""
        self.length += count

    @classmethod
    def from_prompt(cls, prompt: KeyValues, rows: int, capacity: int) -> GrowingKVCache:
        """Copy the prompt in front of every answer: with few rows, attention is then one kernel per layer."""
        cache = cls(rows, (prompt[0][0].shape[1] if prompt else 0) + capacity)
        for layer, key_values in enumerate(prompt):
            keys, values = (x.expand(rows, -1, -1, -1) for x in key_values)
            cache.append(layer, keys, values)
        cache.length = cache.capacity - capacity
        return cache

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows, (C',)."""
        self.rows = len(rows)
        self._layers = {layer: (k[rows], v[rows]) for layer, (k, v) in self._layers.items()}
        model_cache, self.model_cache = self.model_cache, None  # one that fails halfway is of no use
        if model_cache is not None:
            model_cache.select_rows(rows)
            self.model_cache = model_cache


@dataclass(slots=True, eq=False)
class PackedSequence:
    """C answers to one prompt, and the T positions of each that a forward pass reads.

    Attributes:
        embeds: (C, T, D).
        prompt_key_values: of the prompt, shared by all answers.
        cache: of the answers' earlier positions; the new positions are appended. None keeps nothing.
        steering: added to the input of one layer at every position.
        begin: what a layer has read of these positions before; `embeds` are then not read. None: nothing.
        key_values: filled if the forward pass keeps them: one pair of (C, H, T, d) per layer.
    """

    embeds: Tensor
    prompt_key_values: KeyValues = ()
    cache: GrowingKVCache | None = None
    steering: Steering | None = None
    begin: LayerInput | None = None
    key_values: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """The number of positions before the first one."""
        prompt_length = self.prompt_key_values[0][0].shape[1] if self.prompt_key_values else 0
        return prompt_length + (self.cache.length if self.cache else 0)

    @property
    def num_rows(self) -> int:
        """C × T."""
        return self.embeds.shape[0] * self.embeds.shape[1]

    def steering_rows(self, layer: int) -> Tensor:
        """Return what is added to the input of `layer`, (C × T, D); zeros if nothing is."""
        if self.steering is None or self.steering.layer != layer:
            return self.embeds.new_zeros(self.embeds.shape).flatten(0, 1)
        return self.steering.vectors.to(self.embeds)[:, None].expand_as(self.embeds).flatten(0, 1)

    def mask(self, sliding_window: int | None) -> Tensor | None:
        """Return (T, start + T), True where a position must not look; None if nothing is hidden."""
        if sliding_window not in self._masks:
            length, start, device = self.embeds.shape[1], self.start, self.embeds.device
            ahead = (
                torch.arange(start + length, device=device)
                - torch.arange(start, start + length, device=device)[:, None]
            )
            # decided by lengths alone: reading a tensor would wait for the device
            hidden = ahead > 0 if sliding_window is None else (ahead > 0) | (ahead <= -sliding_window)
            hides_any = length > 1 or (sliding_window is not None and start + length > sliding_window)
            self._masks[sliding_window] = hidden if hides_any else None
        return self._masks[sliding_window]
