"""What is minimised: the policy's and the rewards' terms, and their protocols. Knows no network and no text.

    E(x, y) = −λ · (1/T) · log π(y | x) − Σᵢ wᵢ · (rᵢ(x, y) − cᵢ) / sᵢ          lower is better

(arXiv 2505.20081, eq. for the energy, with the policy term as a mean over tokens so that one λ means the same
for short and long answers). Shapes: C chains of one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from langchain_sea.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

_ROWS = 64  # beginnings read in one forward: bounds the (C, T, V) logits


class Tokens(NamedTuple):
    """Answers to one prompt, relaxed or hard, on a support. Padding on the right has mask False."""

    soft: Tensor  # (C, T, K) rows that sum to one
    support: Tensor  # (C, T, K) vocabulary ids
    mask: Tensor  # (C, T) bool

    @classmethod
    def hard(cls, answers: Sequence[Sequence[int]], device: torch.device | None = None) -> Tokens:
        """Plain ids as one-hot tokens on a support of one; an empty answer is one masked position."""
        width = max(1, *(len(ids) for ids in answers))
        rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in answers], device=device)
        lengths = torch.tensor([len(ids) for ids in answers], device=device)
        mask = torch.arange(width, device=device) < lengths[:, None]
        return cls(torch.ones(*rows.shape, 1, device=device), rows[..., None], mask)

    @property
    def ids(self) -> Tensor:
        """(C, T) the most weighted candidate."""
        return self.support.gather(-1, self.soft.argmax(-1, keepdim=True)).squeeze(-1)


class Reading(NamedTuple):
    """What the policy computed while reading `Tokens` after a prompt."""

    logits: Tensor  # (C, T, V): row t predicts the token at t
    hidden: tuple[Tensor, ...]  # per layer (0: the embeddings), (C, T, D): the state at the token of t


class Prompt(Protocol):
    """A prompt as its policy prepared it: opaque to the engine but for its identity."""

    @property
    def key(self) -> Hashable:
        """Equal for equal content: seeds the chains' generators."""

    @property
    def messages(self) -> Sequence[dict[str, Any]]:
        """The conversation, as template dicts."""


class Policy(Protocol):
    """The frozen model that writes the drafts. It never trains and knows no reward."""

    banned: Tensor  # (V,) bool: ids that never stand inside an answer
    device: torch.device

    def read(self, prompt: Any, tokens: Tokens) -> Reading:  # noqa: ANN401 - each policy's own Prompt type
        """One forward of the answers after the prompt's cached states; differentiable in `tokens.soft`."""

    def extend(
        self,
        prompt: Any,  # noqa: ANN401 - each policy's own Prompt type
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        go_on: Callable[[int], bool],
    ) -> list[list[int]]:
        """The new ids of each prefix, until it ends, `tokens` are written, or `go_on(rows)` is false."""

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids."""


class View:
    """Answers to one prompt with the policy's reading of them, computed once and only if asked for."""

    def __init__(self, policy: Policy, prompt: Prompt, tokens: Tokens) -> None:
        """Hold the parts; nothing is computed yet."""
        self.policy, self.prompt, self.tokens = policy, prompt, tokens
        self._reading: Reading | None = None

    @property
    def reading(self) -> Reading:
        """The policy's logits and hidden states."""
        if self._reading is None:
            self._reading = self.policy.read(self.prompt, self.tokens)
        return self._reading


class Reward(Protocol):
    """Ranks and gates texts; higher is better."""

    def score(self, view: View, texts: Sequence[str]) -> Tensor:
        """(C,) float32. `view` holds the texts' own ids after decoding and encoding again."""


@runtime_checkable
class SoftReward(Reward, Protocol):
    """A reward that also steers: differentiable in `view.tokens.soft`."""

    def steer(self, view: View) -> Tensor:
        """(C,) float32."""


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
        if not (self.weight >= 0 and math.isfinite(self.weight) and math.isfinite(self.center)):
            raise ValueError(
                f"{self.name}: weight={self.weight} and center={self.center} must be finite, weight >= 0."
            )
        if not 0 < self.scale < math.inf:
            raise ValueError(f"{self.name}: scale={self.scale} must be positive and finite.")

    def standardise(self, raw: Tensor) -> Tensor:
        """(C,) → (C,) float32 (r − c) / s."""
        return (raw.float() - self.center) / self.scale


class EnergyTerms(NamedTuple):
    """The parts of the energy, per chain."""

    energy: Tensor  # (C,)
    nll: Tensor  # (C,) nats per token under the policy
    rewards: Tensor  # (C, R) standardised, unweighted, in the order of `Energy.terms`
    logits: Tensor | None  # (C, T, V) the policy's own, if it was read; detached

    def map(self, change: Callable[[Tensor], Tensor]) -> EnergyTerms:
        """Every part changed alike."""
        logits = None if self.logits is None else change(self.logits)
        return EnergyTerms(change(self.energy), change(self.nll), change(self.rewards), logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """The problem: a policy, rewards, and how each sees the relaxed tokens.

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
        if not (self.policy_weight >= 0 and math.isfinite(self.policy_weight)):
            raise ValueError(f"policy_weight={self.policy_weight} must be zero or a positive finite number.")

    def relaxed(self, prompt: Prompt, logits: Tensor, support: Tensor, mask: Tensor) -> EnergyTerms:
        """The energy of one prompt's chains at relaxed tokens; differentiable in `logits`.

        Args:
            prompt: the prompt of all C chains.
            logits: (C, T, K) float32.
            support: (C, T, K).
            mask: (C, T) bool, False for padding.
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
        found = []
        for start in range(0, len(answers), _ROWS):
            view = View(self.policy, prompt, Tokens.hard(answers[start : start + _ROWS], self.policy.device))
            nll = -_mean(_log_probs(view.reading.logits, view.tokens), view.tokens.mask)
            found.append(self._terms(nll, self._steered(view), None).energy)
        return torch.cat(found) if found else torch.zeros(0)

    @torch.no_grad()
    def texts(self, prompt: Prompt, texts: Sequence[str]) -> EnergyTerms:
        """The energy of plain texts, each encoded again from its characters: what keep-best compares."""
        answers = [self.policy.encode(text) for text in texts]
        view = View(self.policy, prompt, Tokens.hard(answers, self.policy.device))
        log_probs = _log_probs(view.reading.logits, view.tokens)
        columns = [t.standardise(t.reward.score(view, texts)) for t in self.terms]
        return self._terms(-_mean(log_probs, view.tokens.mask), columns, None)

    def _steered(self, view: View) -> list[Tensor]:
        zero = view.tokens.soft.new_zeros(len(view.tokens.soft))
        return [
            t.standardise(t.reward.steer(view)) if t.weight and isinstance(t.reward, SoftReward) else zero
            for t in self.terms
        ]

    def _fluency(self, view: View, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Nats per token at relaxed tokens, and the policy's logits."""
        if self.policy_weight == 0:
            return logits.new_zeros(len(logits)), None
        tokens = view.tokens
        if self.policy_gradient:
            policy_logits = view.reading.logits
        else:  # the authors' form: cross-entropy of softmax(y) at temperature 1 against fixed log π
            with torch.no_grad():
                policy_logits = view.reading.logits
            tokens = tokens._replace(soft=logits.softmax(-1))
        return -_mean(_log_probs(policy_logits, tokens), tokens.mask), policy_logits.detach()

    def _terms(self, nll: Tensor, columns: list[Tensor], policy_logits: Tensor | None) -> EnergyTerms:
        rewards = torch.stack(columns, 1) if columns else nll.new_zeros(len(nll), 0)
        weights = rewards.new_tensor([t.weight for t in self.terms])
        return EnergyTerms(self.policy_weight * nll - rewards @ weights, nll, rewards, policy_logits)


def _log_probs(policy_logits: Tensor, tokens: Tokens) -> Tensor:
    """Σₖ softₖ · log π(k), (C, T); `policy_logits` (C, T, V)."""
    normaliser = policy_logits.float().logsumexp(-1)
    return (tokens.soft * policy_logits.float().gather(-1, tokens.support)).sum(-1) - normaliser


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over each chain's unmasked positions, (C, T) → (C,); 0 where there are none."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)
