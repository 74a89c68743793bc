"""One step of decoding for rows of fixed number, in tensors of fixed shape, which a GPU replays as a graph.

Shapes: B rows; Q prompts with C rows each, or B with one; S positions that a row's own keys have room for, P positions
of a prompt, D width.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.models.cuda_graphs import GraphedFunction
from langchain_sea.models.static_attention import Positions, attend_static
from langchain_sea.models.static_forward import StaticPass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.attention import AttentionSpec
    from langchain_sea.models.generation import LengthGroup
    from langchain_sea.models.lm_head import LMHead
    from langchain_sea.models.prompt_slots import PromptSlots
    from langchain_sea.models.static_attention import KeyValue
    from langchain_sea.models.static_forward import StaticRunner

__all__ = ["DecodeBatch", "DecodeShape", "ModelParts"]


class ModelParts(NamedTuple):
    """What a step of decoding computes with.

    Attributes:
        runner: of the layers.
        embed: ids (B, T) → (B, T, D).
        head: the output layer.
        sample: see `sample_rows`.
        disallowed: (V,) bool, ids that are never drawn.
    """

    runner: StaticRunner
    embed: Callable[[Tensor], Tensor]
    head: LMHead
    sample: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    disallowed: Tensor


class DecodeShape(NamedTuple):
    """The sizes of a batch, and the layers that are steered."""

    prompts: int  # Q; B if every row holds its prompt
    rows: int  # C of each prompt
    capacity: int  # S
    prompt_tokens: int  # P; 0 if every row holds its prompt
    steered: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        """B."""
        return self.prompts * self.rows

    def num_before(self, group: LengthGroup) -> int:
        """Return how many of a row's own positions the prompt takes."""
        return 0 if self.prompt_tokens else group.prompt.num_read


class _UnreadStep:
    """A step that the device computes while the host does other things."""

    def __init__(self, ids: Tensor, tokens_before: Tensor) -> None:
        """Copy the ids to the host, without waiting for them.

        Args:
            ids: (B,) that are drawn; the next step writes over them.
            tokens_before: (B,) that the step reads.
        """
        self.tokens_before = tokens_before
        self._is_copied: torch.cuda.Event | None = None
        if ids.device.type == "cuda":
            self._ids = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True).copy_(ids, non_blocking=True)
            self._is_copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._is_copied.record()
        else:
            self._ids = ids.clone()

    def read(self) -> list[int]:
        """Wait for the step, and return the ids."""
        if self._is_copied is not None:
            self._is_copied.synchronize()
        ids: list[int] = self._ids.tolist()
        return ids


@dataclass(slots=True, kw_only=True)
class _DecodePass(StaticPass):
    """A forward pass over one new token of each row, whose keys and values are added to those that the rows have."""

    cache: Sequence[KeyValue]
    slots: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.slots = torch.arange(len(self.positions.lengths), device=self.positions.lengths.device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec) -> Tensor:
        """Write the new keys and values behind the old ones, and attend to all."""
        lengths = self.positions.lengths
        for held, new in zip(self.cache[layer], (key, value), strict=True):
            by_slot = held.view(len(lengths), -1, *held.shape[1:]).permute(0, 3, 1, 2, 4)  # (Q, S, C, H, d)
            by_slot[self.slots, lengths] = new.view(len(lengths), -1, *new.shape[1:]).squeeze(3)
        prompt = self.prompts[layer] if self.prompts else None
        return attend_static(query, self.cache[layer], prompt, self.positions, spec)


class DecodeBatch:
    """The tensors of one shape, and the step that changes them.

    Attributes:
        tokens: (B,) that are read next.
        lengths: (Q,) positions that the rows' own keys hold.
        draws: (B, S) random numbers in [0, 1).
        steps: (Q,) how many of them are used.
        temperatures: (B,) of sampling.
        vectors: (B, D) for each steered layer.
        cache: the rows' keys and values of each layer, (B, H, S, d).
    """

    def __init__(self, parts: ModelParts, shape: DecodeShape, cache: list[KeyValue], slots: PromptSlots | None) -> None:
        """Allocate.

        Args:
            parts: of the model.
            shape: the sizes.
            cache: the memory of the rows' keys and values.
            slots: that hold the prompts; None if the rows hold them.
        """
        self.shape, self.cache, self.slots, self._parts = shape, cache, slots, parts
        weight = parts.head.weight
        device = weight.device
        self.tokens = torch.zeros(shape.num_rows, dtype=torch.long, device=device)
        self.lengths = torch.zeros(shape.prompts, dtype=torch.long, device=device)
        self.steps = torch.zeros_like(self.lengths)
        self.draws = torch.zeros(shape.num_rows, shape.capacity, dtype=torch.float64, device=device)
        self.temperatures = torch.zeros(shape.num_rows, device=device)
        self.vectors = {
            layer: torch.zeros(shape.num_rows, weight.shape[1], dtype=weight.dtype, device=device)
            for layer in shape.steered
        }
        name = f"a decoding step of {shape.num_rows} rows with {shape.capacity} positions"
        # never captured by a call: `_capture` does it, and then puts the rows back to where they were
        self._step = GraphedFunction(self._compute, parts.runner.graphs, name, num_eager_calls=sys.maxsize)
        self._num_steps = 0
        self._unread: deque[_UnreadStep] = deque()

    @property
    def num_unread(self) -> int:
        """How many steps were begun that nobody has read."""
        return len(self._unread)

    def next_tokens(self, num_begun: int) -> list[int]:
        """Return the next token of every row, B ids.

        Args:
            num_begun: steps that are begun before the first of them is read, so that the device has something to do
                while the host looks at the tokens. All rows must have room for them.
        """
        while len(self._unread) < num_begun:
            before = self.tokens.clone()
            (ids,) = self.step()
            self._unread.append(_UnreadStep(ids, before))
        return self._unread.popleft().read()

    def drop_unread_steps(self) -> None:
        """Put the rows back to the last step that was read. What was added to the cache lies behind their lengths."""
        if self._unread:
            self.tokens.copy_(self._unread[0].tokens_before)
            for counts in (self.lengths, self.steps):
                counts.sub_(len(self._unread)).clamp_(min=0)  # those of rows that have ended may have been at the end
            self._unread.clear()

    def step(self) -> tuple[Tensor, ...]:
        """Draw the next token of every row, (B,); the second step is captured where that is possible."""
        if self._num_steps == 1:
            self._capture()
        self._num_steps += 1
        return self._step()

    def _capture(self) -> None:
        """Capture the step. A capture runs it, so that the rows are put back to where they were.

        What it adds to the cache lies behind their lengths.
        """
        changed = (self.tokens, self.lengths, self.steps)
        kept = [x.clone() for x in changed]
        try:
            self._step.capture()
        finally:
            for x, before in zip(changed, kept, strict=True):
                x.copy_(before)

    @torch.no_grad()
    def _compute(self) -> tuple[Tensor, ...]:
        """Draw the next token of every row, (B,)."""
        shape, parts = self.shape, self._parts
        none = torch.zeros_like(self.lengths)
        prompt_lengths = none if self.slots is None else self.slots.lengths
        positions = Positions(prompt_lengths, self.lengths, shape.rows, 1, shape.capacity, shape.prompt_tokens)
        forward_pass = _DecodePass(
            positions=positions,
            prompts=() if self.slots is None else self.slots.key_values,
            cache=self.cache,
            vectors=self.vectors,
        )
        embeds = parts.embed(self.tokens.clamp(min=0)[:, None])  # (B, 1, D)
        final = parts.runner.run(forward_pass, embeds)
        assert final is not None
        used = self.steps.repeat_interleave(shape.rows, output_size=shape.num_rows)[:, None]
        logits = parts.head.narrow_logits(final[:, -1])
        ids = parts.sample(logits, self.draws.gather(1, used).squeeze(1), self.temperatures, parts.disallowed)
        self.tokens.copy_(ids)
        # rows that have ended go on until their batch ends, and must stay within it
        self.lengths.add_(1).clamp_(max=shape.capacity - 1)
        self.steps.add_(1).clamp_(max=shape.capacity - 1)
        return (ids,)
