"""Ids ⇄ logits ⇄ soft tokens on the candidates of each position. Knows neither networks nor text.

A support holds the candidates of every position, (C, T, K) vocabulary ids; K = V with all ids in order is the
exact mode. Logits are stored for the candidates only, so that memory grows with K and not with V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_sea.sampling.lazy_modules import LazyModule

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LazyModule("torch")  # settings are made before anything is computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """How logits become soft tokens.

    Attributes:
        kind: `soft` is softmax(y / τ). `straight_through` is the one-hot argmax forward and softmax(y / τ)
            backward (Bengio et al. 2013). `entropy_mixed` lies between the two by each position's entropy,
            nearer to the one-hot where it is uncertain (EntRGi, arXiv 2602.05000, w = H(q) / log K).
        tau: temperature τ > 0, in logits; a lower one is nearer to the argmax.
    """

    kind: Literal["soft", "straight_through", "entropy_mixed"] = "straight_through"
    tau: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("soft", "straight_through", "entropy_mixed"):
            raise ValueError(f"kind={self.kind!r} is unknown; choose 'soft', 'straight_through' or 'entropy_mixed'.")
        if not 0 < self.tau < math.inf:
            raise ValueError(f"tau={self.tau} must be positive and finite; 1 is plain softmax, lower is harder.")

    def __call__(self, logits: Tensor) -> Tensor:
        """Return soft tokens, (..., K), of (..., K) logits: non-negative, rows sum to one, differentiable."""
        soft = (logits / self.tau).softmax(-1)
        if self.kind == "soft":
            return soft
        hard = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
        gap = (hard - soft).detach()
        if self.kind == "straight_through":
            return soft + gap
        entropy: Tensor = torch.special.entr(soft.detach()).sum(-1, keepdim=True)
        # clamped, because rounding may lift a flat row's H above log K; and a single candidate has log K = 0
        return soft + (entropy / math.log(max(2, logits.shape[-1]))).clamp(max=1) * gap


def straight_through_vjp(logits: Tensor, gradient: Tensor, tau: float) -> Tensor:
    """Return the gradient in logits, (..., K), of straight-through tokens with this gradient, (..., K).

    It is the vector-Jacobian product of softmax(y / τ). The tokens are the argmax, so that their gradient holds for
    as long as the argmax does not change, while this product does change.
    """
    soft = (logits / tau).softmax(-1)
    return soft * (gradient - (soft * gradient).sum(-1, keepdim=True)) / tau


def full_support(ids: Tensor, vocab_size: int) -> Tensor:
    """Return every id as a candidate of every position, (C, T, V), as an expanded view, for (C, T) ids."""
    return torch.arange(vocab_size, device=ids.device).expand(*ids.shape, vocab_size)


def top_support(policy_logits: Tensor, ids: Tensor, size: int) -> Tensor:
    """Return the policy's likeliest ids at each position, the draft's own first: (C, T, K) distinct ids.

    Args:
        policy_logits: (C, T, V); row t predicts ids[:, t].
        ids: (C, T) the draft.
        size: K, capped at V.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"the number of candidates is {size} and must be at least 1.")
    first = policy_logits.scatter(-1, ids[..., None], torch.inf)
    return first.topk(min(size, policy_logits.shape[-1]), dim=-1).indices


def draft_logits(log_pi: Tensor, ids: Tensor, support: Tensor, *, temperature: float, margin: float) -> Tensor:
    """Return the logits at the start of the chains, (C, T, K) float32: log π with the draft's token ahead.

    y₀ = log π / temperature on the candidates, and the draft's entry is raised to max(y₀) + margin, so that
    argmax(y₀) is the draft. (The authors start from the next-token argmax given the draft instead.)

    Args:
        log_pi: (C, T, K) log-probabilities of the candidates.
        ids: (C, T) the draft.
        support: (C, T, K) ids of the candidates, the draft's among them.
        temperature: higher starts flatter.
        margin: lead of the draft's token, in logits.

    Raises:
        ValueError: temperature or margin is not positive, or an id of the draft is no candidate.
    """
    if not (temperature > 0 and margin > 0):
        raise ValueError(f"temperature={temperature} and margin={margin} must both be positive.")
    logits = log_pi.float() / temperature
    is_draft = support == ids[..., None]
    outside = ids[~is_draft.any(-1)].tolist()
    if outside:
        raise ValueError(f"the draft ids {outside} are not among their candidates; `top_support` adds them.")
    return torch.where(is_draft, logits.amax(-1, keepdim=True) + margin, logits)


def match_candidates(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of each new candidate among the old ones, and whether it is one of them, (C, T, K') each.

    Args:
        old: (C, T, K) distinct ids.
        new: (C, T, K') ids.
    """
    ordered, order = old.sort(-1)
    nearest = torch.searchsorted(ordered, new).clamp(max=old.shape[-1] - 1)
    return order.gather(-1, nearest), ordered.gather(-1, nearest) == new


def discretise(logits: Tensor, support: Tensor) -> Tensor:
    """Return the ids with the largest logits, (C, T), from (C, T, K) logits and support; the first one of ties."""
    return support.gather(-1, logits.argmax(-1, keepdim=True)).squeeze(-1)
