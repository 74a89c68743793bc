"""Evaluators of openevals, agentevals and LangSmith, taken in and given out. Sends nothing by itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from langsmith.evaluation import RunEvaluator, run_evaluator
from langsmith.evaluation.evaluator import DynamicRunEvaluator
from langsmith.schemas import Example, Run

from langchain_sea.core.conversation import last_user_text
from langchain_sea.interop.convert import (
    Imported,
    answer_in,
    conversation_in,
    finished,
    label_of,
    rated,
    score_in,
    sides_of,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_sea.interop.convert import Messages

__all__ = ["as_langsmith", "as_openevals", "from_langsmith", "from_openevals"]


def from_openevals(
    evaluator: Callable[..., Any],
    *,
    key: str | None = None,
    conversational: bool = False,
    **options: Any,
) -> Imported:
    """An evaluator of openevals or agentevals, or any with their keywords; async ones run side by side.

    Args:
        evaluator: called once for each answer with `inputs=`, `outputs=` and the options; returns
            `{"key", "score"}` or a list of these.
        key: which of several results is the score.
        conversational: inputs and outputs as lists of messages; else the last user message's text and a text.
        options: say `reference_outputs="42"`: a value, or a function of the messages that gives it.
    """
    name = label_of(evaluator)
    return Imported(_OpenEvals(evaluator, key, conversational, options, name), name)


def from_langsmith(
    evaluator: object,
    *,
    key: str | None = None,
    inputs: str = "prompt",
    outputs: str = "completion",
    reference_outputs: Mapping[str, Any] | Callable[[Messages], Mapping[str, Any]] | None = None,
) -> Imported:
    """An evaluator as `langsmith.evaluate` takes it: a `RunEvaluator`, or a function, sync or async.

    A function is called by the names of its parameters, as LangSmith does: `run`, `example`, `inputs`,
    `outputs`, `reference_outputs`; two others are the run and the example. Nothing is sent anywhere, unless
    tracing is switched on.

    Args:
        evaluator: asked once for each answer.
        key: which of several results is the score.
        inputs: the name under which the last user message's text stands in the run's inputs, beside
            `messages`, the conversation.
        outputs: the name under which the answer's text stands in the run's outputs.
        reference_outputs: the example's outputs, or a function of the messages that gives them.
    """
    whole = isinstance(evaluator, RunEvaluator)
    name = type(evaluator).__name__ if whole else label_of(evaluator)
    return Imported(_LangSmith(evaluator, key, inputs, outputs, reference_outputs, name), name)


def as_openevals(reward: Callable[..., Any], *, name: str | None = None) -> OpenEvalsEvaluator:
    """An evaluator by the keywords of openevals.

    Args:
        reward: `(prompt, completions) -> scores`, or with the conversation by the name `messages`.
        name: the key of its results; None takes the reward's own name.
    """
    return OpenEvalsEvaluator(reward, name or label_of(reward))


def as_langsmith(reward: Callable[..., Any], *, name: str | None = None) -> LangSmithEvaluator:
    """For `evaluators=` of `langsmith.evaluate`: a function of `inputs` and `outputs`.

    It reads `messages` or `prompt` of the inputs and `completion` of the outputs, or what alone is there.

    Args:
        reward: `(prompt, completions) -> scores`, or with the conversation by the name `messages`.
        name: the key of its results; None takes the reward's own name.
    """
    return LangSmithEvaluator(reward, name or label_of(reward))


@dataclass(frozen=True)
class _OpenEvals:
    evaluator: Callable[..., Any]
    key: str | None
    conversational: bool
    options: Mapping[str, Any]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        options = {name: value_of(option, messages) for name, option in self.options.items()}
        pairs = [sides_of(messages, text, conversational=self.conversational) for text in completions]
        results = finished(self.evaluator(inputs=i, outputs=o, **options) for i, o in pairs)
        return [score_in(result, self.key, self.name) for result in results]


@dataclass(frozen=True)
class _LangSmith:
    evaluator: Any
    key: str | None
    inputs: str
    outputs: str
    reference: Any
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        judge = self.evaluator if isinstance(self.evaluator, RunEvaluator) else run_evaluator(self.evaluator)
        waits = isinstance(judge, DynamicRunEvaluator) and judge.is_async
        ask: Callable[..., Any] = judge.aevaluate_run if waits else judge.evaluate_run
        inputs = {self.inputs: last_user_text(messages), "messages": [dict(m) for m in messages]}
        reference = value_of(self.reference, messages) or {}
        example = Example(id=uuid.uuid4(), inputs=inputs, outputs=dict(reference))
        results = finished(ask(self._run(inputs, text), example) for text in completions)
        return [score_in(result, self.key, self.name) for result in results]

    def _run(self, inputs: dict[str, Any], completion: str) -> Run:
        now, outputs = datetime.now(UTC), {self.outputs: completion}
        return Run(
            id=uuid.uuid4(), name="answer", run_type="chain", start_time=now, inputs=inputs, outputs=outputs
        )


@dataclass(frozen=True)
class OpenEvalsEvaluator:
    """See `as_openevals`."""

    reward: Callable[..., Any]
    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(
        self,
        *,
        inputs: object = None,
        outputs: object,
        reference_outputs: object = None,  # noqa: ARG002 - the caller passes it by name
        **_options: Any,
    ) -> dict[str, Any]:
        """The result for one answer."""
        (score,) = rated(self.reward, conversation_in(inputs), [answer_in(outputs)])
        return {"key": self.name, "score": score, "comment": None, "metadata": None}


@dataclass(frozen=True)
class LangSmithEvaluator:
    """See `as_langsmith`."""

    reward: Callable[..., Any]
    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        """The result for one run."""
        (score,) = rated(self.reward, conversation_in(inputs), [answer_in(outputs)])
        return {"key": self.name, "score": score}
