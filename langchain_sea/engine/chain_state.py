"""Values of the chains of one prompt. Shapes: C chains, T positions, K candidates, V vocabulary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from langchain_sea.core.trace import TraceStep
from langchain_sea.sampling.langevin import select_chains
from langchain_sea.sampling.relaxation import discretise, draft_logits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import Policy, Prompt
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.engine.ops import ValueAndGrad
    from langchain_sea.presets import ChainConfig
    from langchain_sea.sampling.langevin import LangevinState

__all__ = [
    "CachedGradient",
    "ChainState",
    "SearchSpace",
    "decode_top_k",
    "disallowed_candidates",
    "initial_logits",
    "stale_positions",
    "trace_step",
]

_MIN_LOG_PI = -1e4  # of banned ids in the initial logits: below all others and finite


class SearchSpace(NamedTuple):
    """The candidates that each chain chooses from at each position."""

    start_ids: Tensor  # (C, T) the text that a chain starts from
    context_ids: Tensor  # (C, T) the text from which the candidates were predicted
    mask: Tensor  # (C, T) bool, False for padding
    support: Tensor  # (C, T, K) ids of the candidates
    disallowed: Tensor  # (C, T, K) bool: candidates that must not be chosen

    def select(self, rows: Tensor) -> SearchSpace:
        """Return the chains with these indices, (C',)."""
        return SearchSpace(*(part[rows] for part in self))

    def masked(self, logits: Tensor) -> Tensor:
        """Return (C, T, K) logits with −∞ for what must not be chosen."""
        return logits.masked_fill(self.disallowed, -torch.inf)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the ids with the largest logits, (C, T), from (C, T, K) logits."""
        return discretise(self.masked(logits), self.support)


class CachedGradient(NamedTuple):
    """The energy and gradient at each chain's text, which hold for as long as the text does not change.

    This is so with straight-through tokens: energy and gradient depend on the argmax ids alone.
    """

    ids: Tensor  # (C, T) the text
    terms: EnergyTerms
    token_gradient: Tensor  # (C, T, K) in the tokens

    def replace_rows(self, rows: Tensor, ids: Tensor, result: ValueAndGrad) -> CachedGradient:
        """Return the cache with new texts, (C', T), and their results for the chains in `rows`, (C',)."""

        def put(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, rows, new)

        terms = self.terms.map(put, result.terms)
        return CachedGradient(put(self.ids, ids), terms, put(self.token_gradient, result.gradient))

    def select(self, rows: Tensor) -> CachedGradient:
        """Return the chains with these indices, (C',)."""
        return CachedGradient(self.ids[rows], self.terms.select(rows), self.token_gradient[rows])


class ChainState(NamedTuple):
    """Everything that belongs to the running chains; the first axis of every tensor is the chain."""

    numbers: tuple[int, ...]  # of the chains, as in the trace
    generators: tuple[torch.Generator, ...]
    space: SearchSpace
    sampler: LangevinState
    terms: EnergyTerms  # at the last evaluation
    ids: Tensor  # (C, T) the text at the last evaluation
    steps_unchanged: Tensor  # (C,) steps since a token changed; 0 if there is no `patience`
    cached_grad: CachedGradient | None = None

    def select(self, rows: Tensor) -> ChainState:
        """Return the chains with these indices, (C',)."""
        chosen = rows.tolist()
        return ChainState(
            numbers=tuple(self.numbers[i] for i in chosen),
            generators=tuple(self.generators[i] for i in chosen),
            space=self.space.select(rows),
            sampler=select_chains(self.sampler, rows),
            terms=self.terms.select(rows),
            ids=self.ids[rows],
            steps_unchanged=self.steps_unchanged[rows],
            cached_grad=None if self.cached_grad is None else self.cached_grad.select(rows),
        )

    def answers(self) -> list[list[int]]:
        """Return the chains' ids at the last evaluation, without padding."""
        return [ids[mask].tolist() for ids, mask in zip(self.ids, self.space.mask, strict=True)]


def disallowed_candidates(policy: Policy, prompt: Prompt, support: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return which candidates must not be chosen, (C, T, K): banned ids, and those outside the grammar.

    The ids of the text itself, (C, T), are allowed even if they are banned.
    """
    disallowed = policy.banned[support] & (support != ids[..., None])
    if prompt.has_grammar:
        for row, own in enumerate(mask):
            allowed = prompt.allowed_candidates(ids[row][own].tolist(), support[row][own])
            disallowed[row, own] |= ~allowed.to(disallowed.device)
    return disallowed


def initial_logits(policy: Policy, config: ChainConfig, log_pi: Tensor, ids: Tensor, support: Tensor) -> Tensor:
    """Return logits, (C, T, K), whose argmax is the text, (C, T); see `draft_logits`."""
    allowed = log_pi.masked_fill(policy.banned[support], _MIN_LOG_PI)
    return draft_logits(allowed, ids, support, temperature=config.init_temperature, margin=config.init_margin)


def stale_positions(space: SearchSpace, ids: Tensor) -> Tensor:
    """Return the positions, (C, T) bool, right of a token that differs from the candidates' context."""
    changed = ((ids != space.context_ids) & space.mask).cumsum(1) > 0
    return pad(changed, (1, -1)) & space.mask


def decode_top_k(space: SearchSpace, logits: Tensor, policy_logits: Tensor, top_k: int) -> Tensor:
    """Return the ids with the largest logits among the policy's `top_k` likeliest ones, (C, T).

    The candidates are the whole vocabulary, so that a candidate's place is its id.
    """
    likely = space.masked(policy_logits)
    allowed = likely.topk(min(top_k, likely.shape[-1])).indices
    return discretise(space.masked(logits).gather(-1, allowed), allowed)


def trace_step(state: ChainState, gaps: Sequence[float | None], seconds: float) -> TraceStep:
    """Return the record of the last evaluation.

    Args:
        state: the chains after it.
        gaps: of each chain the energy of its decoded text minus that at the relaxed tokens, where it is known.
        seconds: that the step took.
    """
    terms, space = state.terms, state.space
    changed = ((state.ids != space.start_ids) & space.mask).sum(1)
    return TraceStep(
        step=state.sampler.step,
        chains=state.numbers,
        energy=tuple(terms.energy.tolist()),
        nll=tuple(terms.nll.tolist()),
        rewards=tuple(tuple(row) for row in terms.rewards.tolist()),
        gap=tuple(gaps),
        changed=tuple(changed.tolist()),
        seconds=round(seconds, 4),
        min_gradient_cosine=tuple(x if math.isfinite(x) else None for x in terms.min_gradient_cosine.tolist()),
    )
