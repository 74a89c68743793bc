"""What most drafts of a prompt agree on, as a reward in the energy. Knows no mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.rewards.function import FunctionReward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.rewards.math_accuracy import Consensus

__all__ = ["Agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A `Consensus` before it has seen drafts: each prompt's own make a verifier of it.

    Attributes:
        consensus: how drafts are compared.
    """

    consensus: Consensus

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> FunctionReward:
        """The verifier whose gold is these drafts' majority; it keeps its own deadlines."""
        verifier = self.consensus.fit_to_drafts(last_user_text(view.prompt.messages), texts)
        return FunctionReward(verifier, name="consensus", timeout=None)

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Never: there is nothing to agree with before there are drafts."""
        raise RewardUnavailableError(
            f"{len(texts)} texts of {view.prompt.key!r} cannot be compared with a majority that does not "
            "exist: score its drafts first."
        )
