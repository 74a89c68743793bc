"""What is minimised: the policy's term and the rewards'. Knows no network and no text.

    E(x, y) = −λ · (1/T) · log π(y | x) − Σᵢ wᵢ · zᵢ + Σᵢ μᵢ · max(0, τᵢ − zᵢ),   zᵢ = (rᵢ(x, y) − cᵢ) / sᵢ

Lower is better (arXiv 2505.20081, eq. for the energy, with the policy term as a mean over tokens so that one
λ means the same for short and long answers, and a penalty where a reward must reach τ). Shapes: C chains of
one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.protocols import (
    LOGITS,
    NOTHING,
    AnswerBatch,
    DifferentiableReward,
    Policy,
    Prompt,
    Tokens,
)
from langchain_sea.core.terms import EnergyTerms, RewardTerm, combine_energy, fit_scales
from langchain_sea.sampling.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Energy", "EnergyTerms", "RewardTerm", "EnergyInputs"]


class EnergyInputs(NamedTuple):
    """Relaxed answers as the two halves of the energy see them; often they are one."""

    fluency: AnswerBatch
    steering: AnswerBatch


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
        report_gradient_cosine: where two or more rewards steer, each step also reports the lowest cosine between their
            gradients, at the price of one backward more for each of them.
    """

    policy: Policy
    terms: tuple[RewardTerm, ...] = ()
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5
    report_gradient_cosine: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.policy_weight < math.inf:
            raise ValueError(f"policy_weight={self.policy_weight} must be zero or a positive finite number.")

    @property
    def is_straight_through(self) -> bool:
        """Whether the argmax alone decides the energy, and its gradient in the tokens."""
        same = self.policy_relaxation == self.reward_relaxation
        return same and self.policy_gradient and self.policy_relaxation.kind == "straight_through"

    @property
    def has_function_rewards(self) -> bool:
        """Whether texts are scored by functions, which may take as long as they like."""
        return not all(isinstance(t.reward, DifferentiableReward) for t in self.terms)

    @property
    def is_ranking_only(self) -> bool:
        """Whether there are rewards and none of them has a gradient: beginnings then tell nothing."""
        return any(t.is_active for t in self.terms) and not any(t.is_differentiable for t in self.terms)

    def evaluate_logits(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyTerms:
        """The energy of C chains of one prompt at relaxed tokens; differentiable in `logits`.

        Logits, float32 or wider, and support are (C, T, K); the mask, (C, T), is False for padding.
        """
        return self.evaluate(self.prepare_logits(prompt, logits, support, mask), logits)

    def prepare_logits(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyInputs:
        """The first half of `relaxed`: what must be read, for whoever reads many prompts' together."""
        tokens = Tokens(self.policy_relaxation(logits), support, mask).after(prompt.answer)
        if self.policy_gradient and self.policy_relaxation == self.reward_relaxation:
            return self.prepare_soft(prompt, tokens)
        if not self.policy_gradient:
            tokens = tokens._replace(soft=tokens.soft.detach())
        fluency = AnswerBatch(self.policy, prompt, tokens, LOGITS if self.policy_weight else NOTHING)
        steering = Tokens(self.reward_relaxation(logits), support, mask).after(prompt.answer)
        seen = self.prepare_soft(prompt, steering)
        return EnergyInputs(fluency, seen.steering)

    def prepare_soft(self, prompt: Prompt, tokens: Tokens) -> EnergyInputs:
        """The same where both halves see the same tokens, the prompt's answer among them."""
        view = AnswerBatch(self.policy, prompt, tokens, LOGITS if self.policy_weight else NOTHING)
        self._collect_outputs(view, differentiable_only=True)
        return EnergyInputs(view, view)

    def evaluate(self, views: EnergyInputs, logits: Tensor) -> EnergyTerms:
        """The second half of `relaxed`."""
        nll, seen = self._fluency(views.fluency, logits), views.steering
        parts = (self.policy_weight, nll, [t.score_soft(seen) for t in self.terms])
        return combine_energy(self.terms, *parts, differentiable_only=True)

    def prepare_prefixes(self, prompt: Prompt, answers: Sequence[Sequence[int]]) -> AnswerBatch:
        """Answers begun, as ids, for `ranked`."""
        view = AnswerBatch.from_ids(self.policy, prompt, answers, LOGITS)
        return self._collect_outputs(view, differentiable_only=True)

    @torch.no_grad()
    def score_prefixes(self, view: AnswerBatch) -> tuple[Energy, Tensor]:
        """(C,) the steering energy of beginnings, and the energy whose scales they settled.

        Rewards that cannot steer have no say.
        """
        terms, columns = fit_scales(
            self.terms, [t.score_soft(view) for t in self.terms], differentiable_only=True
        )
        return replace(self, terms=terms), combine_energy(
            terms, self.policy_weight, view.nll, columns, differentiable_only=True
        ).energy

    def prepare_texts(self, prompt: Prompt, texts: Sequence[str]) -> AnswerBatch:
        """Plain texts, each encoded again from its characters, for `scored`."""
        view = AnswerBatch.from_ids(self.policy, prompt, [self.policy.encode(text) for text in texts], LOGITS)
        return self._collect_outputs(view, differentiable_only=False)

    @torch.no_grad()
    def score_texts(self, view: AnswerBatch, texts: Sequence[str]) -> EnergyTerms:
        """The energy of plain texts: what keep-best compares."""
        columns = [t.score(view, texts) for t in self.terms]
        return combine_energy(self.terms, self.policy_weight, view.nll, columns)

    @torch.no_grad()
    def fit_and_score_texts(self, view: AnswerBatch, texts: Sequence[str]) -> tuple[Energy, EnergyTerms]:
        """The same of a prompt's drafts, and the energy with all in it that they decide."""
        own = [t.fit_to_drafts(view, texts) for t in self.terms]
        terms, columns = fit_scales(own, [t.score(view, texts) for t in own])
        return replace(self, terms=terms), combine_energy(terms, self.policy_weight, view.nll, columns)

    def evaluate_texts(self, prompt: Prompt, texts: Sequence[str]) -> EnergyTerms:
        """`written` and `scored` at once."""
        return self.score_texts(self.prepare_texts(prompt, texts), texts)

    def _collect_outputs(self, view: AnswerBatch, *, differentiable_only: bool) -> AnswerBatch:
        for t in self.terms:
            view.output_spec |= t.required_outputs(view, differentiable_only=differentiable_only)
        return view

    def _fluency(self, view: AnswerBatch, logits: Tensor) -> Tensor:
        """Nats per token at relaxed tokens."""
        if self.policy_weight == 0:
            return logits.new_zeros(len(logits))
        if self.policy_gradient:
            return view.nll
        # the authors' form: cross-entropy of softmax(y) at temperature 1 against fixed log π
        with torch.no_grad():
            policy_logits = view.output.logits
        stands = len(view.prompt.answer)
        _, support, mask = (part[:, stands:] for part in view.tokens)
        tokens = Tokens(logits.softmax(-1), support, mask)
        return -tokens.mean(tokens.log_probs(policy_logits))

    def meets_thresholds(self, rewards: Tensor) -> Tensor:
        """(C,) whether standardised rewards, (C, R), reach every `threshold`."""
        floors = [-math.inf if t.normalized_threshold is None else t.normalized_threshold for t in self.terms]
        return (rewards >= rewards.new_tensor(floors)).all(1)
