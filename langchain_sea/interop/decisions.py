"""Decision models of langchain-core 1.8: questions with probabilities. Imported only where they are there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.decisions import (
    BaseDecisionModel,
    ChoiceAnswer,
    ClassifierResponse,
    Noul,
    NoulAnswer,
    ScoreAnswer,
)

from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop.convert import answer_in, conversation_in, judged_in, rated

if TYPE_CHECKING:
    from langchain_core.decisions import Answer, Question, State

    from langchain_sea.interop.convert import Messages

__all__ = ["Decided", "RewardDecisionModel"]

_ID = "reward"


@dataclass(frozen=True)
class Decided:
    """A decision model's answers as scores; see `from_decision_model`."""

    model: BaseDecisionModel
    question: str | Question
    label: str | None
    yes_is_good: bool

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        """One score for each completion."""
        question = Noul(instructions=self.question) if isinstance(self.question, str) else self.question
        conversation = [dict(message) for message in messages]
        states = [[*conversation, {"role": "assistant", "content": text}] for text in completions]
        responses = self.model.batch([{"state": state, "questions": {_ID: question}} for state in states])
        return [self._score(response.answers.get(_ID)) for response in responses]

    def _score(self, answer: object) -> float:
        if isinstance(answer, NoulAnswer):
            return answer.noul if self.yes_is_good else 1 - answer.noul
        if isinstance(answer, ScoreAnswer):
            return answer.score
        if isinstance(answer, ChoiceAnswer) and self.label in answer.probabilities:
            return answer.probabilities[self.label]
        raise RewardUnavailableError(
            f"the decision model {self.model.model!r} answered {answer!r}, which holds no score; ask a Noul, "
            f"a Score, or a Choice that has the label {self.label!r}."
        )


class RewardDecisionModel(BaseDecisionModel):
    """A reward as a decision model; see `as_decision_model`."""

    model: str
    reward: Callable[..., Any]
    yes_is_good: bool = True
    center: float | None = None
    scale: float = 1.0

    @property
    def _provider(self) -> str:
        return "sea"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        messages, completion = _sides(state)
        (score,) = rated(self.reward, messages, [completion])
        good = self._probability(score)
        answers: dict[str, Answer] = {
            name: self._answer(question, good) for name, question in questions.items()
        }
        return ClassifierResponse(model=self.model, answers=answers)

    def _probability(self, score: float) -> float:
        if self.center is not None:
            return 0.5 * (1 + math.tanh((score - self.center) / (2 * self.scale)))
        if 0 <= score <= 1:
            return score
        raise RewardUnavailableError(
            f"the reward {self.model!r} gave {score}, which is no probability; pass center= and scale= to "
            "make one of it."
        )

    def _answer(self, question: Question, good: float) -> NoulAnswer:
        if not isinstance(question, Noul):
            raise ValueError(  # noqa: TRY004 - a question of another kind is no wrong type
                f"the reward {self.model!r} answers yes or no, and cannot answer {type(question).__name__}; "
                "ask a Noul."
            )
        return NoulAnswer(type="noul", noul=good if self.yes_is_good else 1 - good)


def _sides(state: State) -> tuple[list[dict[str, Any]], str]:
    """What was said, and what is judged: a plain text, the last message, `completion`, or a tool call."""
    if isinstance(state, str):
        return [], state
    if isinstance(state, Mapping) and "completion" in state:
        return judged_in(state)
    if isinstance(state, Mapping) and "tool_call" in state:
        return conversation_in(state.get("messages")), json.dumps(state["tool_call"], default=str)
    messages = conversation_in(state)
    if not messages:
        raise ValueError("the state holds no message to judge; pass the conversation with its answer.")
    return messages[:-1], answer_in(messages[-1])
