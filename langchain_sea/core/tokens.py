"""Answers as relaxed tokens or as ids, and which outputs of a forward pass are needed. Knows no network.

Shapes: C chains of one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALL", "LOGITS", "NOTHING", "OutputSpec", "Tokens"]


class Tokens(NamedTuple):
    """Answers to one prompt as weights over the candidates of each position. Padding is on the right."""

    soft: Tensor  # (C, T, K) weights, rows sum to one
    support: Tensor  # (C, T, K) vocabulary ids of the candidates
    mask: Tensor  # (C, T) bool, False for padding

    @classmethod
    def from_ids(cls, answers: Sequence[Sequence[int]], device: torch.device | None = None) -> Tokens:
        """Return ids as one-hot tokens with one candidate each; an empty answer is one masked position."""
        width = max(1, *(len(ids) for ids in answers))
        rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in answers], device=device)
        lengths = torch.tensor([len(ids) for ids in answers], device=device)
        mask = torch.arange(width, device=device) < lengths[:, None]
        return cls(torch.ones(*rows.shape, 1, device=device), rows[..., None], mask)

    @property
    def ids(self) -> Tensor:
        """(C, T) the id with the largest weight."""
        return self.support.gather(-1, self.soft.argmax(-1, keepdim=True)).squeeze(-1)

    def log_probs(self, policy_logits: Tensor) -> Tensor:
        """Return Σₖ softₖ · log π(k), (C, T), from (C, T, V) logits of at least float32."""
        chosen = policy_logits.gather(-1, self.support)
        return (self.soft * chosen).sum(-1) - policy_logits.logsumexp(-1)

    def after(self, ids: Sequence[int]) -> Tokens:
        """Return the tokens with `ids` put before every answer."""
        if not ids:
            return self
        device, shape = self.soft.device, (len(self.soft), len(ids), self.soft.shape[-1])
        soft = torch.zeros(shape, dtype=self.soft.dtype, device=device)
        soft[..., 0] = 1
        support = torch.tensor(ids, device=device)[:, None].expand(shape)
        mask = torch.ones(shape[:2], dtype=torch.bool, device=device)
        pairs = ((soft, self.soft), (support, self.support), (mask, self.mask))
        return Tokens(*(torch.cat(pair, 1) for pair in pairs))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of (C, T) values over each answer's unmasked positions, (C,); 0 without any."""
        return values.masked_fill(~self.mask, 0).sum(-1) / self.mask.sum(-1).clamp(min=1)


class OutputSpec(NamedTuple):
    """Which outputs of a forward pass are needed; others are not computed."""

    layers: frozenset[int] | None = None  # whose hidden states are needed; None: all
    logits: bool = True  # whether logits, or anything computed from them, are needed

    def __or__(self, other: OutputSpec) -> OutputSpec:
        """Return the spec of what either of the two needs."""
        layers = None
        if self.layers is not None and other.layers is not None:
            layers = self.layers | other.layers
        return OutputSpec(layers, self.logits or other.logits)

    def __bool__(self) -> bool:
        """Return whether anything is needed."""
        return self.logits or self.layers is None or bool(self.layers)


ALL = OutputSpec()
NOTHING = OutputSpec(frozenset(), logits=False)
LOGITS = OutputSpec(frozenset())
