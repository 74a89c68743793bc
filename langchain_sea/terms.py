"""One reward in the energy, standardised and weighted; what it raises becomes an error of this package."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from langchain_sea.errors import RewardUnavailableError, SEAError
from langchain_sea.protocols import NOTHING, Foresees, Reward, SoftReward, View, Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One reward in the energy.

    Attributes:
        reward: ranks texts, and steers if it is a `SoftReward`.
        name: its key in reports.
        weight: w ≥ 0 in the energy; 0 reports without ranking or steering.
        center: c, subtracted first.
        scale: s > 0, divides; with `center` it brings rewards of different makers to one scale.
    """

    reward: Reward
    name: str
    weight: float = 1.0
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.weight < math.inf and math.isfinite(self.center) and 0 < self.scale < math.inf):
            raise ValueError(
                f"{self.name}: weight={self.weight}, center={self.center} and scale={self.scale} must be "
                "finite, the weight not negative and the scale positive."
            )

    def foresee(self, view: View, *, steers: bool) -> Wants:
        """What the reward says it will look at in the view; where it says nothing, all that it could."""
        if steers and not self.steers:
            return NOTHING
        if isinstance(self.reward, Foresees):
            return cast("Wants", self._asked(self.reward.foresee, view))
        return Wants() if isinstance(self.reward, SoftReward) else NOTHING

    def steer(self, view: View) -> Tensor:
        """(C,) standardised, differentiable in the view's tokens; zeros where the reward cannot steer."""
        if not (self.steers and isinstance(self.reward, SoftReward)):
            return view.tokens.soft.new_zeros(len(view.tokens.soft))
        return self._standardised(self._asked(self.reward.steer, view), view)

    def score(self, view: View, texts: Sequence[str]) -> Tensor:
        """(C,) standardised."""
        return self._standardised(self._asked(self.reward.score, view, texts), view)

    @property
    def steers(self) -> bool:
        """Whether the energy's gradient has a part of it."""
        return bool(self.weight) and isinstance(self.reward, SoftReward)

    def _asked(self, ask: Callable[..., Any], view: View, *texts: Sequence[str]) -> Any:  # noqa: ANN401 - what is asked for
        try:
            return ask(view, *texts)
        except (SEAError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._failed(view, error) from error

    def _standardised(self, values: Tensor, view: View) -> Tensor:
        soft = view.tokens.soft
        try:
            return (values.to(soft.dtype).reshape(len(soft)) - self.center) / self.scale
        except Exception as error:
            raise self._failed(view, error) from error

    def _failed(self, view: View, error: Exception) -> RewardUnavailableError:
        return RewardUnavailableError(
            f"the reward {self.name!r} failed on {len(view.tokens.soft)} answers, {type(error).__name__}: "
            f"{error}. It must return a tensor with one number for each; mend it, or leave it out."
        )


class EnergyTerms(NamedTuple):
    """The parts of the energy, per chain."""

    energy: Tensor  # (C,)
    nll: Tensor  # (C,) nats per token under the policy
    rewards: Tensor  # (C, R) standardised, unweighted, in the order of `Energy.terms`

    def map(self, change: Callable[..., Tensor], *others: EnergyTerms) -> EnergyTerms:
        """Every part changed alike, beside the others' same part."""
        return EnergyTerms(*map(change, self, *others))
