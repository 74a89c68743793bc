"""Ids ⇄ logits ⇄ soft tokens, on a per-position support. Knows neither networks nor text.

A support is the candidate set of every position, (C, T, K) vocabulary ids; K = V with all ids in order is the
exact mode. Logits live on the support, so memory grows with K and not with V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """How logits become soft tokens.

    Attributes:
        kind: `soft` is softmax(y / τ). `straight_through` is the one-hot argmax forward and softmax(y / τ)
            backward (Bengio et al. 2013). `entropy_mixed` lies between the two by each position's entropy,
            nearer to the one-hot where it is uncertain (EntRGi, arXiv 2602.05000, w = H(q) / log K).
        tau: temperature τ > 0, in logits; lower is harder.
    """

    kind: Literal["soft", "straight_through", "entropy_mixed"] = "straight_through"
    tau: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("soft", "straight_through", "entropy_mixed"):
            raise ValueError(
                f"kind={self.kind!r} is unknown; choose 'soft', 'straight_through' or 'entropy_mixed'."
            )
        if not 0 < self.tau < math.inf:
            raise ValueError(f"tau={self.tau} must be positive and finite; 1 is plain softmax, lower harder.")

    def __call__(self, logits: Tensor) -> Tensor:
        """(..., K) logits → (..., K) soft tokens: non-negative rows that sum to one, differentiable."""
        soft = (logits / self.tau).softmax(-1)
        if self.kind == "soft":
            return soft
        hard = one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
        gap = (hard - soft).detach()
        if self.kind == "straight_through":
            return soft + gap
        entropy: Tensor = torch.special.entr(soft.detach()).sum(-1, keepdim=True)
        # the clamp: rounding may lift a flat row's H above log K, and a lone candidate has log K = 0
        return soft + (entropy / math.log(max(2, logits.shape[-1]))).clamp(max=1) * gap


def straight_through_vjp(logits: Tensor, gradient: Tensor, tau: float) -> Tensor:
    """A gradient in straight-through tokens, (..., K), as the logits feel it: softmax' at y / τ.

    The tokens themselves are the argmax, so that as long as it stays the gradient in them does too.
    """
    soft = (logits / tau).softmax(-1)
    return soft * (gradient - (soft * gradient).sum(-1, keepdim=True)) / tau


def full_support(ids: Tensor, vocab_size: int) -> Tensor:
    """The exact mode: every id at every position. (C, T) → (C, T, V) as an expanded view."""
    return torch.arange(vocab_size, device=ids.device).expand(*ids.shape, vocab_size)


def top_support(policy_logits: Tensor, ids: Tensor, size: int) -> Tensor:
    """The policy's most likely tokens at each position, the draft's own first: (C, T, K) distinct ids.

    Row t of `policy_logits` (C, T, V) predicts ids[:, t], the draft's (C, T); `size` is K, capped at V.
    """
    if size < 1:
        raise ValueError(f"support size {size} must be at least 1.")
    first = policy_logits.scatter(-1, ids[..., None], torch.inf)
    return first.topk(min(size, policy_logits.shape[-1]), dim=-1).indices


def draft_logits(log_pi: Tensor, ids: Tensor, support: Tensor, *, sharpness: float, margin: float) -> Tensor:
    """The start of the chain: the policy's log-probabilities, the draft's token ahead by `margin`.

    y₀ = log π / sharpness on the support, then the draft's entry is raised to max(y₀) + margin, so that
    argmax(y₀) *is* the draft (the authors' start is not: it is the next-token argmax given the draft).
    A higher sharpness starts flatter. From log π on the support, (C, T, K), the draft's ids (C, T) and the
    support, (C, T, K), which must hold them, to (C, T, K) float32.
    """
    if not (sharpness > 0 and margin > 0):
        raise ValueError(f"sharpness={sharpness} and margin={margin} must both be positive.")
    logits = log_pi.float() / sharpness
    is_draft = support == ids[..., None]
    outside = ids[~is_draft.any(-1)].tolist()
    if outside:
        raise ValueError(f"draft ids {outside} are outside their support: use `top_support`, `full_support`.")
    return torch.where(is_draft, logits.amax(-1, keepdim=True) + margin, logits)


def match_candidates(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of the new candidates, (C, T, K), stands among the old ones, and whether it does at all."""
    ordered, order = old.sort(-1)
    at = torch.searchsorted(ordered, new).clamp(max=old.shape[-1] - 1)
    return order.gather(-1, at), ordered.gather(-1, at) == new


def discretise(logits: Tensor, support: Tensor) -> Tensor:
    """(C, T, K) logits and support → (C, T) ids: the argmax; ties go to the earlier candidate."""
    return support.gather(-1, logits.argmax(-1, keepdim=True)).squeeze(-1)
