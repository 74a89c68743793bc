"""What is minimised: the policy's term and the rewards'. Knows no network and no text.

    E(x, y) = −λ · (1/T) · log π(y | x) − Σᵢ wᵢ · (rᵢ(x, y) − cᵢ) / sᵢ          lower is better

(arXiv 2505.20081, eq. for the energy, with the policy term as a mean over tokens so that one λ means the same
for short and long answers). Shapes: C chains of one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.errors import RewardUnavailableError, SEAError
from langchain_sea.protocols import Policy, Prompt, Reward, SoftReward, Tokens, View
from langchain_sea.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROWS = 64  # beginnings read in one forward: bounds the (C, T, V) logits


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


class EnergyTerms(NamedTuple):
    """The parts of the energy, per chain."""

    energy: Tensor  # (C,)
    nll: Tensor  # (C,) nats per token under the policy
    rewards: Tensor  # (C, R) standardised, unweighted, in the order of `Energy.terms`
    logits: Tensor  # (C, T, V) the policy's own, detached; nothing in it where they were not needed

    def map(self, change: Callable[..., Tensor], *others: EnergyTerms) -> EnergyTerms:
        """Every part changed alike, beside the others' same part."""
        return EnergyTerms(*map(change, self, *others))


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """The problem: a policy, rewards, and how each sees the relaxed tokens.

    A reward that raises, or returns no (C,) values, is a `RewardUnavailableError` in every method.

    Attributes:
        policy: π.
        terms: the rewards with their weights.
        policy_weight: λ ≥ 0.
        policy_gradient: whether gradient passes through the policy's network in its own term. False detaches
            the policy's log-probabilities, and the gradient is that of the cross-entropy in the tokens alone.
        policy_relaxation: how tokens enter the policy's term.
        reward_relaxation: how tokens enter the rewards; equal to the policy's, one forward serves both.
        max_nll_rise: a candidate whose nats per token exceed the draft's by more is not accepted. None: off.
    """

    policy: Policy
    terms: tuple[Term, ...] = ()
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.policy_weight < math.inf:
            raise ValueError(f"policy_weight={self.policy_weight} must be zero or a positive finite number.")

    def relaxed(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyTerms:
        """The energy of C chains of one prompt at relaxed tokens; differentiable in `logits`.

        Logits, float32 or wider, and support are (C, T, K); the mask, (C, T), is False for padding.
        """
        view = View(self.policy, prompt, Tokens(self.policy_relaxation(logits), support, mask))
        steering = view
        if not self.policy_gradient or self.policy_relaxation != self.reward_relaxation:
            steering = View(self.policy, prompt, Tokens(self.reward_relaxation(logits), support, mask))
        nll, policy_logits = self._fluency(view, logits)
        return self._terms(nll, self._steered(steering), policy_logits)

    @torch.no_grad()
    def beginnings(self, prompt: Prompt, answers: Sequence[Sequence[int]]) -> Tensor:
        """(C,) the steering energy of answers begun, as ids; rewards that cannot steer have no say."""
        found = [torch.zeros(0, device=self.policy.device)]
        for start in range(0, len(answers), _ROWS):
            view = View.hard(self.policy, prompt, answers[start : start + _ROWS])
            found.append(self._terms(view.nll, self._steered(view)).energy)
        return torch.cat(found)

    @torch.no_grad()
    def texts(self, prompt: Prompt, texts: Sequence[str]) -> EnergyTerms:
        """The energy of plain texts, each encoded again from its characters: what keep-best compares."""
        view = View.hard(self.policy, prompt, [self.policy.encode(text) for text in texts])
        return self._terms(view.nll, [_asked(t, t.reward.score, view, texts) for t in self.terms])

    def _steered(self, view: View) -> list[Tensor]:
        zero = view.tokens.soft.new_zeros(len(view.tokens.soft))
        return [
            _asked(t, t.reward.steer, view) if t.weight and isinstance(t.reward, SoftReward) else zero
            for t in self.terms
        ]

    def _fluency(self, view: View, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Nats per token at relaxed tokens, and the policy's logits if they were needed."""
        if self.policy_weight == 0:
            return logits.new_zeros(len(logits)), logits.new_zeros(len(logits), 0, 0)
        if self.policy_gradient:
            return view.nll, view.reading.logits.detach()
        # the authors' form: cross-entropy of softmax(y) at temperature 1 against fixed log π
        with torch.no_grad():
            policy_logits = view.reading.logits
        return view.tokens._replace(soft=logits.softmax(-1)).nll(policy_logits), policy_logits

    def _terms(self, nll: Tensor, columns: list[Tensor], logits: Tensor | None = None) -> EnergyTerms:
        rewards = torch.stack(columns, 1) if columns else nll.new_zeros(len(nll), 0)
        weights = rewards.new_tensor([t.weight for t in self.terms])
        energy = self.policy_weight * nll - rewards @ weights
        return EnergyTerms(energy, nll, rewards, nll.new_zeros(0) if logits is None else logits)


def _asked(term: Term, ask: Callable[..., Tensor], view: View, *texts: Sequence[str]) -> Tensor:
    """(C,) the reward's values, standardised; whatever it raises becomes an error of this package."""
    soft = view.tokens.soft
    try:
        values = ask(view, *texts).to(soft.dtype).reshape(len(soft))
    except SEAError:
        raise
    except Exception as error:
        raise RewardUnavailableError(
            f"the reward {term.name!r} failed on {len(soft)} answers, {type(error).__name__}: {error}. It "
            "must return a tensor with one number for each; mend it, or leave it out."
        ) from error
    return (values - term.center) / term.scale
