"""One reward in the energy, standardised and weighted; what it raises becomes an error of this package."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

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
    TokenAdditive,
)
from langchain_sea.errors import RewardUnavailableError, SEAError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import SteeringVector

_LEAST_SPREAD = 1e-6  # of the drafts' rewards, below which they tell nothing of a scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTerm:
    """One reward in the energy: −w·z + μ·max(0, τ − z) with z = (r − c) / s.

    Attributes:
        reward: ranks texts, and steers if it is a `DifferentiableReward`.
        name: its key in reports.
        weight: w ≥ 0; 0 reports without ranking or steering.
        center: c, subtracted first.
        scale: s > 0, divides; with `center` it brings rewards of different makers to one scale.
        normalize: `fixed` takes center and scale as they are. `drafts` takes both from the reward of each
            prompt's drafts, their mean and their spread; of beginnings where those are what is ranked.
        threshold: τ in the reward's own units: no text below it is accepted, whatever else speaks for it.
        penalty_weight: μ ≥ 0 of what is missing to it; higher makes for it more directly.
        max_drop: a reward that is watched: no text is accepted whose z falls by more below the draft's, and
            chains whose best text does stop. It should have no weight of its own.
    """

    reward: Reward
    name: str
    weight: float = 1.0
    center: float = 0.0
    scale: float = 1.0
    normalize: Literal["fixed", "drafts"] = "fixed"
    threshold: float | None = None
    penalty_weight: float = 1.0
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.normalize not in ("fixed", "drafts"):
            raise ValueError(f"{self.name}: normalize={self.normalize!r} must be 'fixed' or 'drafts'.")
        if not math.isfinite(self.threshold or 0) or not 0 <= self.penalty_weight < math.inf:
            raise ValueError(
                f"{self.name}: threshold={self.threshold} must be finite, and penalty_weight={self.penalty_weight} too "
                "and not negative."
            )
        if not 0 <= (self.max_drop or 0) < math.inf:
            raise ValueError(f"{self.name}: max_drop={self.max_drop} must be a finite fall, zero or more.")
        if not (0 <= self.weight < math.inf and math.isfinite(self.center) and 0 < self.scale < math.inf):
            raise ValueError(
                f"{self.name}: weight={self.weight}, center={self.center} and scale={self.scale} must be "
                "finite, the weight not negative and the scale positive."
            )

    def required_outputs(self, view: AnswerBatch, *, differentiable_only: bool) -> OutputSpec:
        """What the reward says it will look at in the view; where it says nothing, all that it could."""
        if differentiable_only and not self.is_differentiable:
            return NOTHING
        if isinstance(self.reward, DeclaresOutputs):
            return cast("OutputSpec", self._asked(self.reward.required_outputs, view))
        return OutputSpec() if isinstance(self.reward, DifferentiableReward) else NOTHING

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) standardised, differentiable in the view's tokens; zeros where the reward cannot steer."""
        if not (self.is_differentiable and isinstance(self.reward, DifferentiableReward)):
            return view.tokens.soft.new_zeros(len(view.tokens.soft))
        return self._standardised(self._asked(self.reward.score_soft, view), view)

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) standardised."""
        return self._standardised(self._asked(self.reward.score, view, texts), view)

    def cost(self, values: Tensor) -> Tensor:
        """What standardised values, (C,), add to the energy, (C,)."""
        cost = -self.weight * values
        return (
            cost
            if self.normalized_threshold is None
            else cost + self.penalty_weight * (self.normalized_threshold - values).clamp(min=0)
        )

    @property
    def normalized_threshold(self) -> float | None:
        """τ as standardised values are compared with it."""
        return None if self.threshold is None else (self.threshold - self.center) / self.scale

    @property
    def is_differentiable(self) -> bool:
        """Whether the energy's gradient has a part of it."""
        return self.is_active and isinstance(self.reward, DifferentiableReward)

    @property
    def is_active(self) -> bool:
        """Whether the energy has a part of it."""
        return bool(self.weight or self.threshold is not None)

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> RewardTerm:
        """With the reward that these drafts make of it, where it depends on them."""
        if not isinstance(self.reward, DraftDependent):
            return self
        return replace(self, reward=self._asked(self.reward.fit_to_drafts, view, texts))

    def fit_scale(self, values: Tensor) -> RewardTerm:
        """With center and scale as the drafts' values, (N,), have them; `fixed` stays as it is."""
        if self.normalize == "fixed":
            return self
        raw = values.double() * self.scale + self.center
        spread = raw.std().item() if len(raw) > 1 else 0.0
        scale = spread if _LEAST_SPREAD < spread < math.inf else 1.0
        mean = raw.mean().item()
        center = mean if math.isfinite(mean) else self.center
        return replace(self, center=center, scale=scale, normalize="fixed")

    def _asked(self, ask: Callable[..., Any], view: AnswerBatch, *texts: Sequence[str]) -> Any:  # noqa: ANN401 - what is asked for
        try:
            return ask(view, *texts)
        except (SEAError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._failed(view, error) from error

    def _standardised(self, values: Tensor, view: AnswerBatch) -> Tensor:
        soft = view.tokens.soft
        try:
            return (values.to(soft.dtype).reshape(len(soft)) - self.center) / self.scale
        except Exception as error:
            raise self._failed(view, error) from error

    def _failed(self, view: AnswerBatch, error: Exception) -> RewardUnavailableError:
        return RewardUnavailableError(
            f"the reward {self.name!r} failed on {len(view.tokens.soft)} answers, {type(error).__name__}: "
            f"{error}. It must return a tensor with one number for each; mend it, or leave it out."
        )


RewardLike = str | os.PathLike[str] | RewardTerm | Reward | Callable[..., Any]
"""What users may pass as a reward: a name or path, a term, a reward, or a function `(prompt, completions) -> scores`."""

GateLike = str | Callable[..., Any]
"""What users may pass as a gate: a name or path, or a function `(prompt, completions) -> scores`."""


class EnergyTerms(NamedTuple):
    """The parts of the energy, per chain."""

    energy: Tensor  # (C,)
    nll: Tensor  # (C,) nats per token under the policy
    rewards: Tensor  # (C, R) standardised, unweighted, in the order of `Energy.terms`
    min_gradient_cosine: Tensor  # (C,) lowest cosine between two rewards' gradients; infinity where none is

    def map(self, change: Callable[..., Tensor], *others: EnergyTerms) -> EnergyTerms:
        """Every part changed alike, beside the others' same part."""
        return EnergyTerms(*map(change, self, *others))


def fit_scales(
    terms: Sequence[RewardTerm], columns: Sequence[Tensor], *, differentiable_only: bool = False
) -> tuple[tuple[RewardTerm, ...], list[Tensor]]:
    """Terms with the scales that the drafts' values have, and these, (N,) each, on them.

    Args:
        terms: as they were asked.
        columns: the standardised values of each.
        differentiable_only: whether they were asked to steer: those that cannot wait for texts.
    """
    found = [
        t.fit_scale(v) if t.is_differentiable or not differentiable_only else t
        for t, v in zip(terms, columns, strict=True)
    ]
    moved = [
        v if new is t else (v * t.scale + (t.center - new.center)) / new.scale
        for new, t, v in zip(found, terms, columns, strict=True)
    ]
    return tuple(found), moved


def combine_energy(
    terms: Sequence[RewardTerm],
    weight: float,
    nll: Tensor,
    columns: Sequence[Tensor],
    *,
    differentiable_only: bool = False,
) -> EnergyTerms:
    """The energy from its parts.

    Args:
        terms: the rewards.
        weight: of the policy's part.
        nll: (C,) nats per token.
        columns: (C,) the standardised values of each reward.
        differentiable_only: whether only those count that can steer.
    """
    rewards = torch.stack(list(columns), 1) if columns else nll.new_zeros(len(nll), 0)
    costs = [
        t.cost(v)
        for t, v in zip(terms, columns, strict=True)
        if t.is_differentiable or not differentiable_only
    ]
    none = torch.full_like(nll, torch.inf)
    return EnergyTerms(sum(costs, weight * nll), nll, rewards, none)


def all_token_additive(terms: Sequence[RewardTerm]) -> bool:
    """Whether there are rewards that steer, and all of them are sums over tokens."""
    steering = [t.reward for t in terms if t.is_differentiable]
    return bool(steering) and all(isinstance(r, TokenAdditive) and r.is_token_additive for r in steering)


def find_steering_vector(terms: Sequence[RewardTerm]) -> SteeringVector | None:
    """The axis of the first reward that knows one."""
    found = (
        t.reward.steering_vector for t in terms if t.is_active and isinstance(t.reward, HasSteeringVector)
    )
    return next((axis for axis in found if axis is not None), None)
