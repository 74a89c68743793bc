"""One forward for the answers to many prompts, each after its own prompt's states. Knows no tokens, no text.

All rows of all prompts lie one after another on a single axis, so that every matrix product reads the weights
once for all of them; only attention looks at each prompt apart:

    softmax([q·Kₚᵀ ; q·Kₒᵀ]) · [Vₚ ; Vₒ]        p: the prompt's, one copy for all its chains; o: the answer's own

What a row becomes does not depend on which others stand beside it: norms and activations work row by row,
attention prompt by prompt, and products get a number of rows that their kernels treat alike (`_ROWS`). Shapes: C answers of one prompt, T positions, D width, H heads, G queries a key head.
"""

from __future__ import annotations

import copy
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from langchain_sea.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedModel

__all__ = ["Output", "Own", "Reader", "Segment", "States"]

_NAME = "langchain_sea"
_ROWS = 4  # the rows of a matrix product are a multiple of this: MKL sums the odd ones in another order
_MOST = 2**22  # attention weights of one segment held at once; beyond, a kernel that holds none
_SHIFTING = {"dynamic", "longrope"}  # rotations that change with the longest row of a forward

States = tuple[tuple[Tensor, Tensor], ...]
"""Per layer keys and values of a prompt, (H, P, d) each; empty for a prompt of no tokens."""


class Own:
    """Keys and values of C answers as they grow, in room that is taken once: `write` puts in place."""

    def __init__(self, rows: int, room: int) -> None:
        """Nothing is allocated before the first `write`; `room` is in tokens."""
        self.rows, self.room, self.length = rows, room, 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (C, H, T, d) to a layer; all of it, (C, H, length + T, d)."""
        if layer not in self._layers:
            rows, heads, _, size = keys.shape
            self._layers[layer] = tuple(x.new_empty(rows, heads, self.room, x.shape[-1]) for x in (keys, values))
        end = self.length + keys.shape[2]
        for store, new in zip(self._layers[layer], (keys, values), strict=True):
            store[:, :, self.length : end] = new
        found, others = self._layers[layer]
        return found[:, :, :end], others[:, :, :end]

    @classmethod
    def after(cls, prompt: States, rows: int, room: int) -> Own:
        """With a copy of the prompt before each answer: for few rows one kernel then sees all there is."""
        own = cls(rows, (prompt[0][0].shape[1] if prompt else 0) + room)
        for layer, states in enumerate(prompt):
            keys, values = (x.expand(rows, -1, -1, -1) for x in states)
            own.write(layer, keys, values)
        own.length = own.room - room
        return own

    def keep(self, rows: Tensor) -> None:
        """Only these rows, (C',), go on."""
        self.rows = len(rows)
        self._layers = {layer: (k[rows], v[rows]) for layer, (k, v) in self._layers.items()}


@dataclass(slots=True, eq=False)
class Segment:
    """C answers to one prompt that read T positions more.

    Attributes:
        embeds: (C, T, D).
        shared: the prompt's states.
        own: what the answers read before; it takes what they read now. None: nothing, and nothing is kept.
        start: positions before the first.
        states: filled by a reader that was asked to `keep`: per layer keys and values, (C, H, T, d).
    """

    embeds: Tensor
    shared: States = ()
    own: Own | None = None
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

    def mask(self, window: int | None) -> Tensor | None:
        """(T, start + T) True where a position must not look; None where it may look everywhere."""
        if window not in self._masks:
            length, start, device = self.embeds.shape[1], self.start, self.embeds.device
            ahead = torch.arange(start + length, device=device) - torch.arange(start, start + length, device=device)[:, None]
            # lengths decide, and no tensor is asked, which would wait for the device
            hidden = ahead > 0 if window is None else (ahead > 0) | (ahead <= -window)
            some = length > 1 or (window is not None and start + length > window)
            self._masks[window] = hidden if some else None
        return self._masks[window]


class Output(NamedTuple):
    """What one segment became."""

    hidden: dict[int, Tensor]  # of the layers asked for, (C, T, D): 0 the embeddings, L the last, normed
    last: Tensor | None  # (C, T, D) the last layer's, after the final norm; None if it was not asked for


@dataclass(slots=True)
class _Forward:
    """The forward that is under way."""

    segments: Sequence[Segment]
    layers: frozenset[int]
    stop: int | None
    keep: bool
    hidden: dict[int, Tensor] = field(default_factory=dict)


_forward: ContextVar[_Forward] = ContextVar("_forward")


class _EnoughError(Exception):
    """All that was asked for is there."""


class Reader:
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
        blocks = [m for m in self.model.base_model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
        if not blocks or not model._supports_attention_backend:  # noqa: SLF001 - there is no other way to ask
            raise ArchitectureError(
                f"{type(model).__name__} does not take its attention from transformers' AttentionInterface, "
                "or has no plain list of layers: it cannot be refined. Llama, Qwen, Mistral, Gemma, Phi, "
                "GPT-NeoX, GPT-2 and most decoders of transformers 5 can."
            )
        self.model.config._attn_implementation = _NAME  # noqa: SLF001 - the setter that checks needs a hub kernel
        config._attn_implementation = _NAME  # noqa: SLF001
        self.layers = len(blocks[0])
        for number, block in enumerate(blocks[0]):
            block.register_forward_pre_hook(partial(_before, number), with_kwargs=True)
        rope = getattr(config, "rope_parameters", None) or {}
        self._alone = bool(_SHIFTING & {str(rope.get("rope_type"))})

    def read(
        self,
        segments: Sequence[Segment],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep: bool = False,
    ) -> list[Output]:
        """One forward of all segments, differentiable in their `embeds`; `own` takes what was read.

        Args:
            segments: of any number of prompts.
            layers: whose states are wanted; nothing above the highest is run if `last` is False.
            last: whether the final states are wanted.
            keep: fill each segment's `states`.
        """
        if self._alone and len(segments) > 1:
            return [self.read([s], layers=layers, last=last, keep=keep)[0] for s in segments]
        wanted = frozenset(layers)
        top = max(wanted, default=0)
        stop = None if last or keep or top >= self.layers else top
        forward = _Forward(segments, wanted, stop, keep)
        total = sum(segment.rows for segment in segments)
        rows = torch.cat([segment.embeds.flatten(0, 1) for segment in segments])  # (N, D)
        places = [
            torch.arange(s.start, s.start + s.embeds.shape[1], device=rows.device).repeat(len(s.embeds)) for s in segments
        ]
        extra = -total % _ROWS
        token = _forward.set(forward)
        try:
            final = self.model.base_model(
                inputs_embeds=pad(rows, (0, 0, 0, extra))[None],
                position_ids=pad(torch.cat(places), (0, extra))[None],
                use_cache=False,
            ).last_hidden_state
        except _EnoughError:
            final = None
        finally:
            _forward.reset(token)
        if final is not None and self.layers in wanted:
            forward.hidden[self.layers] = final
        for segment in segments:
            if segment.own is not None:
                segment.own.length += segment.embeds.shape[1]
        return _parted(forward, final if last else None)

    @torch.no_grad()
    def states(self, embeds: Tensor) -> States:
        """The keys and values of a prompt, embedded, (1, P, D)."""
        if not embeds.shape[1]:
            return ()
        segment = Segment(embeds)
        self.read([segment], last=False, keep=True)
        return tuple((keys[0], values[0]) for keys, values in segment.states)


def _parted(forward: _Forward, final: Tensor | None) -> list[Output]:
    sizes = [segment.rows for segment in forward.segments]

    def parts(whole: Tensor) -> list[Tensor]:
        pieces = whole[0, : sum(sizes)].split(sizes)
        return [p.view(*s.embeds.shape[:2], -1) for p, s in zip(pieces, forward.segments, strict=True)]

    hidden = {layer: parts(states) for layer, states in forward.hidden.items()}
    lasts = [None] * len(sizes) if final is None else parts(final)
    return [Output({layer: found[i] for layer, found in hidden.items()}, lasts[i]) for i in range(len(sizes))]


def _before(number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """What goes into layer `number` is the state below it."""
    forward = _forward.get()
    if number in forward.layers:
        forward.hidden[number] = args[0] if args else kwargs["hidden_states"]
    if number == forward.stop:
        raise _EnoughError


def _no_mask(*_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - whatever transformers passes
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
    **_kwargs: Any,  # noqa: ANN401 - dropout, which is off, and what other kinds of attention take
) -> tuple[Tensor, None]:
    """(1, H, N, d) queries, keys and values of all segments → (1, N, H, d)."""
    if s_aux is not None:
        raise ArchitectureError(f"{type(module).__name__} has attention sinks, which are not supported.")
    forward, found, at = _forward.get(), [], 0
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    # half precision on a CPU builds a kernel for every new shape, and shapes grow with each token
    cpu = query.device.type == "cpu"
    wide = torch.promote_types(query.dtype, torch.float32) if cpu else query.dtype
    parts = (query.to(wide), key.to(wide), value.to(wide))
    for segment in forward.segments:
        rows, length = segment.embeds.shape[:2]
        mine = slice(at, at + rows * length)
        # (C, H, T, d)
        q, k, v = (x[0, :, mine].unflatten(1, (rows, length)).transpose(0, 1) for x in parts)
        if forward.keep:
            segment.states.append((k, v))
        if segment.own is not None:
            k, v = segment.own.write(layer, k, v)
        shared = segment.shared[layer] if segment.shared else None
        mask = segment.mask(sliding_window)
        found.append(_attend(q, k, v, shared, mask, scale, softcap))
        at = mine.stop
    rest = query.shape[2] - at
    return pad(torch.cat(found), (0, 0, 0, 0, 0, rest))[None].to(query.dtype), None


def _attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    scale: float,
    softcap: float | None,
) -> Tensor:
    """Queries (C, H, T, d) over a prompt's keys and their own, (C, Hₖ, S, d) → (C × T, H, d)."""
    rows, heads, length, _ = query.shape
    if shared is not None and rows * heads * length * (shared[0].shape[1] + keys.shape[2]) > _MOST:
        whole = [
            torch.cat([theirs.expand(rows, -1, -1, -1), own], 2)
            for theirs, own in zip(shared, (keys, values), strict=True)
        ]
        keys, values, shared = whole[0], whole[1], None
    many = query.reshape(rows, keys.shape[1], -1, query.shape[-1])  # (C, Hₖ, G·T, d)
    if shared is None and softcap is None and mask is None:
        found = scaled_dot_product_attention(many, keys, values, scale=scale)
    elif shared is None and softcap is None:
        found = scaled_dot_product_attention(query, keys, values, attn_mask=~mask, scale=scale, enable_gqa=True)
    else:
        found = _attend_both(many * scale, keys, values, shared, mask, softcap)
    return found.reshape(rows, heads, length, -1).transpose(1, 2).flatten(0, 1)


def _attend_both(
    many: Tensor,
    keys: Tensor,
    values: Tensor,
    shared: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    softcap: float | None,
) -> Tensor:
    """The equation of this module, in the open: scaled (C, Hₖ, G·T, d) → the same shape."""
    rows, groups = many.shape[:2]
    scores = many @ keys.transpose(-1, -2)  # (C, Hₖ, G·T, S)
    before = 0
    if shared is not None:
        before = shared[0].shape[1]
        flat = many.transpose(0, 1).flatten(1, 2)  # (Hₖ, C·G·T, d)
        theirs = (flat @ shared[0].transpose(-1, -2)).view(groups, rows, -1, before).transpose(0, 1)
        scores = torch.cat([theirs, scores], -1)  # (C, Hₖ, G·T, P + S)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is not None:
        scores = scores.unflatten(2, (-1, len(mask))).masked_fill(mask, -torch.inf).flatten(2, 3)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(values.dtype)
    found = weights[..., before:] @ values  # (C, Hₖ, G·T, d)
    if shared is None:
        return found
    flat = weights[..., :before].transpose(0, 1).flatten(1, 2)  # (Hₖ, C·G·T, P)
    return found + (flat @ shared[1]).view(groups, rows, -1, values.shape[-1]).transpose(0, 1)
