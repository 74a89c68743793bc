"""Any reward as one that steers, by texts drawn from the relaxed tokens. Knows no network.

    ∂/∂p_tk E_{y~p} r(y)  ≈  1/n Σᵢ (r(yⁱ) − bᵢ) · 1[yⁱ_t = k] / p_tk,     bᵢ = mean of the other r(yʲ)

the score-function estimator with a leave-one-out baseline (Kool et al. 2019), unbiased for every n ≥ 2. p is
the chain's distribution over its support, which starts from the policy's own: what it draws at first is what
the policy might have said there. Shapes: n samples, C chains, T positions, K candidates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.protocols import NOTHING, AnswerBatch, DeclaresOutputs, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import Reward

__all__ = ["Estimate", "ScoreFunction"]


class Estimate(NamedTuple):
    """What the samples say."""

    value: Tensor  # (C,) the mean reward
    gradient: Tensor  # (C, T, K) in the shares
    variance: Tensor  # (C,) of the gradient as the logits feel it: its entries' variances over n, summed


@dataclass(frozen=True, slots=True)
class ScoreFunction:
    """A reward of texts that steers.

    A forward value is the mean over the samples, and so is not quite the reward of the text that stands; what
    is kept is decided by `score`, which is the reward itself.

    Attributes:
        reward: ranks texts.
        samples: n ≥ 2 texts for every chain and step; the gradient's variance falls with 1 / n.
        seed: of the numbers they are drawn by, which are the same for all chains and steps of a prompt, so
            that two points differ by what they are and not by luck.
    """

    reward: Reward
    samples: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:  # noqa: PLR2004 - the others are the baseline
            raise ValueError(f"samples={self.samples} must be at least 2: each is compared with the others.")

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """For ranking what the reward looks at; drawn texts it reads by itself."""
        return self.reward.required_outputs(view) if isinstance(self.reward, DeclaresOutputs) else NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) the reward's own."""
        return self.reward.score(view, texts)

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) the mean reward of the drawn texts, whose gradient in `view.tokens.soft` is the estimate."""
        found, soft = self.estimate(view), view.tokens.soft
        view.variance = found.variance if view.variance is None else view.variance + found.variance
        return found.value + (found.gradient * (soft - soft.detach())).sum((1, 2))

    @torch.no_grad()
    def estimate(self, view: AnswerBatch) -> Estimate:
        """The samples drawn, scored and compared.

        Raises:
            RewardUnavailableError: the reward failed.
        """
        shares = view.shares * view.tokens.mask[..., None]  # (C, T, K)
        drawn = self._drawn(view, shares)  # (n, C, T) places in the support
        rewards = self._scored(view, drawn)  # (n, C)
        others = (rewards.sum(0) - rewards) / (self.samples - 1)
        gains = (rewards - others)[..., None]  # (n, C, 1)
        likely = shares.expand(self.samples, *shares.shape).gather(-1, drawn[..., None]).squeeze(-1)
        known = view.tokens.mask & (likely > 0)
        felt = torch.where(known, gains / likely, 0.0) / self.samples  # (n, C, T)
        gradient = torch.zeros_like(shares)
        for places, values in zip(drawn, felt, strict=True):
            gradient.scatter_add_(-1, places[..., None], values[..., None])
        # in logits a sample's part is (r − b) · (1[k] − p_k), whose square sums to (r − b)² · (1 − 2p + Σp²)
        norms = (known * (1 - 2 * likely + shares.square().sum(-1))).sum(-1)  # (n, C)
        variance = (gains.squeeze(-1).square() * norms).mean(0) / self.samples
        return Estimate(rewards.mean(0), gradient, variance)

    def _drawn(self, view: AnswerBatch, shares: Tensor) -> Tensor:
        """(n, C, T) by the inverse of the distribution function at the prompt's own numbers."""
        digest = hashlib.sha256(f"{self.seed}\0{view.prompt.key!r}".encode()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        numbers = torch.rand(self.samples, shares.shape[1], generator=rng, dtype=torch.float64)
        ends = shares.double().cumsum(-1)  # (C, T, K)
        at = numbers.to(shares.device)[:, None, :, None] * ends[..., -1:]  # (n, C, T, 1)
        found = torch.searchsorted(ends.expand(self.samples, *ends.shape).contiguous(), at, right=True)
        return found.clamp(max=shares.shape[-1] - 1).squeeze(-1)

    def _scored(self, view: AnswerBatch, drawn: Tensor) -> Tensor:
        """(n, C) the reward of each drawn text; equal texts are scored once."""
        support = view.tokens.support
        ids = support.expand(self.samples, *support.shape).gather(-1, drawn[..., None]).squeeze(-1)
        rows = zip(ids.flatten(0, 1), view.tokens.mask.repeat(self.samples, 1), strict=True)
        texts = [view.policy.decode(row[mask].tolist()) for row, mask in rows]
        distinct = list(dict.fromkeys(texts))
        own = AnswerBatch.hard(view.policy, view.prompt, [view.policy.encode(text) for text in distinct])
        values = self.reward.score(own, distinct).to(view.shares)
        places = {text: i for i, text in enumerate(distinct)}
        return values[[places[text] for text in texts]].view(drawn.shape[:2])
