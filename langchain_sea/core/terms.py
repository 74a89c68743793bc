"""One reward in the energy, standardised and weighted, and the sum of all of them.

Shapes: C answers of one prompt, R rewards.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from langchain_sea.core.protocols import (
    NOTHING,
    AnswerBatch,
    DeclaresOutputs,
    DifferentiableReward,
    DraftDependent,
    HasSteeringVector,
    OutputSpec,
    Reward,
    ScoresPrefixes,
    TokenAdditive,
)
from langchain_sea.errors import RewardUnavailableError, SEAError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import SteeringVector

_MIN_SPREAD = 1e-6  # of the drafts' rewards; a smaller one says nothing about their scale

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTerm:
    """One reward in the energy: −w·z + μ·max(0, τ − z) with z = (r − c) / s.

    Attributes:
        reward: ranks texts; it also guides the chains if it is a `DifferentiableReward`. Where rewards are made of
            names and functions (`SEAChatModel`, `make_energy`), it may be one of these, too.
        name: its key in reports.
        weight: w ≥ 0; 0 reports the reward without using it.
        center: c, subtracted first.
        scale: s > 0, divides; with `center` it brings rewards of different makers to one scale.
        normalize: `fixed` takes center and scale as they are. `drafts` takes the mean and the standard deviation
            of the reward over each prompt's drafts, or over prefixes where prefixes are ranked.
        threshold: τ in the reward's own units: a text below it is never accepted.
        penalty_weight: μ ≥ 0, the price of each standardised unit below the threshold.
        max_drop: for a reward that only watches: a text is rejected if its z is lower than the draft's by more
            than this, and the chains stop when their best text is rejected for it. Give it `weight=0`.
        min_gain: a smaller rise of the standardised value is the reward's own noise. None: it is not known, and
            the spread of plain drafts is taken instead.
    """

    reward: Any
    name: str
    weight: float = 1.0
    center: float = 0.0
    scale: float = 1.0
    normalize: Literal["fixed", "drafts"] = "fixed"
    threshold: float | None = None
    penalty_weight: float = 1.0
    max_drop: float | None = None
    min_gain: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.reward, (Reward, str, os.PathLike)) or callable(self.reward)):
            raise TypeError(
                f"{self.name}: reward={self.reward!r} is no reward: pass an object with score(view, texts), a function "
                "(prompt, completions) -> scores, or a name."
            )
        if self.normalize not in ("fixed", "drafts"):
            raise ValueError(f"{self.name}: normalize={self.normalize!r} must be 'fixed' or 'drafts'.")
        if not math.isfinite(self.threshold or 0) or not 0 <= self.penalty_weight < math.inf:
            raise ValueError(
                f"{self.name}: threshold={self.threshold} must be finite, and "
                f"penalty_weight={self.penalty_weight} zero or a positive finite number."
            )
        if not 0 <= (self.max_drop or 0) < math.inf:
            raise ValueError(f"{self.name}: max_drop={self.max_drop} must be zero or a positive finite number.")
        if not (0 <= self.weight < math.inf and math.isfinite(self.center) and 0 < self.scale < math.inf):
            raise ValueError(
                f"{self.name}: weight={self.weight}, center={self.center} and scale={self.scale} must be "
                "finite, the weight not negative and the scale positive."
            )

    @property
    def is_active(self) -> bool:
        """Whether the term can change the energy."""
        return bool(self.weight or self.threshold is not None)

    @property
    def is_differentiable(self) -> bool:
        """Whether the term contributes to the energy's gradient."""
        return self.is_active and isinstance(self.reward, DifferentiableReward)

    @property
    def scores_prefixes(self) -> bool:
        """Whether the reward can score the first tokens of an answer."""
        reward = self.reward
        is_additive = isinstance(reward, TokenAdditive) and reward.is_token_additive
        return is_additive or (isinstance(reward, ScoresPrefixes) and reward.scores_prefixes)

    @property
    def normalized_threshold(self) -> float | None:
        """τ on the scale of standardised values."""
        return None if self.threshold is None else (self.threshold - self.center) / self.scale

    def required_outputs(self, view: AnswerBatch, *, differentiable_only: bool) -> OutputSpec:
        """Return what the reward reads of the view's output; all, if it is differentiable and does not say."""
        if differentiable_only and not self.is_differentiable:
            return NOTHING
        if isinstance(self.reward, DeclaresOutputs):
            return self._guard(view, self.reward.required_outputs, view)
        return OutputSpec() if isinstance(self.reward, DifferentiableReward) else NOTHING

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return standardised values, (C,), differentiable in the view's tokens; zeros without a gradient."""
        if not (self.is_differentiable and isinstance(self.reward, DifferentiableReward)):
            return view.tokens.soft.new_zeros(len(view.tokens.soft))
        return self._standardise(self._guard(view, self.reward.score_soft, view), view)

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the standardised values of texts, (C,)."""
        return self._standardise(self._guard(view, self.reward.score, view, texts), view)

    def cost(self, values: Tensor) -> Tensor:
        """Return what standardised values, (C,), add to the energy, (C,)."""
        cost, threshold = -self.weight * values, self.normalized_threshold
        return cost if threshold is None else cost + self.penalty_weight * (threshold - values).clamp(min=0)

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> RewardTerm:
        """Return the term with its reward fitted to these drafts, if the reward depends on them."""
        if not isinstance(self.reward, DraftDependent):
            return self
        return replace(self, reward=self._guard(view, self.reward.fit_to_drafts, view, texts))

    def fit_scale(self, values: Tensor) -> RewardTerm:
        """Return the term with the center and scale of the drafts' values, (N,); unchanged if they are fixed."""
        if self.normalize == "fixed":
            return self
        raw = values.double() * self.scale + self.center
        spread = raw.std().item() if len(raw) > 1 else 0.0
        scale = spread if _MIN_SPREAD < spread < math.inf else 1.0
        mean = raw.mean().item()
        center = mean if math.isfinite(mean) else self.center
        return replace(self, center=center, scale=scale, normalize="fixed")

    def _guard(self, view: AnswerBatch, function: Callable[..., T], *args: object) -> T:
        """Return what the reward's function returns; its errors become `RewardUnavailableError`."""
        try:
            return function(*args)
        except (SEAError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._unavailable(view, error) from error

    def _standardise(self, values: Tensor, view: AnswerBatch) -> Tensor:
        soft = view.tokens.soft
        try:
            return (values.to(soft.dtype).reshape(len(soft)) - self.center) / self.scale
        except Exception as error:
            raise self._unavailable(view, error) from error

    def _unavailable(self, view: AnswerBatch, error: Exception) -> RewardUnavailableError:
        return RewardUnavailableError(
            f"the reward {self.name!r} failed on {len(view.tokens.soft)} answers, {type(error).__name__}: "
            f"{error}. It must return a tensor with one number for each answer; fix or remove it."
        )


class EnergyTerms(NamedTuple):
    """The energy and its parts, for each chain."""

    energy: Tensor  # (C,)
    nll: Tensor  # (C,) nats per token under the policy
    rewards: Tensor  # (C, R) standardised, unweighted, in the order of `Energy.terms`
    min_gradient_cosine: Tensor  # (C,) between two rewards; infinity if none was computed

    def map(self, change: Callable[..., Tensor], *others: EnergyTerms) -> EnergyTerms:
        """Return `change` applied to every part, with the same part of each of the others as arguments."""
        return EnergyTerms(*map(change, self, *others))

    def select(self, rows: Tensor) -> EnergyTerms:
        """Return the chains with these indices, (C',)."""
        return self.map(lambda part: part[rows])


def fit_scales(
    terms: Sequence[RewardTerm], columns: Sequence[Tensor], *, differentiable_only: bool = False
) -> tuple[tuple[RewardTerm, ...], list[Tensor]]:
    """Return the terms with the scales of the drafts' values, and the values on these scales, (N,) each.

    Args:
        terms: the terms that the values were standardised by.
        columns: the standardised values of each term, (N,).
        differentiable_only: whether other terms keep their scale, because these values are not theirs.
    """
    fitted = [
        term.fit_scale(values) if term.is_differentiable or not differentiable_only else term
        for term, values in zip(terms, columns, strict=True)
    ]
    rescaled = [
        values if new is old else (values * old.scale + (old.center - new.center)) / new.scale
        for new, old, values in zip(fitted, terms, columns, strict=True)
    ]
    return tuple(fitted), rescaled


def combine_energy(
    terms: Sequence[RewardTerm],
    policy_weight: float,
    nll: Tensor,
    columns: Sequence[Tensor],
    *,
    differentiable_only: bool = False,
) -> EnergyTerms:
    """Return the energy from its parts.

    Args:
        terms: the rewards.
        policy_weight: λ.
        nll: (C,) nats per token under the policy.
        columns: the standardised values of each reward, (C,).
        differentiable_only: whether only differentiable rewards count.
    """
    rewards = torch.stack(list(columns), 1) if columns else nll.new_zeros(len(nll), 0)
    costs = [
        term.cost(values)
        for term, values in zip(terms, columns, strict=True)
        if term.is_differentiable or not differentiable_only
    ]
    return EnergyTerms(sum(costs, policy_weight * nll), nll, rewards, torch.full_like(nll, torch.inf))


def all_token_additive(terms: Sequence[RewardTerm]) -> bool:
    """Return whether there are differentiable rewards and each of them is a sum over tokens."""
    rewards = [term.reward for term in terms if term.is_differentiable]
    return bool(rewards) and all(isinstance(r, TokenAdditive) and r.is_token_additive for r in rewards)


def find_steering_vector(terms: Sequence[RewardTerm]) -> SteeringVector | None:
    """Return the steering vector of the first active reward that has one."""
    rewards = [term.reward for term in terms if term.is_active]
    vectors = (reward.steering_vector for reward in rewards if isinstance(reward, HasSteeringVector))
    return next((vector for vector in vectors if vector is not None), None)
