"""The memory of decoding: batches of all shapes, which lie in one place because one of them is in use at a time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from langchain_sea.models.decode_batch import DecodeBatch
from langchain_sea.models.static_shapes import round_up_power

if TYPE_CHECKING:
    from torch import Tensor

    from langchain_sea.models.decode_batch import DecodeShape, ModelParts
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.prompt_slots import PromptSlots
    from langchain_sea.models.static_attention import KeyValue

__all__ = ["DecodeArena"]

_MAX_BATCHES = 48


class DecodeArena:
    """The keys and values of all batches, and the batches, whose steps may be captured.

    Attributes:
        batches: by their shape; the one used last is the last.
        num_positions: of rows, whose keys and values there is memory for.
    """

    def __init__(self, parts: ModelParts) -> None:
        """Allocate nothing.

        Args:
            parts: of the model.
        """
        self.batches: OrderedDict[DecodeShape, DecodeBatch] = OrderedDict()
        self.num_positions = 0
        self._parts = parts
        self._key_values: list[KeyValue] = []  # of each layer, on one axis

    def clear(self) -> None:
        """Drop all batches and their memory."""
        self.batches.clear()
        self._key_values, self.num_positions = [], 0

    def get_batch(self, shape: DecodeShape, like: KeyValues, slots: PromptSlots | None) -> DecodeBatch:
        """Return a batch of this shape; its keys and values are those of whatever used it before.

        Args:
            shape: of the batch.
            like: keys and values of a prompt, whose heads are as wide as those of the rows.
            slots: that hold the prompts; None if the rows hold them.
        """
        self._make_room(shape.num_rows * shape.capacity, like)
        batch = self.batches.pop(shape, None)
        if batch is None or batch.slots is not slots:
            batch = DecodeBatch(self._parts, shape, self._view_as(shape, like), slots)
        self.batches[shape] = batch
        while len(self.batches) > _MAX_BATCHES:
            self.batches.popitem(last=False)
        return batch

    def _make_room(self, num_positions: int, like: KeyValues) -> None:
        """Allocate more memory if there is not enough for so many positions."""
        if num_positions <= self.num_positions:
            return
        self.clear()  # before more is taken
        size = round_up_power(num_positions)
        self._key_values = [
            (k.new_zeros(size * len(k) * k.shape[-1]), v.new_zeros(size * len(v) * v.shape[-1])) for k, v in like
        ]
        self.num_positions = size

    def _view_as(self, shape: DecodeShape, like: KeyValues) -> list[KeyValue]:
        """Return the beginning of the memory as the keys and values of a batch, (B, H, S, d) of each layer."""
        num_positions = shape.num_rows * shape.capacity

        def view(flat: Tensor, one: Tensor) -> Tensor:
            heads, width = len(one), one.shape[-1]
            return flat[: num_positions * heads * width].view(shape.num_rows, heads, shape.capacity, width)

        return [(view(keys, k), view(values, v)) for (keys, values), (k, v) in zip(self._key_values, like, strict=True)]
