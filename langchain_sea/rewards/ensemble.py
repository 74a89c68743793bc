"""Several rewards as one that distrusts what they disagree on. Knows no model and no text.

    r(x, y) = mean_i z_i − κ · std_i z_i,    z_i = (r_i − c_i) / s_i

A gradient that fools one head seldom fools all alike: where they part, the reward falls (arXiv 2310.02743
compares such rules).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from langchain_sea.core.terms import RewardTerm

__all__ = ["Ensemble"]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Rewards of one thing, made apart: heads of other layers or seeds, or other models.

    Attributes:
        terms: two or more, each with its own center and scale; weights do not count. All must steer.
        penalty: κ ≥ 0 of their standard deviation; higher trusts only what all praise.
    """

    terms: tuple[RewardTerm, ...]
    penalty: float = 1.0

    def __post_init__(self) -> None:
        lame = [term.name for term in self.terms if not isinstance(term.reward, DifferentiableReward)]
        if len(self.terms) < 2 or lame:  # noqa: PLR2004 - one has no spread
            raise ValueError(
                f"an ensemble needs two or more rewards that steer: there are {len(self.terms)}, and "
                f"{lame or 'none'} cannot."
            )
        if not self.penalty >= 0:
            raise ValueError(f"penalty={self.penalty} must not be negative.")

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """All that any of them looks at."""
        output_spec = self.terms[0].required_outputs(view, differentiable_only=False)
        for term in self.terms[1:]:
            output_spec |= term.required_outputs(view, differentiable_only=False)
        return output_spec

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,), differentiable in `view.tokens.soft`."""
        return self._joined(lambda term: term.score_soft(view))

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,)."""
        return self._joined(lambda term: term.score(view, texts))

    def _joined(self, ask: Callable[[RewardTerm], Tensor]) -> Tensor:
        found = torch.stack([ask(term) for term in self.terms])  # (R, C)
        # the floor: the gradient of a standard deviation of zero is not finite
        spread = (found.var(0, correction=0) + torch.finfo(found.dtype).eps).sqrt()
        return found.mean(0) - self.penalty * spread
