"""The answer that most drafts agree on, in place of a gold answer."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.math_accuracy import TIMED_OUT, MathLimits, MathVerifier, compare_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["Consensus", "find_majority"]

_HAS_ANSWER = frozenset({"right", "wrong"})
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Consensus(MathLimits):
    """1 for answers equal to the one that most drafts of the prompt have, else 0; for prompts without a gold answer.

    Attributes:
        deadline: seconds for one draft, as in `MathVerifier`.
        workers: as in `MathVerifier`.
        memory: as in `MathVerifier`.

    Raises:
        ExtraMissingError: math-verify is not installed.
    """

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> FunctionReward:
        """Return the reward of one prompt: a verifier whose gold answer is the majority of these drafts."""
        verifier = self.make_verifier(last_user_text(view.prompt.messages), texts)
        return FunctionReward(verifier, name="consensus", timeout=None)  # the verifier has its own deadlines

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Raise an error: there is no majority before there are drafts."""
        raise RewardUnavailableError(
            f"{len(texts)} texts of {view.prompt.key!r} cannot be compared with the majority of drafts before "
            "there are drafts: call fit_to_drafts first."
        )

    def make_verifier(self, prompt: str, drafts: Sequence[str]) -> MathVerifier:
        """Return the verifier whose gold answer is the drafts' majority answer; a tie goes to the earliest draft.

        A draft does not vote if it has no answer, or none that can be compared within the deadline.

        Raises:
            RewardUnavailableError: no draft has an answer, or a worker process died twice on one draft.
        """
        texts = list(dict.fromkeys(drafts))
        verdicts = compare_answers([(text, "0") for text in texts], self, is_solution=True)
        has_answer = {text for text, verdict in zip(texts, verdicts, strict=True) if verdict in _HAS_ANSWER}
        votes = [draft for draft in drafts if draft in has_answer]
        if not votes:
            raise RewardUnavailableError(
                f"none of {len(drafts)} drafts to the prompt {reprlib.repr(prompt)} has an answer that can "
                f"be compared within {self.deadline} seconds, so there is no majority; give a gold answer, "
                "or more drafts."
            )
        gold = find_majority(votes, self._equality())
        return MathVerifier(gold, solution=True, deadline=self.deadline, workers=self.workers, memory=self.memory)

    def _equality(self) -> Callable[[str, str], bool]:
        """Return whether two solutions have equal answers; one that ran out of time equals itself alone."""
        timed_out: set[str] = set()

        def is_equal(first: str, other: str) -> bool:
            if first == other or other in timed_out:
                return first == other
            (verdict,) = compare_answers([(first, other)], self, is_solution=True)
            if verdict == TIMED_OUT:
                timed_out.add(other)  # else it would take a deadline for each class
            return verdict == "right"

        return is_equal


def find_majority(answers: Sequence[_Answer], is_equal: Callable[[_Answer, _Answer], bool]) -> _Answer:
    """Return the first answer of the largest class of equal answers; of equally large classes, of the earliest.

    Args:
        answers: at least one, in the order that decides ties.
        is_equal: called with the first answer of a class and another answer; returns whether that one belongs to it.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("there are no answers, so there is no majority; pass at least one.")
    classes: list[list[_Answer]] = []
    for answer in answers:
        equal = next((members for members in classes if is_equal(members[0], answer)), None)
        if equal is None:
            classes.append([answer])
        else:
            equal.append(answer)
    return max(classes, key=len)[0]
