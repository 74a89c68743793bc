"""Latent searches that are tried, and are no part of the package; see `latent_trials.py`.

Shapes: G groups, n draws of each, T tokens of a draw, D width of the hidden states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from unittest import mock

import torch

from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine import latent_refiner
from langchain_sea.engine.latent_gradient import LatentGradientOp
from langchain_sea.engine.latent_search import LatentSearch
from langchain_sea.engine.ops import ScorePrefixesOp

if TYPE_CHECKING:
    from torch import Tensor

    from langchain_sea.engine.draw_scoring import Round
    from langchain_sea.engine.latent_gradient import LatentGradient
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.sampling.latent import LatentState

__all__ = ["DEPTHS", "SEARCHES", "use_search"]

_RANK = 4  # directions of the draws' states, beside the reward's vector
_SHARE_OF_BEST = 0.5  # of the way to the weighted mean of the groups' latents
_TEMPERATURE = 0.3  # of the weights exp(−mean cost of a group / temperature)


class TokenAdvantages(LatentSearch):
    """Each token is weighted by what the draw gained behind it.

        ∇_z E[−E(y)] = E[Σ_t (−E(y) − b(y_<t)) · ∇_z log π(y_t | y_<t, z)]

    holds for any b of the tokens before (a control variate); b is minus the energy of the beginning y_<t here.
    """

    def _compute_gradient(self, latents: Tensor, drawn: Round) -> RequestSteps[LatentGradient | None]:
        starts = [(i, t) for i, ids in enumerate(drawn.answers) for t in range(1, len(ids))]
        prefix = self.prompt.answer
        _, terms = yield ScorePrefixesOp(
            self.energy, self.prompt, [[*prefix, *drawn.answers[i][:t]] for i, t in starts], self.layer
        )
        longest = max(map(len, drawn.answers))
        baselines = torch.full((len(drawn.answers), longest), torch.nan)
        for (i, t), energy in zip(starts, terms.energy.tolist(), strict=True):
            baselines[i, t] = -energy
        baselines[:, 0] = 0.0
        by_group = baselines.view(len(latents), -1, longest)
        rewards = -drawn.costs.view(len(latents), -1)
        rewards = rewards.masked_fill(~rewards.isfinite(), torch.nan)
        gains = _without_own_mean(rewards)[..., None] - _without_own_mean(by_group)
        deviations = rewards - rewards.nanmean(1, keepdim=True)
        spread = deviations.square().nanmean(1, keepdim=True).sqrt().clamp(min=1e-6)
        self._weights = (gains / spread[..., None]).nan_to_num()
        # a function: a bound method would not be given the op
        with mock.patch.object(LatentGradientOp, "objective", lambda op: self._weighted_objective(op)):  # noqa: PLW0108
            return (yield from super()._compute_gradient(latents, drawn))

    def _weighted_objective(self, op: LatentGradientOp) -> Tensor:
        with torch.enable_grad():
            mask = op._batch.tokens.mask
            log_probs = (op._batch.token_log_probs * mask)[:, op.num_known :]
            per_token = log_probs.detach().sum(1) / mask[:, op.num_known :].sum(1).clamp(min=1) + op.nll
            op._divergence = per_token.view(len(op.leaf), -1).mean(1)
            by_group = log_probs.view(len(op.leaf), -1, log_probs.shape[1])
            return (self._weights[..., : log_probs.shape[1]].to(log_probs) * by_group).sum(2).mean(1)


class LowRank(LatentSearch):
    """Latents move within the span of the reward's vector and the first directions of the draws' states."""

    def _compute_gradient(self, latents: Tensor, drawn: Round) -> RequestSteps[LatentGradient | None]:
        states = yield from self._read_states(drawn.answers)
        gradient = yield from super()._compute_gradient(latents, drawn)
        if gradient is None:
            return None
        means = torch.stack([of_answer.mean(0) for of_answer in states if len(of_answer)])
        directions = torch.linalg.svd(means - means.mean(0), full_matrices=False).Vh[:_RANK]
        vector = find_steering_vector(self.energy.terms)
        if vector is not None:
            directions = torch.cat([vector.direction.float()[None], directions])
        basis = torch.linalg.qr(directions.T).Q  # (D, rank)
        return gradient._replace(gradient=gradient.gradient @ basis @ basis.T)


class GroupWeights(LatentSearch):
    """After a step of the gradient, all latents move towards the groups whose draws cost least, as in AISP."""

    def _move(
        self, state: LatentState, rows: Tensor | None, drawn: Round
    ) -> RequestSteps[tuple[LatentGradient | None, LatentState]]:
        gradient, moved = yield from super()._move(state, rows, drawn)
        costs = drawn.costs.view(len(moved.latents), -1)
        means = costs.masked_fill(~costs.isfinite(), 0).sum(1) / costs.isfinite().sum(1).clamp(min=1)
        best = ((-means / _TEMPERATURE).softmax(0)[:, None] * moved.latents).sum(0)
        latents = torch.lerp(moved.latents, best.expand_as(moved.latents), _SHARE_OF_BEST)
        return gradient, moved._replace(latents=latents)


class WithoutVector(LatentSearch):
    """The reward's vector is not used: latents start along the direction from the worst to the best first draws.

    They are added at `depth` of the policy's layers, not where the reward reads.
    """

    def _starts_along_vector(self) -> LatentState | None:
        with mock.patch("langchain_sea.engine.latent_search.find_steering_vector", return_value=None):
            return super()._starts_along_vector()


class Carried(LatentSearch):
    """In every window but the first, the latents start where those of the window before ended."""

    _last: ClassVar[dict[int, Tensor]] = {}  # by the budget tracker of the request

    def _starts_along_vector(self) -> LatentState | None:
        state = super()._starts_along_vector()
        last = self._last.get(id(self.tracker)) if self.prompt.answer else None
        return state if last is None else self.config.sampler.init(last)

    def _move(
        self, state: LatentState, rows: Tensor | None, drawn: Round
    ) -> RequestSteps[tuple[LatentGradient | None, LatentState]]:
        gradient, moved = yield from super()._move(state, rows, drawn)
        self._last.clear()
        self._last[id(self.tracker)] = moved.latents
        return gradient, moved


SEARCHES: dict[str, type[LatentSearch]] = {
    "token_advantages": TokenAdvantages,
    "low_rank": LowRank,
    "group_weights": GroupWeights,
    "carried": Carried,
}
DEPTHS = {f"without_vector_{percent}": percent / 100 for percent in (25, 40, 50, 60, 70, 80)}
SEARCHES |= dict.fromkeys(DEPTHS, WithoutVector)


def use_search(name: str) -> None:
    """Let refinements use the search of that name, or the package's own."""
    latent_refiner.LatentSearch = SEARCHES.get(name, LatentSearch)  # type: ignore[misc]


def _without_own_mean(values: Tensor) -> Tensor:
    """Return each value minus the mean of the others of its group, (G, n, …); NaN are left out."""
    known = ~values.isnan()
    total = values.nan_to_num().sum(1, keepdim=True)
    count = known.sum(1, keepdim=True)
    return values - (total - values.nan_to_num()) / (count - 1).clamp(min=1)
