"""One forward pass for the answers to many prompts, each after its own prompt. Knows no tokens and no text.

All rows of all prompts lie on a single axis, so that every matrix product reads the weights once; only attention
(`attention.py`) handles each prompt separately. The result of a row does not depend on the other rows: norms and
activations work row by row, attention works prompt by prompt, and products get a number of rows that their
kernels treat alike (`pad_rows`, `pad_to_size`). Experts get the rows that a router sends to them: there, the rows are
equal up to rounding.

Shapes: N rows in all, C answers of one prompt, T positions, D width, H heads, d width of a head.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from langchain_sea.models.attention import AttentionSpec, attend
from langchain_sea.models.hooked_model import ATTENTION_TYPES, ForwardPass, HookedModel
from langchain_sea.models.kv_cache import KeyValues, PackedSequence
from langchain_sea.models.packed_linear import decode_passes, pack_linear_layers, pad_rows, pad_to_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transformers import PreTrainedModel

__all__ = ["ModelRunner", "SequenceOutput"]

_MAX_TOGETHER = 2048  # tokens of prompts that are read together; more keep a CPU as busy, and take more memory
_LENGTH_DEPENDENT_ROPES = {"dynamic", "longrope"}  # they change with the longest row of a forward pass


class SequenceOutput(NamedTuple):
    """The result of one sequence."""

    hidden: dict[int, Tensor]  # of the requested layers, (C, T, D): 0 the embeddings, L the last, normed
    last: Tensor | None  # (C, T, D) of the last layer, after the final norm; None if it was not requested


@dataclass(slots=True, kw_only=True)
class _PackedPass(ForwardPass):
    """A forward pass of sequences on one axis, (1, N, D)."""

    sequences: Sequence[PackedSequence]
    keep_key_values: bool
    pad: Callable[[Tensor], Tensor]

    def begin_states(self) -> Tensor:
        """Return the states from which the sequences begin, (1, N, D)."""
        rows = torch.cat([s.begin.states.flatten(0, 1) for s in self.sequences if s.begin])
        return self.pad(rows)[None]

    def steering(self, layer: int) -> Tensor | None:
        """Return what is added to the input of a layer, (1, N, D), or None."""
        if not any(s.steering and s.steering.layer == layer for s in self.sequences):
            return None
        rows = torch.cat([s.steering_rows(layer) for s in self.sequences])
        return self.pad(rows)[None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec) -> Tensor:
        """Attend within each sequence: (1, H, N, d) queries, keys and values of all sequences → (1, N, H, d)."""
        # half precision on a CPU builds a kernel for every new shape, and shapes grow with each token
        cpu = query.device.type == "cpu"
        wide = torch.promote_types(query.dtype, torch.float32) if cpu else query.dtype
        spec = spec._replace(narrow=query.dtype if wide != query.dtype else None)
        sizes = [sequence.num_rows for sequence in self.sequences]
        padding = query.shape[2] - sum(sizes)
        # split rather than slice: the backward pass of each slice would allocate a tensor of zeros
        axes = (x.to(wide).squeeze(0) for x in (query, key, value))  # (H, N, d)
        parts = zip(*(torch.split(x, [*sizes, padding], 1) for x in axes), strict=True)
        outputs = [
            _attend_sequence(sequence, layer, part, spec, keep_key_values=self.keep_key_values)
            for sequence, part in zip(self.sequences, parts, strict=False)
        ]
        if padding:
            outputs.append(outputs[0].new_zeros(padding, *outputs[0].shape[1:]))
        return torch.cat(outputs)[None].to(query.dtype)


class ModelRunner:
    """Runs a decoder of `transformers` on packed sequences; the model itself is not changed.

    Attributes:
        model: a copy of the modules that shares the weights.
        num_layers: L.
        tells_windows: whether the attention of the last whole pass was told the sliding windows of its masks.
    """

    tells_windows = True

    def __init__(self, model: PreTrainedModel, *, compiles: bool = False) -> None:
        """Copy the model's modules, not its weights, and install this package's attention in the copy.

        Args:
            model: a decoder.
            compiles: whether its layers are compiled when they first run.

        Raises:
            ArchitectureError: the attention of the model cannot be replaced, or it has no list of layers.
        """
        self._hooked = HookedModel(model, compiles=compiles)
        self.model, self.num_layers = self._hooked.model, self._hooked.num_layers
        self._is_packed = pack_linear_layers(self.model, has_decode_passes=True)
        config = self.model.config.get_text_config()
        self._slides = "sliding_attention" in (getattr(config, "layer_types", None) or ATTENTION_TYPES)
        self._one_sequence_at_a_time = _has_length_dependent_rope(config)

    def forward(
        self,
        sequences: Sequence[PackedSequence],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep_key_values: bool = False,
    ) -> list[SequenceOutput]:
        """Run all sequences in one forward pass, differentiable in their `embeds`; their caches are filled.

        Args:
            sequences: of any number of prompts.
            layers: whose states are returned; nothing above the highest is run if `last` is False.
            last: whether the final states are returned.
            keep_key_values: fill each sequence's `key_values`.
        """
        if self._one_sequence_at_a_time and len(sequences) > 1:
            options = {"last": last, "keep_key_values": keep_key_values}
            return [self.forward([s], layers=layers, **options)[0] for s in sequences]
        requested = frozenset(layers)
        first, stop = self._find_range(sequences, requested, last=last, keep_key_values=keep_key_values)
        is_step = all(s.cache is not None for s in sequences) and not torch.is_grad_enabled()
        decodes = self._is_packed and is_step
        forward_pass = _PackedPass(
            sequences=sequences,
            layers=requested,
            stop=stop,
            first=first,
            keep_key_values=keep_key_values,
            pad=pad_to_size if decodes else pad_rows,
        )
        with decode_passes() if decodes else nullcontext():
            final = self._run(forward_pass)
        return _split_by_sequence(forward_pass, final if last else None)

    def _find_range(
        self, sequences: Sequence[PackedSequence], layers: frozenset[int], *, last: bool, keep_key_values: bool
    ) -> tuple[int, int | None]:
        """Return the layer at which a forward pass begins, and the one at which it stops, or None."""
        top = max(layers, default=0)
        stop = None if last or keep_key_values or top >= self.num_layers else top
        return 0 if keep_key_values else _first_layer(sequences), stop

    def _run(self, forward_pass: _PackedPass) -> Tensor | None:
        """Return the final states, (1, N, D), or None if the pass ended early."""
        rows = torch.cat([sequence.embeds.flatten(0, 1) for sequence in forward_pass.sequences])  # (N, D)
        positions = [
            torch.arange(s.start, s.start + s.embeds.shape[1], device=rows.device).repeat(len(s.embeds))
            for s in forward_pass.sequences
        ]
        embeds, position_ids = (forward_pass.pad(part)[None] for part in (rows, torch.cat(positions)))
        final = self._hooked.run(forward_pass, embeds, position_ids, None)
        if final is not None and not forward_pass.first:
            masked = forward_pass.masked_windows if self._slides else set()  # some make masks that no layer uses
            self.tells_windows = forward_pass.told_windows == masked
        return final

    def prompt_key_values(self, embeds: Tensor) -> KeyValues:
        """Compute the keys and values of one embedded prompt, (1, P, D)."""
        return self.read_prompts([embeds])[0] if embeds.shape[1] else ()

    @torch.no_grad()
    def read_prompts(self, prompts: Sequence[Tensor]) -> list[KeyValues]:
        """Compute the keys and values of embedded prompts, (1, P, D) each with P > 0, several in a forward pass."""
        sequences = [PackedSequence(rows) for rows in prompts]
        for numbers in self._group_prompts([rows.shape[1] for rows in prompts]):
            self.forward([sequences[i] for i in numbers], last=False, keep_key_values=True)
        return [tuple((keys[0], values[0]) for keys, values in s.key_values) for s in sequences]

    def _group_prompts(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the numbers of the prompts that are read in each pass."""
        groups: list[list[int]] = []
        size = _MAX_TOGETHER
        for number, length in enumerate(lengths):
            if size + length > _MAX_TOGETHER:
                groups.append([])
                size = 0
            groups[-1].append(number)
            size += length
        return groups


def _has_length_dependent_rope(config: Any) -> bool:  # noqa: ANN401 - configurations share no type
    rope = getattr(config, "rope_parameters", None) or {}
    # one for all layers, or one for each type of layer
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return bool(_LENGTH_DEPENDENT_ROPES & {str(part.get("rope_type")) for part in ropes})


def _split_by_sequence(forward_pass: _PackedPass, final: Tensor | None) -> list[SequenceOutput]:
    sizes = [sequence.num_rows for sequence in forward_pass.sequences]

    def split(rows: Tensor) -> list[Tensor]:
        pieces = torch.split(rows.squeeze(0), [*sizes, rows.shape[1] - sum(sizes)])
        return [p.view(*s.embeds.shape[:2], -1) for p, s in zip(pieces, forward_pass.sequences, strict=False)]

    hidden = {layer: split(states) for layer, states in forward_pass.hidden.items()}
    lasts = [None] * len(sizes) if final is None else split(final)
    return [SequenceOutput({layer: states[i] for layer, states in hidden.items()}, lasts[i]) for i in range(len(sizes))]


def _first_layer(sequences: Sequence[PackedSequence]) -> int:
    """Return the layer at which a forward pass of all sequences can begin; 0 is the first."""
    layers = {sequence.begin.layer if sequence.begin else 0 for sequence in sequences}
    return layers.pop() if len(layers) == 1 else 0


def _attend_sequence(
    sequence: PackedSequence, layer: int, part: tuple[Tensor, ...], spec: AttentionSpec, *, keep_key_values: bool
) -> Tensor:
    """Attend for the rows of one sequence: queries, keys and values of (H, C × T, d) → (C × T, H, d)."""
    rows = sequence.embeds.shape[:2]
    # contiguous: MKL rounds products by their strides, which else depend on how many rows are beside these
    q, k, v = (x.view(len(x), *rows, -1).transpose(0, 1).contiguous() for x in part)  # (C, H, T, d)
    if keep_key_values:
        sequence.key_values.append((k, v))
    if sequence.cache is not None:
        k, v = sequence.cache.append(layer, k, v)
    shared = sequence.prompt_key_values[layer] if sequence.prompt_key_values else None
    return attend(q, (k, v), shared, sequence.mask(spec.sliding_window), spec)
