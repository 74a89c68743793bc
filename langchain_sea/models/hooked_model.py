"""A copy of a decoder whose layers report to the forward pass in progress. Knows no layout of rows.

The copy shares the weights. Its attention, the steering of its layers, and where it begins and ends are decided by the
`ForwardPass` that runs it, so that one model serves several layouts of the rows of many prompts.

Shapes: B rows of T positions; D width, H heads, d width of a head.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.attention import AttentionSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

__all__ = ["ATTENTION_TYPES", "ForwardPass", "HookedModel", "compile_dynamically", "copy_sharing_weights"]

_NAME, _COMPILED_NAME = "langchain_sea", "langchain_sea_compiled"
_MAX_COMPILATIONS = 64
ATTENTION_TYPES = {"full_attention", "sliding_attention"}


@dataclass(slots=True, kw_only=True)
class ForwardPass(ABC):
    """One run of a `HookedModel`.

    Attributes:
        layers: whose inputs are recorded; L, their number, is the output of the last one.
        stop: the layer at which the pass ends, or None.
        first: layers below it are not computed.
        hidden: the recorded inputs, in the layout of the pass.
        told_windows: sliding windows that the attention was called with.
        masked_windows: and those of the masks that the model made.
    """

    layers: frozenset[int] = frozenset()
    stop: int | None = None
    first: int = 0
    hidden: dict[int, Tensor] = field(default_factory=dict)
    told_windows: set[int] = field(default_factory=set)
    masked_windows: set[int] = field(default_factory=set)

    @abstractmethod
    def begin_states(self) -> Tensor:
        """Return the input of layer `first`, where that is above 0."""

    @abstractmethod
    def steering(self, layer: int) -> Tensor | None:
        """Return what is added to the input of a layer, or None."""

    @abstractmethod
    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec) -> Tensor:
        """Attend from (B, H, T, d) queries, keys and values, giving (B, T, H, d)."""


_current: ContextVar[ForwardPass] = ContextVar("_current")


class _StopForwardError(Exception):
    """Ends a forward pass early, once all requested layers are computed."""


class HookedModel:
    """A decoder of `transformers` that runs under a `ForwardPass`; the model itself is not changed.

    Attributes:
        model: a copy of the modules that shares the weights.
        num_layers: L.
    """

    def __init__(self, model: PreTrainedModel, *, compiles: bool = False) -> None:
        """Copy the model's modules, not its weights, and install this package's attention in the copy.

        Args:
            model: a decoder.
            compiles: whether each layer is compiled when it first runs; all layers of a kind share the result.

        Raises:
            ArchitectureError: the attention of the model cannot be replaced, or it has no list of layers.
        """
        name = _COMPILED_NAME if compiles else _NAME
        # a compiler leaves the attention alone: it asks the pass in progress what to do
        AttentionInterface.register(name, torch.compiler.disable(_attention) if compiles else _attention)  # type: ignore[no-untyped-call]
        AttentionMaskInterface.register(name, _no_mask)
        self.model = copy_sharing_weights(model)
        blocks = _decoder_layers(self.model)
        # the checked setter would look for a kernel on the hub
        for holder in (self.model.config, self.model.config.get_text_config()):
            holder._attn_implementation = name  # noqa: SLF001
        self.num_layers = len(blocks)
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(partial(_before_layer, number), with_kwargs=True)
            block.forward = _Skippable(number, compile_dynamically(block.forward) if compiles else block.forward)

    def run(
        self, forward_pass: ForwardPass, embeds: Tensor, position_ids: Tensor, mask: Tensor | None
    ) -> Tensor | None:
        """Return the final states, or None if the pass ended early.

        Args:
            forward_pass: decides the attention, and records what it asks for.
            embeds: (B, T, D).
            position_ids: (B, T).
            mask: this package's attention does not look at it. A tensor of one element and four axes keeps
                `transformers` from making one, for which it would wait for the device.
        """
        token = _current.set(forward_pass)
        try:
            final: Tensor = self.model.base_model(
                inputs_embeds=embeds, position_ids=position_ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
        except _StopForwardError:
            return None
        finally:
            _current.reset(token)
        if self.num_layers in forward_pass.layers:
            forward_pass.hidden[self.num_layers] = final
        return final


def compile_dynamically(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled for tensors of any size: compiling it for each size would take minutes."""
    # imported here, because that takes a second
    import torch._dynamo.config as dynamo_config  # noqa: PLC0415
    import torch._functorch.config as functorch_config  # noqa: PLC0415

    # a graph replays the backward pass as often as it is asked to
    functorch_config.donated_buffer = False
    # layers share a compiled function for each combination of one or several rows, tokens, and gradients
    dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, _MAX_COMPILATIONS)
    return torch.compile(function, dynamic=True)


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
    other_types = set(getattr(config, "layer_types", None) or ()) - ATTENTION_TYPES
    replaceable = model._supports_attention_backend and not model._is_stateful  # noqa: SLF001 - no public flag
    if not lists or other_types or not replaceable:
        raise ArchitectureError(
            f"{type(model).__name__} cannot be packed: it does not use transformers' AttentionInterface, has layers "
            f"other than attention {sorted(other_types) or ''}, or has no list of layers."
        )
    return lists[0]


class _Skippable:
    """The forward function of a layer, which does nothing where the forward pass begins at a later one."""

    def __init__(self, number: int, forward: Callable[..., Any]) -> None:
        self._number, self._forward = number, forward
        self._returns_tuple = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the layer's own
        if self._number < _current.get().first:
            states = args[0] if args else kwargs["hidden_states"]
            return (states,) if self._returns_tuple else states
        result = self._forward(*args, **kwargs)
        self._returns_tuple = isinstance(result, tuple)  # the prompt was read before, so that this is known
        return result


def _before_layer(
    number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Record the input of layer `number`, and add the steering of the forward pass to it."""
    forward_pass = _current.get()
    if number < forward_pass.first:
        return None
    states = args[0] if args else kwargs["hidden_states"]
    if number == forward_pass.first and number:
        states = forward_pass.begin_states().to(states)
    if number in forward_pass.layers:
        forward_pass.hidden[number] = states
    if number == forward_pass.stop:
        raise _StopForwardError
    steering = forward_pass.steering(number)
    if steering is not None:
        states = states + steering
    return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})


def _no_mask(*_args: Any, local_size: int | None = None, **_kwargs: Any) -> None:
    """Return no mask: the forward pass has its own. The window of the mask, `local_size`, is noted."""
    if local_size is not None:
        _current.get().masked_windows.add(local_size)


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
    """Attend as the forward pass in progress does: (B, H, T, d) queries, keys and values → (B, T, H, d)."""
    if attention_mask is not None and attention_mask.numel() > 1:  # the layer hides more than what lies ahead
        raise ArchitectureError(f"{type(module).__name__} has an attention mask of its own.")
    forward_pass = _current.get()
    if sliding_window is not None:
        forward_pass.told_windows.add(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    spec = AttentionSpec(scale, softcap, sliding_window, sinks=s_aux)
    return forward_pass.attend(layer, query, key, value, spec), None
