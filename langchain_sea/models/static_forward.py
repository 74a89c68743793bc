"""Forward passes of fixed shape: rows of several prompts as one padded batch, which a GPU replays as a graph.

A GPU waits for launches where it has little to compute. The modules of `transformers` run unchanged; only their
attention is this package's. Padding costs little there, and shapes that come again cost one launch.

Shapes: Q prompts with C rows each, B = Q × C; T positions, P positions of a prompt, D width, H heads, d width of a
head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.models.batched_forward import ModelRunner, SequenceOutput
from langchain_sea.models.cuda_graphs import GraphedFunction
from langchain_sea.models.fused_norms import fuse_norms
from langchain_sea.models.graph_cache import GraphCache
from langchain_sea.models.hooked_model import ForwardPass
from langchain_sea.models.prompt_slots import PromptSlots
from langchain_sea.models.static_attention import Positions, attend_static
from langchain_sea.models.static_padding import join_steering, pad_parts
from langchain_sea.models.static_shapes import BatchShape, plan_batches, round_up_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from transformers import PreTrainedModel

    from langchain_sea.models.attention import AttentionSpec
    from langchain_sea.models.kv_cache import KeyValues, PackedSequence
    from langchain_sea.models.static_attention import KeyValue

__all__ = ["StaticPass", "StaticRunner"]

_MAX_TOKENS = 32_768  # of a padded batch; larger ones keep a GPU busy without a graph
_MAX_CAPTURED = 8192  # tokens of a batch that is captured
_MAX_CAPTURED_GRADIENT = 4096
_MAX_SLOT_POSITIONS = 2**16  # of prompts, in the slots of all sizes
_MAX_SCORES = 2**29  # attention scores of one layer that are held at once


@dataclass(slots=True, kw_only=True)
class StaticPass(ForwardPass):
    """A forward pass of a padded batch, (B, T, D).

    Attributes:
        positions: of its tokens.
        prompts: keys and values of the prompts, of each layer; empty if there are none.
        vectors: (B, D) for each layer to whose input they are added.
        begin: (B, T, D), the input of layer `first` where that is above 0.
        key_values: what each layer computed for the tokens, if `keep_key_values`.
    """

    positions: Positions
    prompts: Sequence[KeyValue] = ()
    vectors: Mapping[int, Tensor] = field(default_factory=dict)
    begin: Tensor | None = None
    keep_key_values: bool = False
    key_values: list[KeyValue] = field(default_factory=list)

    def begin_states(self) -> Tensor:
        """Return the input of layer `first`."""
        assert self.begin is not None
        return self.begin

    def steering(self, layer: int) -> Tensor | None:
        """Return what is added to the input of a layer, (B, 1, D), or None."""
        return self.vectors[layer][:, None] if layer in self.vectors else None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec) -> Tensor:
        """Attend within each row and to its prompt: (B, H, T, d) → (B, T, H, d)."""
        if self.keep_key_values:
            self.key_values.append((key, value))
        return attend_static(query, (key, value), self.prompts[layer] if self.prompts else None, self.positions, spec)


class _Kind(NamedTuple):
    """What tells one function of fixed shape from another."""

    shape: BatchShape
    layers: tuple[int, ...]
    last: bool
    stop: int | None
    first: int
    steered: int | None
    keep_key_values: bool
    needs_gradient: tuple[bool, ...]


class StaticRunner(ModelRunner):
    """Runs sequences as batches of fixed shape where that pays, and as `ModelRunner` does elsewhere.

    Attributes:
        graphs: the functions that were captured.
        on_release: called where memory is short; `StaticDecoder` sets it.
    """

    def __init__(self, model: PreTrainedModel, *, compiles: bool = False) -> None:
        """Copy the model's modules, as `ModelRunner` does.

        Args:
            model: a decoder.
            compiles: whether its layers are compiled when they first run.

        Raises:
            ArchitectureError: the attention of the model cannot be replaced, or it has no list of layers.
        """
        super().__init__(model, compiles=compiles)
        self.compiles = compiles
        if model.device.type == "cuda" and not compiles:  # a compiler fuses more than norms
            fuse_norms(self.model)
        self.graphs = GraphCache(model.device)
        self.on_release: Callable[[], None] = lambda: None
        self._slots: dict[tuple[int, int], PromptSlots] = {}
        # of four axes, so that transformers makes none, for which it would wait for the device
        self._mask = torch.zeros(1, 1, 1, 1, device=model.device)

    def forward(
        self,
        sequences: Sequence[PackedSequence],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep_key_values: bool = False,
    ) -> list[SequenceOutput]:
        """Run all sequences, in one forward pass for those of similar size; see `ModelRunner.forward`."""
        requested, outputs = frozenset(layers), dict[int, SequenceOutput]()
        for numbers, shape in self._plan(sequences):
            part = [sequences[i] for i in numbers]
            if shape is None:
                results = super().forward(part, layers=requested, last=last, keep_key_values=keep_key_values)
            else:
                results = self._run_padded(part, shape, requested, last=last, keep_key_values=keep_key_values)
            outputs |= zip(numbers, results, strict=True)
        return [outputs[i] for i in range(len(sequences))]

    def _run_padded(
        self,
        sequences: Sequence[PackedSequence],
        shape: BatchShape,
        requested: frozenset[int],
        *,
        last: bool,
        keep_key_values: bool,
    ) -> list[SequenceOutput]:
        """Run sequences as a batch of fixed shape."""
        first, stop = self._find_range(sequences, requested, last=last, keep_key_values=keep_key_values)
        vectors = join_steering(sequences, shape)
        parts = [s.begin.states for s in sequences if s.begin] if first else [s.embeds for s in sequences]
        inputs = [pad_parts(parts, shape)] if vectors is None else [pad_parts(parts, shape), vectors]
        steered = next((s.steering.layer for s in sequences if s.steering), None)
        flags = tuple(torch.is_grad_enabled() and x.requires_grad for x in inputs)
        kept = tuple(sorted(layer for layer in requested if layer >= first))
        kind = _Kind(shape, kept, last, stop, first, steered, keep_key_values, flags)
        prompts = self.load_prompts([s.prompt_key_values for s in sequences], shape.prompts, shape.prompt_tokens)
        compute = partial(self._compute, kind, prompts)
        try:
            if _is_small(kind):
                make = partial(GraphedFunction, compute, self.graphs, _describe(kind))
                outputs = self.graphs.get_or_create(kind, make)(*inputs)
            else:
                outputs = compute(*inputs)
        except torch.OutOfMemoryError:
            self.release_memory()  # what is tried next, with fewer rows, may need it
            raise
        return self._split(sequences, kind, outputs)

    def load_prompts(self, prompts: Sequence[KeyValues], count: int, size: int) -> PromptSlots | None:
        """Return slots that hold the prompts; None if all are empty.

        Args:
            prompts: at most `count`.
            count: of slots.
            size: of each slot, in tokens.
        """
        if not size:
            return None
        if (count, size) not in self._slots:
            if sum(slots * each for slots, each in self._slots) + count * size > _MAX_SLOT_POSITIONS:
                self._drop_slots()
            self._slots[count, size] = PromptSlots(next(p for p in prompts if p), count, size)
        self._slots[count, size].load(prompts)
        return self._slots[count, size]

    def release_memory(self) -> None:
        """Drop all graphs, the copies of prompts that they read, and what decoding can do without."""
        self._drop_slots()
        self.on_release()

    def _drop_slots(self) -> None:
        """Drop the copies of prompts, and the graphs, which read them."""
        self.graphs.clear()
        self._slots.clear()

    def run(self, forward_pass: StaticPass, embeds: Tensor) -> Tensor | None:
        """Return the final states of a padded batch, (B, T, D), or None if the pass ended early."""
        ids = forward_pass.positions.ids
        position_ids = ids.repeat_interleave(len(embeds) // len(ids), 0)
        return self._hooked.run(forward_pass, embeds, position_ids, self._mask)

    def _plan(self, sequences: Sequence[PackedSequence]) -> list[tuple[list[int], BatchShape | None]]:
        """Return the numbers of the sequences of each batch, and its shape; None if they run better without one."""
        steered = {s.steering.layer for s in sequences if s.steering}
        if self._one_sequence_at_a_time or any(s.cache is not None for s in sequences) or len(steered) > 1:
            return [(list(range(len(sequences))), None)]
        sizes = [BatchShape(1, s.embeds.shape[0], s.embeds.shape[1], s.start) for s in sequences]
        return [(numbers, shape if self._fits(shape) else None) for numbers, shape in plan_batches(sizes)]

    def _fits(self, shape: BatchShape) -> bool:
        """Whether a batch is small enough to be held with the scores of its attention."""
        num_scores = shape.num_tokens * (shape.prompt_tokens + shape.tokens) * self._num_heads
        return shape.num_tokens <= _MAX_TOKENS and num_scores <= _MAX_SCORES

    def read_prompts(self, prompts: Sequence[Tensor]) -> list[KeyValues]:
        """Compute the keys and values of embedded prompts; see `ModelRunner.read_prompts`."""
        known = super().read_prompts(prompts)
        if len(prompts) == 1:
            return known
        # copies, because a prompt may be needed for longer than the others of its pass
        return [tuple((keys.clone(), values.clone()) for keys, values in prompt) for prompt in known]

    def _group_prompts(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the numbers of the prompts that are read in each pass: of similar length."""
        sizes = [BatchShape(1, 1, length, 0) for length in lengths]
        return [numbers for numbers, _ in plan_batches(sizes, max_tokens=_MAX_CAPTURED)]

    @property
    def _num_heads(self) -> int:
        return int(self.model.config.get_text_config().num_attention_heads)

    def _compute(
        self, kind: _Kind, slots: PromptSlots | None, embeds: Tensor, vectors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the states of the requested layers, the last states, and the keys and values, as requested."""
        shape = kind.shape
        lengths = torch.zeros(shape.prompts, dtype=torch.long, device=embeds.device)
        prompt_lengths = lengths if slots is None else slots.lengths
        num_keys = round_up_keys(shape.tokens)
        positions = Positions(prompt_lengths, lengths, shape.rows, shape.tokens, num_keys, shape.prompt_tokens)
        forward_pass = StaticPass(
            positions=positions,
            prompts=() if slots is None else slots.key_values,
            layers=frozenset(kind.layers),
            stop=kind.stop,
            first=kind.first,
            vectors={} if kind.steered is None or vectors is None else {kind.steered: vectors},
            begin=embeds if kind.first else None,
            keep_key_values=kind.keep_key_values,
        )
        final = self.run(forward_pass, embeds)
        outputs = [forward_pass.hidden[layer] for layer in kind.layers]
        if kind.last:
            assert final is not None
            outputs.append(final)
        return (*outputs, *(part for pair in forward_pass.key_values for part in pair))

    def _split(
        self, sequences: Sequence[PackedSequence], kind: _Kind, outputs: Sequence[Tensor]
    ) -> list[SequenceOutput]:
        """Return the part of each sequence, without the padding."""
        shape, num_layers = kind.shape, len(kind.layers)
        by_prompt = [x.view(shape.prompts, shape.rows, *x.shape[1:]) for x in outputs]
        states, pairs = by_prompt[: num_layers + kind.last], by_prompt[num_layers + kind.last :]
        results = []
        for slot, sequence in enumerate(sequences):
            count, length = sequence.embeds.shape[:2]
            own = [x[slot, :count, :length] for x in states]
            if kind.keep_key_values:
                parts = [x[slot, :count, :, :length] for x in pairs]
                sequence.key_values = list(zip(parts[::2], parts[1::2], strict=True))
            hidden = dict(zip(kind.layers, own, strict=False))
            results.append(SequenceOutput(hidden, own[-1] if kind.last else None))
        return results


def _is_small(kind: _Kind) -> bool:
    """Whether a GPU computes the batch in about the time of its launches. The graph of a gradient keeps memory, too."""
    shape = kind.shape
    limit = _MAX_CAPTURED_GRADIENT if any(kind.needs_gradient) else _MAX_CAPTURED
    return shape.prompts * shape.rows * shape.tokens <= limit


def _describe(kind: _Kind) -> str:
    shape = kind.shape
    what = "gradient" if any(kind.needs_gradient) else "forward pass"
    return f"a {what} of {shape.prompts} × {shape.rows} × {shape.tokens} tokens after {shape.prompt_tokens}"
