"""One forward pass for the answers to many prompts, each after its own prompt. Knows no tokens and no text.

All rows of all prompts lie on a single axis, so that every matrix product reads the weights once; only attention
(`attention.py`) handles each prompt separately. The result of a row does not depend on the other rows: norms and
activations work row by row, attention works prompt by prompt, and products get a number of rows that their
kernels treat alike (`pad_rows`). Experts get the rows that a router sends to them: there, the rows are equal up to
rounding.

Shapes: N rows in all, C answers of one prompt, T positions, D width, H heads, d width of a head.
"""

from __future__ import annotations

import copy
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.attention import AttentionSpec, attend
from langchain_sea.models.kv_cache import KeyValues, PackedSequence, pad_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transformers import PreTrainedModel

__all__ = ["ModelRunner", "SequenceOutput", "copy_sharing_weights"]

_NAME = "langchain_sea"
_ATTENTION_TYPES = {"full_attention", "sliding_attention"}
_LENGTH_DEPENDENT_ROPES = {"dynamic", "longrope"}  # they change with the longest row of a forward pass


class SequenceOutput(NamedTuple):
    """The result of one sequence."""

    hidden: dict[int, Tensor]  # of the requested layers, (C, T, D): 0 the embeddings, L the last, normed
    last: Tensor | None  # (C, T, D) of the last layer, after the final norm; None if it was not requested


@dataclass(slots=True)
class _ForwardPass:
    """The forward pass in progress."""

    sequences: Sequence[PackedSequence]
    layers: frozenset[int]
    stop: int | None
    keep_key_values: bool
    first: int  # layers below it are not computed
    hidden: dict[int, Tensor] = field(default_factory=dict)
    told_windows: set[int] = field(default_factory=set)  # sliding windows that the attention was called with
    masked_windows: set[int] = field(default_factory=set)  # and those of the masks that the model made


_forward_pass: ContextVar[_ForwardPass] = ContextVar("_forward_pass")


class _StopForwardError(Exception):
    """Ends a forward pass early, once all requested layers are computed."""


class ModelRunner:
    """Runs a decoder of `transformers` on packed sequences; the model itself is not changed.

    Attributes:
        model: a copy of the modules that shares the weights.
        num_layers: L.
        tells_windows: whether the attention of the last whole pass was told the sliding windows of its masks.
    """

    tells_windows = True

    def __init__(self, model: PreTrainedModel) -> None:
        """Copy the model's modules, not its weights, and install this package's attention in the copy.

        Raises:
            ArchitectureError: the attention of the model cannot be replaced, or it has no list of layers.
        """
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, _no_mask)
        self.model = copy_sharing_weights(model)
        blocks = _decoder_layers(self.model)
        config = self.model.config.get_text_config()
        # the checked setter would look for a kernel on the hub
        for holder in (self.model.config, config):
            holder._attn_implementation = _NAME  # noqa: SLF001
        self.num_layers = len(blocks)
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(partial(_before_layer, number), with_kwargs=True)
            block.forward = _Skippable(number, block.forward)
        self._slides = "sliding_attention" in (getattr(config, "layer_types", None) or _ATTENTION_TYPES)
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
        top = max(requested, default=0)
        stop = None if last or keep_key_values or top >= self.num_layers else top
        first = 0 if keep_key_values else _first_layer(sequences)
        forward_pass = _ForwardPass(sequences, requested, stop, keep_key_values, first)
        final = self._run(forward_pass)
        if final is not None and self.num_layers in requested:
            forward_pass.hidden[self.num_layers] = final
        return _split_by_sequence(forward_pass, final if last else None)

    def _run(self, forward_pass: _ForwardPass) -> Tensor | None:
        """Return the final states, (1, N, D), or None if the pass ended early."""
        rows = torch.cat([sequence.embeds.flatten(0, 1) for sequence in forward_pass.sequences])  # (N, D)
        positions = [
            torch.arange(s.start, s.start + s.embeds.shape[1], device=rows.device).repeat(len(s.embeds))
            for s in forward_pass.sequences
        ]
        token = _forward_pass.set(forward_pass)
        try:
            final: Tensor = self.model.base_model(
                inputs_embeds=pad_rows(rows)[None], position_ids=pad_rows(torch.cat(positions))[None], use_cache=False
            ).last_hidden_state
        except _StopForwardError:
            return None
        finally:
            _forward_pass.reset(token)
        if not forward_pass.first:
            masked = forward_pass.masked_windows if self._slides else set()  # some make masks that no layer uses
            self.tells_windows = forward_pass.told_windows == masked
        return final

    @torch.no_grad()
    def prompt_key_values(self, embeds: Tensor) -> KeyValues:
        """Compute the keys and values of one embedded prompt, (1, P, D)."""
        if not embeds.shape[1]:
            return ()
        sequence = PackedSequence(embeds)
        self.forward([sequence], last=False, keep_key_values=True)
        return tuple((keys[0], values[0]) for keys, values in sequence.key_values)


def copy_sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Copy the model's modules, whose hooks then stay in the copy; the weights are shared, and get no gradient."""
    frozen = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    shared = {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, {**frozen, **shared})


def _decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of layers, if the model can run on one axis.

    Layers other than attention would mix the sequences on that axis.
    """
    config = model.config.get_text_config()
    lists = [
        m for m in model.base_model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers
    ]
    other_types = set(getattr(config, "layer_types", None) or ()) - _ATTENTION_TYPES
    replaceable = model._supports_attention_backend and not model._is_stateful  # noqa: SLF001 - no public flag
    if not lists or other_types or not replaceable:
        raise ArchitectureError(
            f"{type(model).__name__} cannot be packed: it does not use transformers' AttentionInterface, has layers "
            f"other than attention {sorted(other_types) or ''}, or has no list of layers."
        )
    return lists[0]


def _has_length_dependent_rope(config: Any) -> bool:  # noqa: ANN401 - configurations share no type
    rope = getattr(config, "rope_parameters", None) or {}
    # one for all layers, or one for each type of layer
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return bool(_LENGTH_DEPENDENT_ROPES & {str(part.get("rope_type")) for part in ropes})


def _split_by_sequence(forward_pass: _ForwardPass, final: Tensor | None) -> list[SequenceOutput]:
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


class _Skippable:
    """The forward function of a layer, which does nothing where the forward pass begins at a later one."""

    def __init__(self, number: int, forward: Callable[..., Any]) -> None:
        self._number, self._forward = number, forward
        self._returns_tuple = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the layer's own
        if self._number < _forward_pass.get().first:
            states = args[0] if args else kwargs["hidden_states"]
            return (states,) if self._returns_tuple else states
        result = self._forward(*args, **kwargs)
        self._returns_tuple = isinstance(result, tuple)  # the prompt was read before, so that this is known
        return result


def _before_layer(
    number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Record the input of layer `number`, and add the steering of the sequences to it."""
    forward_pass = _forward_pass.get()
    if number < forward_pass.first:
        return None
    states = args[0] if args else kwargs["hidden_states"]
    if number == forward_pass.first and number:
        inputs = [s.begin.states.flatten(0, 1) for s in forward_pass.sequences if s.begin]
        states = pad_rows(torch.cat(inputs))[None].to(states)
        args, kwargs = ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})
    if number in forward_pass.layers:
        forward_pass.hidden[number] = states
    if number == forward_pass.stop:
        raise _StopForwardError
    if not any(s.steering and s.steering.layer == number for s in forward_pass.sequences):
        return args, kwargs
    states = states + pad_rows(torch.cat([s.steering_rows(number) for s in forward_pass.sequences]))[None]
    return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})


def _no_mask(*_args: Any, local_size: int | None = None, **_kwargs: Any) -> None:
    """Return no mask: each sequence has its own. The window of the mask, `local_size`, is noted."""
    if local_size is not None:
        _forward_pass.get().masked_windows.add(local_size)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence: (1, H, N, d) queries, keys and values of all sequences → (1, N, H, d)."""
    if attention_mask is not None:  # not the one of `_no_mask`: the layer hides more than what lies ahead
        raise ArchitectureError(f"{type(module).__name__} has an attention mask of its own.")
    forward_pass = _forward_pass.get()
    if sliding_window is not None:
        forward_pass.told_windows.add(sliding_window)
    # half precision on a CPU builds a kernel for every new shape, and shapes grow with each token
    cpu = query.device.type == "cpu"
    wide = torch.promote_types(query.dtype, torch.float32) if cpu else query.dtype
    narrow = query.dtype if wide != query.dtype else None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    spec = AttentionSpec(scale, softcap, sliding_window, narrow, s_aux)
    sizes = [sequence.num_rows for sequence in forward_pass.sequences]
    padding = query.shape[2] - sum(sizes)
    # split rather than slice: the backward pass of each slice would allocate a tensor of zeros
    axes = (x.to(wide).squeeze(0) for x in (query, key, value))  # (H, N, d)
    parts = zip(*(torch.split(x, [*sizes, padding], 1) for x in axes), strict=True)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    outputs = [
        _attend_sequence(sequence, layer, part, spec, keep_key_values=forward_pass.keep_key_values)
        for sequence, part in zip(forward_pass.sequences, parts, strict=False)
    ]
    if padding:
        outputs.append(outputs[0].new_zeros(padding, *outputs[0].shape[1:]))
    return torch.cat(outputs)[None].to(query.dtype), None


def _attend_sequence(
    sequence: PackedSequence, layer: int, part: tuple[Tensor, ...], spec: AttentionSpec, *, keep_key_values: bool
) -> Tensor:
    """Attend for the rows of one sequence: queries, keys and values of (H, C × T, d) → (C × T, H, d)."""
    rows = sequence.embeds.shape[:2]
    q, k, v = (x.view(len(x), *rows, -1).transpose(0, 1) for x in part)  # (C, H, T, d)
    if keep_key_values:
        sequence.key_values.append((k, v))
    if sequence.cache is not None:
        k, v = sequence.cache.append(layer, k, v)
    shared = sequence.prompt_key_values[layer] if sequence.prompt_key_values else None
    return attend(q, (k, v), shared, sequence.mask(spec.sliding_window), spec)
