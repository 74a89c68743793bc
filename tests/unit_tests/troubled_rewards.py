"""A reward that fails, or gives scores that are no numbers, where a test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from doubles import TokenReward

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from langchain_sea.core.protocols import AnswerBatch


@dataclass
class Troubled:
    """A reward whose call number `at` goes wrong: `mishap` gets its values and returns others, or raises.

    With `only`, it goes wrong at prompts with that text alone. With `is_token_additive` or `scores_prefixes` it says
    that of itself.
    """

    mishap: Callable[[Tensor], Tensor]
    reward: TokenReward = field(default_factory=lambda: TokenReward.random(0))
    at: int = 0
    where: str = "score"
    only: str | None = None
    calls: int = 0
    is_token_additive: bool = False
    scores_prefixes: bool = False

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        return self._troubled("score", view, self.reward.score(view, texts))

    def score_soft(self, view: AnswerBatch) -> Tensor:
        return self._troubled("score_soft", view, self.reward.score_soft(view))

    def _troubled(self, where: str, view: AnswerBatch, values: Tensor) -> Tensor:
        if where != self.where or self.only not in (None, view.prompt.key):
            return values
        self.calls += 1
        return self.mishap(values) if self.calls > self.at else values


def raises(error: BaseException) -> Callable[[Tensor], Tensor]:
    """A mishap."""

    def mishap(_values: Tensor) -> Tensor:
        raise error

    return mishap
