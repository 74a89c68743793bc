"""The frozen model that writes: prompts and their cache, drafting, soft reading. Knows no reward."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from transformers import DynamicCache

from langchain_sea._drafting import by_length, uniforms, write
from langchain_sea._template import Template
from langchain_sea.errors import PromptTooLongError
from langchain_sea.protocols import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.protocols import Tokens

__all__ = ["CausalLMPolicy", "PolicyPrompt"]


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPrompt:
    """A prompt with the states that the policy computed for it, once.

    Attributes:
        messages: the conversation, as it was given.
        ids: (P,) the prompt, from its begin token to where the answer begins.
        cache: per layer keys and values, (1, H, P-1, D) each, of all ids but the last.
    """

    messages: tuple[dict[str, Any], ...]
    ids: tuple[int, ...]
    cache: tuple[tuple[Tensor, Tensor], ...]

    @property
    def key(self) -> Hashable:
        """The ids: equal for equal content."""
        return self.ids


class CausalLMPolicy:
    """A causal language model of `transformers` with its tokenizer; neither is ever changed.

    Attributes:
        model: in evaluation mode; `tokenizer` is its own.
        vocab_size: V, the width of the logits.
        banned: (V,) bool, the ids that never stand inside an answer: special tokens, end ids, and ids that
            the tokenizer does not know.
        end_ids: those that end an answer.
        context: the most positions the model reads, or None where it names no bound.
        device: where the model's weights are.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat_template: str | None = None
    ) -> None:
        """Hold the parts.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's.
            chat_template: Jinja source; None takes the tokenizer's own.
        """
        if model.training:
            raise ValueError(
                "the model is in training mode, where dropout changes what it says; call eval()."
            )
        self.model, self.tokenizer = model, tokenizer
        self._template = Template(tokenizer, chat_template)
        config = model.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.device: torch.device = model.device
        self.end_ids = frozenset(_end_ids(model, tokenizer))
        known = set(tokenizer.get_vocab().values()) - self._template.special - self.end_ids
        self.banned = torch.tensor([i not in known for i in range(self.vocab_size)], device=self.device)
        self._never = self.banned.clone()  # what drafting never draws: an end id it may
        self._never[[i for i in self.end_ids if i < self.vocab_size]] = False
        accepted = inspect.signature(model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""
        return self._template.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids, without special tokens."""
        return self._template.decode(ids)

    def prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        room: int = 0,
    ) -> PolicyPrompt:
        """Write a conversation as a prompt and read it once.

        Args:
            messages: template dicts, oldest first; no string in them can become a control token.
            tools: JSON schemas for the template.
            room: how many tokens the answer must have room for.

        Raises:
            ChatTemplateError: there is no chat template, or it rejects the messages.
            PromptTooLongError: prompt and room exceed the context.
        """
        return self.prompt_from_ids(self._template.chat(messages, tools), messages, room)

    @torch.no_grad()
    def prompt_from_ids(
        self, ids: Sequence[int], messages: Sequence[dict[str, Any]], room: int = 0
    ) -> PolicyPrompt:
        """Read a prompt that a policy with an equal tokenizer wrote; `messages` are kept beside it."""
        if self.context is not None and len(ids) + room > self.context:
            raise PromptTooLongError(
                f"a prompt of {len(ids)} tokens with room for {room} more exceeds the policy's context of "
                f"{self.context}; shorten the conversation or ask for a shorter answer."
            )
        return PolicyPrompt(tuple(messages), tuple(ids), self._states(ids[:-1]))

    def read(self, prompt: PolicyPrompt, tokens: Tokens) -> Reading:
        """One forward of the answers after the prompt's cached states; differentiable in `tokens.soft`.

        Args:
            prompt: from `prompt`.
            tokens: C answers of T positions on K candidates; K = V stands for all ids in order.

        Returns:
            Logits (C, T, V) and hidden states (C, T, D), the last after the final norm; at least float32.
        """
        last = self._embed(torch.tensor([prompt.ids[-1:]], device=self.device))  # (1, 1, D)
        embeds = self._mix(tokens.soft.to(self.device), tokens.support.to(self.device)).to(last.dtype)
        # no mask: padding stands on the right only, and causal attention keeps it from what stands before
        output = self.model(
            inputs_embeds=torch.cat([last.expand(len(embeds), -1, -1), embeds], 1),  # (C, 1 + T, D)
            output_hidden_states=True,
            **self._past(_cache(prompt, len(embeds))),
        )
        hidden = tuple(_widened(states[:, 1:]) for states in output.hidden_states)
        return Reading(_widened(output.logits[:, :-1]), hidden)

    @torch.no_grad()
    def extend(
        self,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        go_on: Callable[[int], bool] = lambda _rows: True,
    ) -> list[list[int]]:
        """Write on from each prefix, until an end id, `tokens` new tokens, or the end of the context.

        Args:
            prompt: from `prompt`.
            prefixes: C answers begun; one that ends with an end id is finished.
            tokens: the most new tokens for each.
            temperature: 0 takes the most likely token and draws nothing.
            generators: C, one for each row: what a row draws depends on its own alone.
            go_on: asked before each step with the number of rows in it; False stops all drafting.

        Returns:
            C lists of new ids, without prefix and end id.
        """
        draws = uniforms(generators if temperature > 0 else [], len(prefixes), tokens)
        written: list[list[int]] = [[] for _ in prefixes]
        for length, rows in by_length(prefixes, self.end_ids).items():
            room = tokens if self.context is None else max(0, self.context - len(prompt.ids) - length)
            answers, went_on = write(
                partial(self._next, _cache(prompt, len(rows))),
                torch.tensor([[prompt.ids[-1], *prefixes[row]] for row in rows], device=self.device),
                draws[rows, :room],
                temperature=temperature,
                end_ids=self.end_ids,
                go_on=go_on,
            )
            for row, answer in zip(rows, answers, strict=True):
                written[row] = answer
            if not went_on:
                break
        return written

    def _next(self, cache: DynamicCache, ids: Tensor, remaining: list[int] | None) -> Tensor:
        """(R, V) logits after (R, N) ids, −∞ for what must not follow; the cache keeps `remaining` rows."""
        if remaining is not None:
            cache.batch_select_indices(torch.tensor(remaining, device=self.device))
        output = self.model(input_ids=ids, **self._past(cache), **self._last_only)
        logits: Tensor = output.logits[:, -1]
        return logits.masked_fill(self._never | ~logits.isfinite(), -torch.inf)

    def _states(self, ids: Sequence[int]) -> tuple[tuple[Tensor, Tensor], ...]:
        """The keys and values of every layer, (1, H, len(ids), D) each; nothing for no ids."""
        if not ids:
            return ()
        cache = DynamicCache()  # without a configuration no layer forgets, and the masks do the sliding
        rows = torch.tensor([ids], device=self.device)
        self.model.base_model(input_ids=rows, **self._past(cache))
        layers: Sequence[Any] = cache.layers
        return tuple((layer.keys, layer.values) for layer in layers)

    def _past(self, cache: DynamicCache) -> dict[str, Any]:
        return {self._cache_name: cache, "use_cache": True}

    def _mix(self, soft: Tensor, support: Tensor) -> Tensor:
        """Σₖ softₖ · embedding(k), (C, T, K) → (C, T, D), mixed in float32 or wider."""
        if soft.shape[-1] == self.vocab_size:
            table = _widened(self._embed(torch.arange(self.vocab_size, device=self.device)))  # (V, D)
            return torch.matmul(soft.to(table.dtype), table)
        ids, places = torch.unique(support, return_inverse=True)
        table = _widened(self._embed(ids))  # (U, D)
        places, weights = places.flatten(0, 1), soft.to(table.dtype).flatten(0, 1)
        # never (C, T, K, D): the bag sums as it reads, forward and backward
        return embedding_bag(places, table, mode="sum", per_sample_weights=weights).view(*soft.shape[:2], -1)

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """Through the module, since some scale what they look up; the weights get no gradient."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded


def _cache(prompt: PolicyPrompt, rows: int) -> DynamicCache:
    """A new cache for `rows` answers after the prompt: views at first, and nothing writes into them."""
    cache = DynamicCache()
    layers: Sequence[Any] = cache.layers
    for layer, (keys, values) in enumerate(prompt.cache):
        # an update copies, so it gets nothing to copy, and the layer then takes the views
        cache.update(keys[:, :, :0], values[:, :, :0], layer)
        layers[layer].keys = keys.expand(rows, -1, -1, -1)
        layers[layer].values = values.expand(rows, -1, -1, -1)
    return cache


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """What any of the places that name end ids says: one id, several, or none."""
    holders = (model.generation_config, model.config, model.config.get_text_config())
    named = [tokenizer.eos_token_id, *(getattr(holder, "eos_token_id", None) for holder in holders)]
    return {i for ids in named if ids is not None for i in ([ids] if isinstance(ids, int) else ids)}


def _widened(tensor: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
