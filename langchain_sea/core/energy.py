"""The energy that is minimised: the policy's term and the rewards'. Knows no network and no sampler.

    E(x, y) = −λ · (1/T) · log π(y | x) − Σᵢ wᵢ · zᵢ + Σᵢ μᵢ · max(0, τᵢ − zᵢ),   zᵢ = (rᵢ(x, y) − cᵢ) / sᵢ

Lower is better. It is the energy of arXiv 2505.20081 with two changes: the policy's term is a mean over tokens, so
that one λ means the same for short and long answers, and a penalty applies while a reward is below its threshold τ.
Shapes: C chains of one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.protocols import LOGITS, NOTHING, AnswerBatch, DifferentiableReward, Policy, Prompt, Tokens
from langchain_sea.core.terms import EnergyTerms, RewardTerm, combine_energy, fit_scales
from langchain_sea.sampling.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.limits import TextLimits

__all__ = ["Energy", "EnergyInputs", "EnergyTerms", "RewardTerm"]


class EnergyInputs(NamedTuple):
    """Relaxed answers as the policy's term and the rewards read them; often both are the same batch."""

    fluency: AnswerBatch
    steering: AnswerBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """A policy, rewards, and how each reads the relaxed tokens.

    Every evaluation has two halves, so that the forward passes of many requests can run together: a `prepare_…`
    method returns the batches that must be read, and the method named beside it computes the energy from them.
    All of them raise `RewardUnavailableError` if a reward raises or does not return C values.

    Attributes:
        policy: π.
        terms: the rewards with their weights.
        policy_weight: λ ≥ 0.
        policy_gradient: whether gradient passes through the policy's network in its own term. False detaches
            the policy's log-probabilities; the gradient is then that of the cross-entropy in the tokens alone.
        policy_relaxation: how tokens enter the policy's term.
        reward_relaxation: how tokens enter the rewards. If it equals the policy's, one forward pass serves both.
        max_nll_rise: a text is rejected if its nats per token exceed the draft's by more than this. None accepts
            any rise.
        limits: on repetition, single surprising tokens and small gains. None: no such limits.
        report_gradient_cosine: whether each step reports the lowest cosine between the gradients of two rewards.
            It costs one more backward pass for each differentiable reward, and nothing with fewer than two.
    """

    policy: Policy
    terms: tuple[RewardTerm, ...] = ()
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5
    limits: TextLimits | None = None
    report_gradient_cosine: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.policy_weight < math.inf:
            raise ValueError(f"policy_weight={self.policy_weight} must be zero or a positive finite number.")

    @property
    def is_straight_through(self) -> bool:
        """Whether the argmax ids alone decide the energy and its gradient in the tokens."""
        same = self.policy_relaxation == self.reward_relaxation
        return same and self.policy_gradient and self.policy_relaxation.kind == "straight_through"

    @property
    def has_function_rewards(self) -> bool:
        """Whether a reward is not differentiable: a function of texts, which may take any time."""
        return not all(isinstance(term.reward, DifferentiableReward) for term in self.terms)

    @property
    def scores_prefixes(self) -> bool:
        """Whether a reward can score the first tokens of an answer; others judge whole texts."""
        return any(term.is_differentiable and term.scores_prefixes for term in self.terms)

    @property
    def min_gain(self) -> float | None:
        """By how much a score must exceed the draft's to be no noise; None if a reward does not say."""
        active = [term for term in self.terms if term.weight]
        known = [term.weight * term.min_gain for term in active if term.min_gain is not None]
        return sum(known) if known and len(known) == len(active) else None

    @property
    def is_ranking_only(self) -> bool:
        """Whether there are rewards and none has a gradient. Prefixes of answers then cannot be scored."""
        return any(t.is_active for t in self.terms) and not any(t.is_differentiable for t in self.terms)

    def evaluate_logits(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyTerms:
        """Return the energy of C chains of one prompt at relaxed tokens; differentiable in `logits`.

        Args:
            prompt: the prompt.
            logits: (C, T, K) float32 or wider.
            support: (C, T, K) ids of the candidates.
            mask: (C, T) bool, False for padding.
        """
        return self.evaluate(self.prepare_logits(prompt, logits, support, mask), logits)

    def prepare_logits(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyInputs:
        """Return what must be read for `evaluate`; the arguments are those of `evaluate_logits`."""
        tokens = Tokens(self.policy_relaxation(logits), support, mask).after(prompt.answer)
        if self.policy_gradient and self.policy_relaxation == self.reward_relaxation:
            return self.prepare_soft(prompt, tokens)
        if not self.policy_gradient:
            tokens = tokens._replace(soft=tokens.soft.detach())
        fluency = AnswerBatch(self.policy, prompt, tokens, LOGITS if self.policy_weight else NOTHING)
        reward_tokens = Tokens(self.reward_relaxation(logits), support, mask).after(prompt.answer)
        return EnergyInputs(fluency, self.prepare_soft(prompt, reward_tokens).steering)

    def prepare_soft(self, prompt: Prompt, tokens: Tokens) -> EnergyInputs:
        """Return what must be read for `evaluate` if both terms read `tokens`, the prompt's answer included."""
        view = AnswerBatch(self.policy, prompt, tokens, LOGITS if self.policy_weight else NOTHING)
        self._add_required_outputs(view, differentiable_only=True)
        return EnergyInputs(view, view)

    def evaluate(self, inputs: EnergyInputs, logits: Tensor) -> EnergyTerms:
        """Return the energy of prepared answers; `logits`, (C, T, K), are those they were prepared from."""
        nll = self._soft_nll(inputs.fluency, logits)
        columns = [term.score_soft(inputs.steering) for term in self.terms]
        return combine_energy(self.terms, self.policy_weight, nll, columns, differentiable_only=True)

    def prepare_prefixes(self, prompt: Prompt, answers: Sequence[Sequence[int]]) -> AnswerBatch:
        """Return what must be read for `score_prefixes`: the ids of answers that are not finished."""
        view = AnswerBatch.from_ids(self.policy, prompt, answers, LOGITS)
        return self._add_required_outputs(view, differentiable_only=True)

    @torch.no_grad()
    def score_prefixes(self, view: AnswerBatch) -> tuple[Energy, EnergyTerms]:
        """Return this energy with the scales that the prefixes decide, and the energies of the prefixes.

        Rewards without a gradient do not count.
        """
        values = [term.score_soft(view) for term in self.terms]
        terms, columns = fit_scales(self.terms, values, differentiable_only=True)
        parts = combine_energy(terms, self.policy_weight, view.nll, columns, differentiable_only=True)
        return replace(self, terms=terms), parts

    def prepare_texts(self, prompt: Prompt, texts: Sequence[str]) -> AnswerBatch:
        """Return what must be read for `score_texts`: the texts, encoded again.

        A text may then have more ids than were drawn, and is read as far as the policy's context goes.
        """
        room = self.policy.room_after(prompt)
        view = AnswerBatch.from_ids(self.policy, prompt, [self.policy.encode(text)[:room] for text in texts], LOGITS)
        return self._add_required_outputs(view, differentiable_only=False)

    @torch.no_grad()
    def score_texts(self, view: AnswerBatch, texts: Sequence[str]) -> EnergyTerms:
        """Return the energy of texts, by which the best text is chosen."""
        columns = [term.score(view, texts) for term in self.terms]
        return combine_energy(self.terms, self.policy_weight, view.nll, columns)

    @torch.no_grad()
    def fit_and_score_texts(self, view: AnswerBatch, texts: Sequence[str]) -> tuple[Energy, EnergyTerms]:
        """Return this energy with the rewards and scales that a prompt's drafts decide, and the drafts' energy."""
        fitted = [term.fit_to_drafts(view, texts) for term in self.terms]
        terms, columns = fit_scales(fitted, [term.score(view, texts) for term in fitted])
        return replace(self, terms=terms), combine_energy(terms, self.policy_weight, view.nll, columns)

    def evaluate_texts(self, prompt: Prompt, texts: Sequence[str]) -> EnergyTerms:
        """Return the energy of texts: `prepare_texts` and `score_texts` in one call."""
        return self.score_texts(self.prepare_texts(prompt, texts), texts)

    def meets_thresholds(self, rewards: Tensor) -> Tensor:
        """Return whether standardised rewards, (C, R), reach every threshold, (C,) bool."""
        thresholds = [t.normalized_threshold for t in self.terms]
        lowest = rewards.new_tensor([-math.inf if t is None else t for t in thresholds])
        return (rewards >= lowest).all(1)

    def _add_required_outputs(self, view: AnswerBatch, *, differentiable_only: bool) -> AnswerBatch:
        for term in self.terms:
            view.output_spec |= term.required_outputs(view, differentiable_only=differentiable_only)
        return view

    def _soft_nll(self, view: AnswerBatch, logits: Tensor) -> Tensor:
        """Return the nats per token of relaxed answers, (C,)."""
        if self.policy_weight == 0:
            return logits.new_zeros(len(logits))
        if self.policy_gradient:
            return view.nll
        # the authors' form: cross-entropy of softmax(y) at temperature 1 against fixed log π
        with torch.no_grad():
            policy_logits = view.output.logits
        _, support, mask = (part[:, len(view.prompt.answer) :] for part in view.tokens)
        tokens = Tokens(logits.softmax(-1), support, mask)
        return -tokens.mean(tokens.log_probs(policy_logits))
