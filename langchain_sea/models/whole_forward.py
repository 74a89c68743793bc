"""Forward passes through a model's own forward function, for models that cannot be packed on one axis.

A layer that keeps a state (linear attention, a convolution) reads one axis as one text, so that each answer needs a
row of its own. What stands before an answer is read again in every pass; only generation goes on from the model's own
cache. Each pass reads the answers to one prompt: C rows of equal length, padded on the right at most, where a causal
model does not look. Knows no tokens and no text.

What a prompt keeps (`KeyValues`) is then one pair instead of one for each layer: the embeddings that were read, and
whether steering was added to them.

Shapes: C answers of one prompt, S earlier positions, T new positions, D width.
"""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.batched_forward import SequenceOutput
from langchain_sea.models.hooked_model import copy_sharing_weights
from langchain_sea.models.kv_cache import GrowingKVCache, KeyValues, ModelCache, PackedSequence
from langchain_sea.models.packed_linear import pack_linear_layers
from langchain_sea.models.probe import embed_probe, is_close

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = ["WholeSequenceRunner"]

_CACHE_NAMES = ("cache", "past_key_values", "cache_params")  # of a forward function; later releases have the first


@dataclass(slots=True)
class _WholePass:
    """The forward pass in progress, of one sequence."""

    layers: frozenset[int]
    stop: int | None
    num_new: int
    steering_layer: int | None = None
    steering: Tensor | None = None  # added to the input of that layer, (C, S + T, D)
    hidden: dict[int, Tensor] = field(default_factory=dict)


_whole_pass: ContextVar[_WholePass] = ContextVar("_whole_pass")


class _StopForwardError(Exception):
    """Ends a forward pass early, once all requested layers are computed."""


class WholeSequenceRunner:
    """Runs any causal model of `transformers`, one prompt's answers at a time; the model itself is not changed.

    Attributes:
        model: a copy of the modules that shares the weights.
        num_layers: L.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copy the model's modules, not its weights.

        Raises:
            ArchitectureError: it has no list of layers.
        """
        self.model = copy_sharing_weights(model)
        pack_linear_layers(self.model)
        self._decoder: Any = _decoder_of(self.model)
        layers = _layers_of(self._decoder, self.model)
        self.num_layers = len(layers)
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(_before_layer, number), with_kwargs=True)
        parameters = inspect.signature(self._decoder.forward).parameters
        self._cache_name = next((name for name in _CACHE_NAMES if name in parameters), None)
        self._takes_positions = "position_ids" in parameters

    def forward(
        self,
        sequences: Sequence[PackedSequence],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep_key_values: bool = False,
    ) -> list[SequenceOutput]:
        """Run one sequence after another, differentiable in `embeds` and in steering; their caches are filled.

        Args:
            sequences: of any number of prompts. Their `begin` is not used: it would save little here.
            layers: whose states are returned; nothing above the highest is run if `last` is False.
            last: whether the final states are returned.
            keep_key_values: fill each sequence's `key_values`.
        """
        requested = frozenset(layers)
        outputs = [self._forward_one(sequence, requested, last=last) for sequence in sequences]
        if keep_key_values:
            for sequence in sequences:
                sequence.key_values.append(_kept(sequence))
        return outputs

    def prompt_key_values(self, embeds: Tensor) -> KeyValues:
        """Return the one pair that stands for one embedded prompt, (1, P, D); nothing is computed."""
        return ((embeds.detach(), embeds.new_zeros(*embeds.shape[:2], 1)),) if embeds.shape[1] else ()

    def read_prompts(self, prompts: Sequence[Tensor]) -> list[KeyValues]:
        """Return what stands for each of the embedded prompts."""
        return [self.prompt_key_values(rows) for rows in prompts]

    def _forward_one(self, sequence: PackedSequence, layers: frozenset[int], *, last: bool) -> SequenceOutput:
        rows, is_steered = _whole_rows(sequence)
        num_new = sequence.embeds.shape[1]
        top = max(layers, default=0)
        whole_pass = _WholePass(layers, None if last or top >= self.num_layers else top, num_new)
        if sequence.steering is not None:
            vectors = sequence.steering.vectors.to(rows)[:, None]  # (C, 1, D)
            whole_pass.steering_layer, whole_pass.steering = sequence.steering.layer, is_steered * vectors
        grows = sequence.cache is not None and last and not torch.is_grad_enabled()
        if grows and self._goes_on_from_cache:
            assert sequence.cache is not None
            final = self._go_on(rows, sequence.cache, sequence.start, whole_pass)
        else:
            final = self._run(rows, whole_pass)
        if final is not None:
            final = final[:, -num_new:]
            if self.num_layers in layers:
                whole_pass.hidden[self.num_layers] = final
        return SequenceOutput(whole_pass.hidden, final if last else None)

    def _run(self, rows: Tensor, whole_pass: _WholePass, model_cache: ModelCache | None = None) -> Tensor | None:
        """Return the final states of the rows, (C, S + T, D), or None if the pass ended early.

        Rows that go on from a cache are the new ones alone.
        """
        options: dict[str, Any] = {"use_cache": False}
        if model_cache is not None and self._cache_name is not None:
            start = model_cache.length
            options = {"use_cache": True, self._cache_name: model_cache.cache}
            if self._takes_positions:  # counting what the first layer keeps would be wrong if it is no attention
                options["position_ids"] = torch.arange(start, start + rows.shape[1], device=rows.device)[None]
        token = _whole_pass.set(whole_pass)
        try:
            final: Tensor = self._decoder(inputs_embeds=rows, **options).last_hidden_state
        except _StopForwardError:
            return None
        finally:
            _whole_pass.reset(token)
        return final.to(rows.dtype)  # Mamba's are float32, and cast before its output layer

    def _go_on(self, rows: Tensor, kept: GrowingKVCache, start: int, whole_pass: _WholePass) -> Tensor | None:
        """Read what the model's cache has not read yet of (C, S + T, D); a pass that fails leaves no cache."""
        model_cache, kept.model_cache = kept.model_cache, None
        goes_on_by_one = rows.shape[1] - start == 1  # some layers take several positions for a beginning
        if model_cache is None or model_cache.length != start or not goes_on_by_one:
            model_cache = self._read_once(rows[:, :start]) if goes_on_by_one else self._empty_cache()
        new = slice(model_cache.length, None)
        if whole_pass.steering is not None:
            whole_pass.steering = whole_pass.steering[:, new]
        final = self._run(rows[:, new], whole_pass, model_cache)
        model_cache.length = rows.shape[1]
        kept.model_cache = model_cache
        return final

    def _empty_cache(self) -> ModelCache:
        return ModelCache(DynamicCache(config=self.model.config), 0)

    def _read_once(self, rows: Tensor) -> ModelCache:
        """Return the cache of the first S positions, (C, S, D), if all rows have the same, as after a prompt."""
        model_cache = self._empty_cache()
        if rows.shape[1] and torch.equal(rows, rows[:1].expand_as(rows)):
            self._run(rows[:1], _nothing(), model_cache)
            model_cache.select_rows(torch.zeros(len(rows), dtype=torch.long, device=rows.device))
            model_cache.length = rows.shape[1]
        return model_cache

    @cached_property
    def _goes_on_from_cache(self) -> bool:
        """Whether the model's cache goes on as the plain forward does, after rows were dropped, too.

        Tried once, on a few tokens: caches differ from model to model, and the plain forward is always right.
        """
        if self._cache_name is None:
            return False
        rows = embed_probe(self.model)  # (2, 6, D)
        kept = GrowingKVCache(2, 6)
        try:
            expected = self._run(rows, _nothing())
            self._go_on(rows[:, :4], kept, 0, _nothing())
            self._go_on(rows[:, :5], kept, 4, _nothing())
            assert kept.model_cache is not None
            kept.model_cache.select_rows(torch.tensor([1], device=rows.device))
            final = self._go_on(rows[1:], kept, 5, _nothing())
        except Exception:  # noqa: BLE001 - whatever a model's cache cannot do, the plain forward can
            return False
        assert final is not None
        assert expected is not None
        return is_close(final[:, -1], expected[1:, -1])


def _nothing() -> _WholePass:
    """A forward pass that adds and records nothing."""
    return _WholePass(frozenset(), None, 0)


def _decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the model without its output layer."""
    base: nn.Module = model.base_model
    if base is model and model.get_output_embeddings() is not None:  # type: ignore[no-untyped-call]
        # a class that misnames its decoder
        return next((part for part in model.children() if isinstance(part, PreTrainedModel)), base)
    return base


def _layers_of(decoder: nn.Module, model: PreTrainedModel) -> nn.ModuleList:
    count = model.config.get_text_config().num_hidden_layers
    for module in decoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    layers = getattr(decoder, "layers", None)  # fewer than the configuration counts where one layer holds two
    if isinstance(layers, nn.ModuleList):
        return layers
    raise ArchitectureError(
        f"{type(model).__name__} has no list of {count} layers, so that it cannot be steered; use another model."
    )


def _whole_rows(sequence: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return all embeddings that an answer has, (C, S + T, D), and where steering belongs, (C, S + T, 1).

    Generation steers the tokens that it reads, and so those that it read before, but not the prompt.
    """
    rows = sequence.embeds
    is_steered = rows.new_full((*rows.shape[:2], 1), sequence.steering is not None)
    if sequence.cache is not None:
        pair = sequence.cache.append(0, rows[:, None], is_steered[:, None])
        rows, is_steered = (part.squeeze(1) for part in pair)
    if sequence.prompt_key_values:
        prompt = (part.expand(len(rows), -1, -1) for part in sequence.prompt_key_values[0])
        rows, is_steered = (torch.cat(pair, 1) for pair in zip(prompt, (rows, is_steered), strict=True))
    return rows, is_steered


def _kept(sequence: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return what stands for keys and values of the new positions: (C, 1, T, D) and (C, 1, T, 1)."""
    embeds = sequence.embeds[:, None]
    return embeds, embeds.new_full((*embeds.shape[:3], 1), sequence.steering is not None)


def _before_layer(
    number: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Record the input of layer `number` at the new positions, and add the steering to it."""
    whole_pass = _whole_pass.get()
    is_steered = number == whole_pass.steering_layer
    if not is_steered and number not in whole_pass.layers:
        return None
    states = args[0] if args else kwargs["hidden_states"]
    if states.dim() != 3:  # noqa: PLR2004 - (C, S + T, D)
        raise ArchitectureError(
            f"{type(module).__name__} reads states of shape {tuple(states.shape)} instead of one state for each "
            "token: it can neither be steered nor read at this layer. Use another model."
        )
    if number in whole_pass.layers:
        whole_pass.hidden[number] = states[:, -whole_pass.num_new :]
    if number == whole_pass.stop:
        raise _StopForwardError
    if not is_steered or whole_pass.steering is None:
        return None
    states = states + whole_pass.steering.to(states.dtype)
    return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})
