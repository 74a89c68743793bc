"""Keys and values of several prompts in tensors of fixed shape, which CUDA graphs read.

Shapes: Q prompts, P positions of a slot, H heads, d width of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.static_attention import KeyValue

__all__ = ["PromptSlots"]


class PromptSlots:
    """Keys and values of Q prompts in memory that stays where it is.

    Attributes:
        key_values: (Q, H, P, d) of each layer.
        lengths: (Q,) of the prompts.
    """

    def __init__(self, like: KeyValues, num_prompts: int, size: int) -> None:
        """Allocate.

        Args:
            like: a prompt of the model; its keys and values have the shapes of all others.
            num_prompts: Q.
            size: P.
        """
        self.key_values: list[KeyValue] = [
            (k.new_zeros(num_prompts, len(k), size, k.shape[-1]), v.new_zeros(num_prompts, len(v), size, v.shape[-1]))
            for k, v in like
        ]
        self.lengths = torch.zeros(num_prompts, dtype=torch.long, device=like[0][0].device)
        self._loaded: list[KeyValues | None] = [None] * num_prompts

    @torch.no_grad()
    def load(self, prompts: Sequence[KeyValues]) -> None:
        """Put the prompts in the first slots; one that is there already is not copied again."""
        for slot, prompt in enumerate(prompts):
            if self._loaded[slot] is not prompt:
                length = prompt[0][0].shape[1] if prompt else 0
                held = [part[slot, :, :length] for pair in self.key_values for part in pair] if length else []
                if held:
                    torch._foreach_copy_(held, [part for pair in prompt for part in pair])
                self.lengths[slot] = length
                self._loaded[slot] = prompt
