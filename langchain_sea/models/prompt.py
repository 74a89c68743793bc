"""A prompt with its states, and what the policy makes of answers after it. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from langchain_sea.core.protocols import Tokens
from langchain_sea.models.soft_embeddings import to_float32_or_wider

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from langchain_sea.models.batched_forward import SequenceOutput
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.lm_head import LMHead

__all__ = ["Grammar", "Matching", "PolicyPrompt", "PolicyReading"]


class Matching(Protocol):
    """One answer on its way through a grammar."""

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next, the end among it where the answer may end."""

    def take(self, token: int) -> None:
        """Go on with an allowed token."""


class Grammar(Protocol):
    """What answers may be."""

    def begin(self, prefix: Sequence[int] = ()) -> Matching:
        """An answer from what is written of it."""

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether these are a whole answer."""

    def fits(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """(T, K) bool: which candidates may stand in a whole answer's place, all else left as it is."""

    def close(self, ids: Sequence[int], most: int) -> list[int] | None:
        """An answer begun, brought to a short end with at most so many tokens more, if it can be."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPrompt:
    """A prompt with the states that the policy computed for it, once.

    Attributes:
        messages: the conversation, as it was given.
        ids: (P,) the prompt, from its begin token to where the answer begins.
        states: per layer keys and values, (H, P+N-1, d) each, of all ids and the answer's but the last.
        answer: (N,) what of the answer stands already.
        hidden: per layer that was wanted the answer's states, (N, D).
        log_probs: (N,) log π of the answer's ids, if they were wanted.
        grammar: bounds what the answer may be, token by token; None lets it be anything.
    """

    messages: tuple[dict[str, Any], ...]
    ids: tuple[int, ...]
    states: KeyValues
    answer: tuple[int, ...] = ()
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    log_probs: Tensor | None = None
    grammar: Grammar | None = None

    @property
    def has_grammar(self) -> bool:
        """Whether a grammar says what the answer may be."""
        return self.grammar is not None

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """A whole answer of these and at most so many more; None where there is none."""
        if self.grammar is None or self.grammar.accepts(ids):
            return list(ids)
        return self.grammar.close(ids, max_new_tokens)

    def allowed_candidates(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """(T, K) bool: which candidates may take the place of one of a whole answer's T ids."""
        if self.grammar is None:
            return torch.ones(support.shape, dtype=torch.bool)
        return self.grammar.fits(ids, support.cpu())

    @property
    def key(self) -> Hashable:
        """The ids: equal for equal content."""
        return (self.ids, self.answer) if self.answer else self.ids

    @property
    def last(self) -> int:
        """The newest id, whose states are not there."""
        return (self.answer or self.ids)[-1]


class PolicyReading:
    """What the policy made of answers; of the logits only those that are asked for."""

    output: SequenceOutput

    def __init__(self, head: LMHead, prompt: PolicyPrompt) -> None:
        """Hold the output layer, and what the prompt knows; `output` follows."""
        self._head, self._prompt = head, prompt

    @property
    def _before(self) -> Tensor:
        """(C, T, D) the final states from which the token at t is predicted."""
        if self.output.last is None:
            raise LookupError("nobody said beforehand that the logits are wanted; see `Wants`.")
        return self.output.last[:, :-1]

    @cached_property
    def logits(self) -> Tensor:
        """(C, T, V), at least float32, of the tokens after the prompt's answer; kept once computed."""
        return self._head.logits(self._before)

    @property
    def hidden(self) -> Mapping[int, Tensor]:
        """Per layer that was wanted, (C, T, D), the last after the final norm; at least float32."""
        known = self._prompt.hidden
        return {
            layer: to_float32_or_wider(_behind(known.get(layer), states[:, 1:]))
            for layer, states in self.output.hidden.items()
        }

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T); differentiable in the tokens."""
        stands = len(self._prompt.answer)
        new = Tokens(*(part[:, stands:] for part in tokens))
        if new.support.shape[-1] == len(self._head.weight):
            found = new.log_probs(self.logits)
        else:
            found = self._head.log_probs(self._before, new.soft, new.support)
        return _behind(self._prompt.log_probs, found)

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest ids at each position and their log π, (C, T, K).

        Of the tokens after the prompt's answer; `ids`, (C, T), stand first, banned ones last.
        """
        support = self._head.top_k(self._before, ids, size, banned)
        return support, self._head.log_probs_at(self._before, support)


def _behind(known: Tensor | None, new: Tensor) -> Tensor:
    """(C, N + T, …): what is known of N positions for all, (N, …), before what is new, (C, T, …)."""
    if known is None:
        return new
    return torch.cat([known.to(new.dtype).expand(len(new), *known.shape), new], 1)
