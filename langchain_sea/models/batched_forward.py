"""One forward for the answers to many prompts, each after its own prompt's states. Knows no tokens, no text.

All rows of all prompts lie one after another on a single axis, so that every matrix product reads the weights
once for all of them; only attention (`_attention`) looks at each prompt apart. What a row becomes does not
depend on which others stand beside it: norms and activations work row by row, attention prompt by prompt, and
products get a number of rows that their kernels treat alike (`pad_rows`).

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
from langchain_sea.models.kv_cache import PackedSequence, KeyValues, pad_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedModel

__all__ = ["SequenceOutput", "ModelRunner"]

_NAME = "langchain_sea"
_KINDS = {"full_attention", "sliding_attention"}
_SHIFTING = {"dynamic", "longrope"}  # rotations that change with the longest row of a forward


class SequenceOutput(NamedTuple):
    """What one segment became."""

    hidden: dict[int, Tensor]  # of the layers asked for, (C, T, D): 0 the embeddings, L the last, normed
    last: Tensor | None  # (C, T, D) the last layer's, after the final norm; None if it was not asked for


@dataclass(slots=True)
class _Forward:
    """The forward that is under way."""

    segments: Sequence[PackedSequence]
    layers: frozenset[int]
    stop: int | None
    keep_key_values: bool
    hidden: dict[int, Tensor] = field(default_factory=dict)


_forward: ContextVar[_Forward] = ContextVar("_forward")


class StopForward(Exception):
    """All that was asked for is there."""


class ModelRunner:
    """A transformer of `transformers` that reads segments; the model itself stays as it was.

    Attributes:
        layers: L.
        width: D of the embeddings.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copy the model's modules, not its weights, and put the attention above into the copy.

        Raises:
            ArchitectureError: the model has attention that cannot be exchanged, or no plain list of layers.
        """
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, _no_mask)
        frozen = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
        shared = {id(buffer): buffer for buffer in model.buffers()}
        self.model: Any = copy.deepcopy(model, {**frozen, **shared})
        config = self.model.config.get_text_config()
        blocks = [
            m
            for m in self.model.base_model.modules()
            if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers
        ]
        # what is no attention would mix all that stands on the one axis
        strange = set(getattr(config, "layer_types", None) or ()) - _KINDS
        known = model._supports_attention_backend and not model._is_stateful  # noqa: SLF001 - no other way to ask
        if not blocks or strange or not known:
            raise ArchitectureError(
                f"{type(model).__name__} does not take its attention from transformers' AttentionInterface, "
                f"has layers that are no plain attention {sorted(strange) or ''}, or no plain list of "
                "layers: it cannot be refined. Llama, Qwen 3, Mistral, Gemma, Phi, GPT-NeoX, GPT-2 and most "
                "decoders of transformers 5 can."
            )
        self.model.config._attn_implementation = _NAME  # noqa: SLF001 - the setter that checks needs a hub kernel
        config._attn_implementation = _NAME  # noqa: SLF001
        self.layers = len(blocks[0])
        for number, block in enumerate(blocks[0]):
            block.register_forward_pre_hook(partial(_before, number), with_kwargs=True)
        rope = getattr(config, "rope_parameters", None) or {}
        # one, or one a kind of layer
        ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
        self._alone = bool(_SHIFTING & {str(part.get("rope_type")) for part in ropes})

    def forward(
        self,
        segments: Sequence[PackedSequence],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep_key_values: bool = False,
    ) -> list[SequenceOutput]:
        """One forward of all segments, differentiable in their `embeds`; what was read is written to `own`.

        Args:
            segments: of any number of prompts.
            layers: whose states are wanted; nothing above the highest is run if `last` is False.
            last: whether the final states are wanted.
            keep_key_values: fill each segment's `states`.
        """
        if self._alone and len(segments) > 1:
            return [
                self.forward([s], layers=layers, last=last, keep_key_values=keep_key_values)[0]
                for s in segments
            ]
        wanted = frozenset(layers)
        top = max(wanted, default=0)
        stop = None if last or keep_key_values or top >= self.layers else top
        forward = _Forward(segments, wanted, stop, keep_key_values)
        rows = torch.cat([segment.embeds.flatten(0, 1) for segment in segments])  # (N, D)
        places = [
            torch.arange(s.start, s.start + s.embeds.shape[1], device=rows.device).repeat(len(s.embeds))
            for s in segments
        ]
        token = _forward.set(forward)
        try:
            final = self.model.base_model(
                inputs_embeds=pad_rows(rows)[None],
                position_ids=pad_rows(torch.cat(places))[None],
                use_cache=False,
            ).last_hidden_state
        except StopForward:
            final = None
        finally:
            _forward.reset(token)
        if final is not None and self.layers in wanted:
            forward.hidden[self.layers] = final
        return _parted(forward, final if last else None)

    @torch.no_grad()
    def key_values(self, embeds: Tensor) -> KeyValues:
        """The keys and values of a prompt, embedded, (1, P, D)."""
        if not embeds.shape[1]:
            return ()
        segment = PackedSequence(embeds)
        self.forward([segment], last=False, keep_key_values=True)
        return tuple((keys[0], values[0]) for keys, values in segment.states)


def _parted(forward: _Forward, final: Tensor | None) -> list[SequenceOutput]:
    sizes = [segment.rows for segment in forward.segments]

    def parts(whole: Tensor) -> list[Tensor]:
        pieces = torch.split(whole.squeeze(0), [*sizes, whole.shape[1] - sum(sizes)])
        return [p.view(*s.embeds.shape[:2], -1) for p, s in zip(pieces, forward.segments, strict=False)]

    hidden = {layer: parts(states) for layer, states in forward.hidden.items()}
    lasts = [None] * len(sizes) if final is None else parts(final)
    return [
        SequenceOutput({layer: found[i] for layer, found in hidden.items()}, lasts[i])
        for i in range(len(sizes))
    ]


def _before(
    number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """What goes into layer `number` is the state below it, and what segments add to it."""
    forward = _forward.get()
    states = args[0] if args else kwargs["hidden_states"]
    if number in forward.layers:
        forward.hidden[number] = states
    if number == forward.stop:
        raise StopForward
    if not any(s.steering and s.steering.layer == number for s in forward.segments):
        return None
    states = states + pad_rows(torch.cat([s.steering_rows(number) for s in forward.segments]))[None]
    return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """Segments have masks of their own."""


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """(1, H, N, d) queries, keys and values of all segments → (1, N, H, d)."""
    if s_aux is not None:
        raise ArchitectureError(f"{type(module).__name__} has attention sinks, which are not supported.")
    forward, layer = _forward.get(), int(module.layer_idx)  # type: ignore[arg-type]
    # half precision on a CPU builds a kernel for every new shape, and shapes grow with each token
    cpu = query.device.type == "cpu"
    wide = torch.promote_types(query.dtype, torch.float32) if cpu else query.dtype
    narrow = query.dtype if wide != query.dtype else None
    spec = AttentionSpec(
        query.shape[-1] ** -0.5 if scaling is None else scaling, softcap, sliding_window, narrow
    )
    sizes = [segment.rows for segment in forward.segments]
    rest = query.shape[2] - sum(sizes)
    # split: slices would each cost a tensor of zeros on the way back
    axes = (x.to(wide).squeeze(0) for x in (query, key, value))  # (H, N, d)
    parts = zip(*(torch.split(x, [*sizes, rest], 1) for x in axes), strict=True)
    found = []
    for segment, part in zip(forward.segments, parts, strict=False):
        rows = segment.embeds.shape[:2]
        q, k, v = (x.unflatten(1, rows).transpose(0, 1) for x in part)  # (C, H, T, d)
        if forward.keep_key_values:
            segment.states.append((k, v))
        if segment.own is not None:
            k, v = segment.own.write(layer, k, v)
        shared = segment.shared[layer] if segment.shared else None
        found.append(attend(q, (k, v), shared, segment.mask(sliding_window), spec))
    if rest:
        found.append(found[0].new_zeros(rest, *found[0].shape[1:]))
    return torch.cat(found)[None].to(query.dtype), None
