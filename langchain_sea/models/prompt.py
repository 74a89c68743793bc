"""A prompt that a policy has read, and the policy's output for answers after it. Knows no model."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.core.protocols import LayerInput, Tokens
from langchain_sea.models.soft_embeddings import to_float32_or_wider

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from langchain_sea.core.protocols import Grammar
    from langchain_sea.models.batched_forward import SequenceOutput
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.lm_head import LMHead

__all__ = ["PolicyOutput", "PolicyPrompt", "Prefill", "part_after"]


class Prefill:
    """Keys and values of a prompt, computed when they are first read.

    So the thread that steps the engine computes them, and not each thread that prepares a call: on a CPU every
    thread that computes keeps OpenMP workers, which slow each other down.
    """

    def __init__(self, compute: Callable[[], KeyValues], ids: tuple[int, ...] = ()) -> None:
        """Hold what computes them.

        Args:
            compute: called once, unless `fill` is called before.
            ids: of the prompt, which a policy may read together with others; empty if it may not.
        """
        self._ids = ids
        self._compute: Callable[[], KeyValues] | None = compute
        self._key_values: KeyValues = ()
        self._lock = threading.Lock()

    @property
    def key_values(self) -> KeyValues:
        """One pair of (H, T, d) per layer."""
        with self._lock:
            if self._compute is not None:
                self._key_values = self._compute()
                self._compute = None
        return self._key_values

    @property
    def unread_ids(self) -> tuple[int, ...]:
        """The ids of a prompt whose keys and values are still to be computed; else none."""
        return self._ids if self._compute is not None else ()

    def fill(self, key_values: KeyValues) -> None:
        """Take keys and values that were computed together with those of other prompts."""
        with self._lock:
            if self._compute is not None:
                self._key_values, self._compute = key_values, None


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPrompt:
    """A prompt with what the policy computed for it, once.

    Attributes:
        messages: the conversation, unchanged.
        ids: (P,) the prompt, from its begin token to where the answer begins.
        prefill: the keys and values, (H, P+N-1, d), of the prompt and the answer without the last id.
        answer: (N,) the ids of the answer that are already fixed.
        hidden: the answer's states, (N, D) per requested layer.
        log_probs: (N,) log π of the answer's ids, if requested.
        grammar: constrains the answer token by token; None allows any answer.
        before_opening: the prompt without the words that were put before the answer; None if there are none.
    """

    messages: tuple[dict[str, Any], ...]
    ids: tuple[int, ...]
    prefill: Prefill
    answer: tuple[int, ...] = ()
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    log_probs: Tensor | None = None
    grammar: Grammar | None = None
    before_opening: PolicyPrompt | None = None

    @property
    def opening(self) -> tuple[int, ...]:
        """The ids of the words that were put before the answer; empty if there are none."""
        return self.ids[len(self.before_opening.ids) :] if self.before_opening else ()

    @property
    def key_values(self) -> KeyValues:
        """One pair of (H, P+N-1, d) per layer; the first access computes them."""
        return self.prefill.key_values

    @property
    def has_grammar(self) -> bool:
        """Whether a grammar constrains the answer."""
        return self.grammar is not None

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """Complete an answer with at most `max_new_tokens` tokens; None if the grammar needs more."""
        if self.grammar is None or self.grammar.is_complete(ids):
            return list(ids)
        return self.grammar.complete(ids, max_new_tokens)

    def allowed_candidates(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """Return (T, K) bool: which candidates may replace one of the T ids of a complete answer."""
        if self.grammar is None:
            return torch.ones(support.shape, dtype=torch.bool)
        return self.grammar.allowed_candidates(ids, support.cpu())

    @property
    def key(self) -> Hashable:
        """The ids: equal for equal content."""
        return (self.ids, self.answer) if self.answer else self.ids

    @property
    def num_read(self) -> int:
        """How many ids have keys and values: all but the newest."""
        return len(self.ids) + len(self.answer) - 1

    @property
    def last(self) -> int:
        """The newest id, whose keys and values are not computed yet."""
        return (self.answer or self.ids)[-1]


class PolicyOutput:
    """The policy's output for C answers to one prompt; logits are computed when they are needed."""

    def __init__(
        self, head: LMHead, prompt: PolicyPrompt, output: SequenceOutput, log_probs: Tensor | None = None
    ) -> None:
        """Hold the output layer, the prompt, and the states of the new tokens.

        Args:
            head: the output layer.
            prompt: the prompt.
            output: of the last id before the new tokens and of these.
            log_probs: log π of the new tokens' ids, (C, T), if they were computed with those of other prompts.
        """
        self._head, self._prompt, self._output, self._log_probs = head, prompt, output, log_probs

    @property
    def _predicting(self) -> Tensor:
        """The final states that predict the tokens, (C, T, D): those of the token before each."""
        if self._output.last is None:
            raise LookupError(
                "the logits were not computed: request them with OutputSpec(logits=True) in required_outputs()."
            )
        return self._output.last[:, :-1]

    @cached_property
    def logits(self) -> Tensor:
        """(C, T, V), at least float32, of the tokens after the prompt's answer; cached."""
        return self._head.logits(self._predicting)

    @property
    def hidden(self) -> Mapping[int, Tensor]:
        """(C, T, D) per requested layer, the last one after the final norm; at least float32.

        Without the tokens of the prompt's answer where these were read without the layer.
        """
        known = self._prompt.hidden
        return {
            layer: to_float32_or_wider(_prepend(known.get(layer), states[:, 1:]))
            for layer, states in self._output.hidden.items()
        }

    def layer_input(self, layer: int) -> LayerInput:
        """Return what a requested layer below the last has read of the new tokens and of the one before them."""
        return LayerInput(layer, self._output.hidden[layer])

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Compute Σₖ softₖ · log π(k), (C, T); differentiable in the tokens."""
        new = part_after(tokens, len(self._prompt.answer))
        if self._log_probs is not None and new.support.shape[-1] == 1:
            log_probs = self._log_probs
        elif new.support.shape[-1] == len(self._head.weight):
            log_probs = new.log_probs(self.logits)
        else:
            log_probs = self._head.log_probs(self._predicting, new.soft, new.support)
        return _prepend(self._prompt.log_probs, log_probs)

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """Find the likeliest ids of each new token and their log π, (C, T, K) each.

        Args:
            ids: (C, T), which come first among the candidates.
            size: K.
            banned: (V,) bool, ids that come last.
        """
        support = self._head.top_k(self._predicting, ids, size, banned)
        return support, self._head.log_probs_at(self._predicting, support)


def part_after(tokens: Tokens, count: int) -> Tokens:
    """Return all but the first tokens of each answer."""
    return Tokens(*(part[:, count:] for part in tokens))


def _prepend(known: Tensor | None, new: Tensor) -> Tensor:
    """Put what is known of the prompt's N answer tokens, (N, …), before (C, T, …): (C, N + T, …)."""
    if known is None:
        return new
    return torch.cat([known.to(new.dtype).expand(len(new), *known.shape), new], 1)
