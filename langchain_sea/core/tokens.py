"""Answers as relaxed or hard tokens, and what of a reading is wanted. Knows no network.

Shapes: C chains of one prompt, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALL", "LOGITS", "NOTHING", "Tokens", "OutputSpec"]


class Tokens(NamedTuple):
    """Answers to one prompt, relaxed or hard, on a support. Padding on the right has mask False."""

    soft: Tensor  # (C, T, K) rows that sum to one
    support: Tensor  # (C, T, K) vocabulary ids
    mask: Tensor  # (C, T) bool

    @classmethod
    def from_ids(cls, answers: Sequence[Sequence[int]], device: torch.device | None = None) -> Tokens:
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

    def log_probs(self, policy_logits: Tensor) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T), from (C, T, V) logits of at least float32."""
        chosen = policy_logits.gather(-1, self.support)
        return (self.soft * chosen).sum(-1) - policy_logits.logsumexp(-1)

    def after(self, ids: Sequence[int]) -> Tokens:
        """With ids that stand before every answer."""
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
        """(C, T) → (C,): the mean over each answer's unmasked positions, 0 where there are none."""
        return values.masked_fill(~self.mask, 0).sum(-1) / self.mask.sum(-1).clamp(min=1)


class OutputSpec(NamedTuple):
    """What of a reading will be looked at: what nobody wants is not computed."""

    layers: frozenset[int] | None = None  # of the hidden states; None: any
    logits: bool = True  # or anything that is made of them

    def __or__(self, other: OutputSpec) -> OutputSpec:  # union, as of sets
        """Both."""
        both = None if None in (self.layers, other.layers) else self.layers | other.layers  # type: ignore[operator]
        return OutputSpec(both, self.logits or other.logits)

    def __bool__(self) -> bool:
        """Whether anything is wanted at all."""
        return self.logits or self.layers is None or bool(self.layers)


ALL = OutputSpec()
NOTHING = OutputSpec(frozenset(), logits=False)
LOGITS = OutputSpec(frozenset())
