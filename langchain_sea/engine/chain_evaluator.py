"""Where the chains' energy is evaluated: which candidates there are, what is read, and what is decoded.

Shapes: C chains, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_sea.engine.chain_state import (
    CachedGradient,
    SearchSpace,
    decode_top_k,
    disallowed_candidates,
    initial_logits,
    stale_positions,
)
from langchain_sea.engine.ops import ForwardOp, GradientOp
from langchain_sea.sampling.langevin import reindex
from langchain_sea.sampling.relaxation import discretise, full_support, match_candidates, straight_through_vjp

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.engine.chain_state import ChainState
    from langchain_sea.engine.ops import Op
    from langchain_sea.presets import ChainConfig

__all__ = ["ChainEvaluation", "ChainEvaluator"]


class ChainEvaluation(NamedTuple):
    """The energy at a point, with its gradient in the logits."""

    terms: EnergyTerms
    gradient: Tensor  # (C, T, K)
    policy_logits: Tensor | None = None  # (C, T, V), with `top_k`
    cached_grad: CachedGradient | None = None


@dataclass(frozen=True, slots=True)
class ChainEvaluator:
    """The energy of one prompt's chains, with the settings that decide how it is read.

    Attributes:
        energy: what is minimised.
        prompt: the prompt.
        config: the settings of the chains.
    """

    energy: Energy
    prompt: Prompt
    config: ChainConfig

    def choose_candidates(self, ids: Tensor, mask: Tensor) -> Generator[Op, Any, tuple[SearchSpace, Tensor]]:
        """Return the candidates after each start, (C, T) ids, and logits at which the starts are decoded."""
        output = yield self._forward_op(ids, mask)
        policy, size = self.energy.policy, self.config.num_candidates
        if size is None:
            log_pi = output.logits.log_softmax(-1)
            support = full_support(ids, log_pi.shape[-1])
        else:
            support, log_pi = output.candidates(ids, size, policy.banned)
        disallowed = disallowed_candidates(policy, self.prompt, support, ids, mask)
        logits = initial_logits(policy, self.config, log_pi, ids, support)
        return SearchSpace(ids, ids, mask, support, disallowed), logits

    def refresh_candidates(self, state: ChainState) -> Generator[Op, Any, ChainState]:
        """Return the chains with candidates chosen again wherever the text before them has changed.

        Candidates that stay keep their logits. New ones enter below the token that the text has at their
        position, as far below as at a start, so that the text does not change.
        """
        space, ids, size = state.space, state.ids, self.config.num_candidates
        is_stale = stale_positions(space, ids)
        if size is None or not bool(is_stale.any()):
            return state
        policy = self.energy.policy
        output = yield self._forward_op(ids, space.mask)
        likeliest, log_pi = output.candidates(ids, size, policy.banned)
        support = likeliest.where(is_stale[..., None], space.support)
        old_place, is_old = match_candidates(space.support, support)
        initial = initial_logits(policy, self.config, log_pi, ids, likeliest)
        text_logits = state.sampler.position.gather(-1, match_candidates(space.support, ids[..., None])[0])
        entering = text_logits + initial - initial.amax(-1, keepdim=True)
        disallowed = disallowed_candidates(policy, self.prompt, support, ids, space.mask)
        return state._replace(
            sampler=reindex(state.sampler, old_place, is_old, entering),
            space=space._replace(context_ids=ids, support=support, disallowed=disallowed),
            cached_grad=None,
        )

    def evaluate(
        self, space: SearchSpace, point: Tensor, cached_grad: CachedGradient | None
    ) -> Generator[Op, Any, ChainEvaluation]:
        """Return the energy and its gradient at the point, (C, T, K)."""
        point = space.masked(point)
        if not self.energy.is_straight_through or self.config.top_k is not None:
            result = yield self._gradient_op(space, point)
            return ChainEvaluation(result.terms, self._to_logit_grad(point, result.gradient), result.logits)
        cached_grad = yield from self._update_cache(space, point, cached_grad)
        gradient = self._to_logit_grad(point, cached_grad.token_gradient)
        return ChainEvaluation(cached_grad.terms, gradient, cached_grad=cached_grad)

    def decode(self, space: SearchSpace, point: Tensor, policy_logits: Tensor | None) -> Tensor:
        """Return the ids at a point, (C, T)."""
        if self.config.top_k is None or policy_logits is None:
            return space.decode(point)
        return decode_top_k(space, point, policy_logits, self.config.top_k)

    def _forward_op(self, ids: Tensor, mask: Tensor) -> ForwardOp:
        answers = [row[own].tolist() for row, own in zip(ids, mask, strict=True)]
        return ForwardOp(self.energy.policy, self.prompt, [[*self.prompt.answer, *row] for row in answers])

    def _update_cache(
        self, space: SearchSpace, point: Tensor, cached_grad: CachedGradient | None
    ) -> Generator[Op, Any, CachedGradient]:
        """Return the energy and gradient in the tokens, computed only for the chains whose text changed."""
        ids = discretise(point, space.support)
        if cached_grad is None:
            result = yield self._gradient_op(space, point)
            return CachedGradient(ids, result.terms, result.gradient)
        rows = ((ids != cached_grad.ids) & space.mask).any(1).nonzero().flatten()
        if not len(rows):
            return cached_grad
        result = yield self._gradient_op(space.select(rows), point[rows])
        return cached_grad.replace_rows(rows, ids[rows], result)

    def _gradient_op(self, space: SearchSpace, point: Tensor) -> GradientOp:
        needs_logits = self.config.top_k is not None
        return GradientOp(self.energy, self.prompt, point, space.support, space.mask, return_logits=needs_logits)

    def _to_logit_grad(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient in the logits; that of a straight-through energy is in the tokens."""
        if not self.energy.is_straight_through:
            return gradient
        return straight_through_vjp(point, gradient, self.energy.policy_relaxation.tau)
