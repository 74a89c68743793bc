"""Evaluators of openevals, agentevals and LangSmith as rewards. Sends nothing anywhere by itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from langsmith.evaluation import RunEvaluator, run_evaluator
from langsmith.evaluation.evaluator import DynamicRunEvaluator
from langsmith.schemas import Example, Run

from langchain_sea.core.conversation import last_user_text
from langchain_sea.interop.convert import ImportedReward, await_all, extract_score, format_pair, get_label, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_sea.interop.convert import Messages

__all__ = ["from_langsmith", "from_openevals"]


def from_openevals(
    evaluator: Callable[..., Any], *, key: str | None = None, conversational: bool = False, **options: Any
) -> ImportedReward:
    """An evaluator of openevals or agentevals, or any with their keywords; async ones run concurrently.

    Args:
        evaluator: called once for each answer with `inputs=`, `outputs=` and the options; returns
            `{"key", "score"}` or a list of these.
        key: which of several results is the score.
        conversational: inputs and outputs as lists of messages; else the last user message's text and a text.
        options: say `reference_outputs="42"`: a value, or a function of the messages that returns it.
    """
    name = get_label(evaluator)
    return ImportedReward(_OpenEvalsAdapter(evaluator, key, conversational, options, name), name)


def from_langsmith(
    evaluator: RunEvaluator | Callable[..., Any],
    *,
    key: str | None = None,
    inputs: str = "prompt",
    outputs: str = "completion",
    reference_outputs: Mapping[str, Any] | Callable[[Messages], Mapping[str, Any]] | None = None,
) -> ImportedReward:
    """An evaluator as `langsmith.evaluate` takes it: a `RunEvaluator`, or a function, sync or async.

    LangSmith calls a function by the names of its parameters: `run`, `example`, `inputs`, `outputs`,
    `reference_outputs`; two others are the run and the example. Nothing is sent anywhere, unless tracing is on.

    Args:
        evaluator: called once for each answer.
        key: which of several results is the score.
        inputs: the name of the last user message's text in the run's inputs, beside `messages`, the conversation.
        outputs: the name of the answer's text in the run's outputs.
        reference_outputs: the example's outputs, or a function of the messages that returns them.
    """
    name = type(evaluator).__name__ if isinstance(evaluator, RunEvaluator) else get_label(evaluator)
    return ImportedReward(_LangSmithAdapter(evaluator, key, inputs, outputs, reference_outputs, name), name)


@dataclass(frozen=True)
class _OpenEvalsAdapter:
    evaluator: Callable[..., Any]
    key: str | None
    conversational: bool
    options: Mapping[str, object]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        options = {name: resolve(option, messages) for name, option in self.options.items()}
        pairs = [format_pair(messages, text, conversational=self.conversational) for text in completions]
        results = await_all(self.evaluator(inputs=i, outputs=o, **options) for i, o in pairs)
        return [extract_score(result, self.key, self.name) for result in results]


@dataclass(frozen=True)
class _LangSmithAdapter:
    evaluator: RunEvaluator | Callable[..., Any]
    key: str | None
    inputs: str
    outputs: str
    reference: Mapping[str, Any] | Callable[[Messages], Mapping[str, Any]] | None
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        judge = self.evaluator if isinstance(self.evaluator, RunEvaluator) else run_evaluator(self.evaluator)
        is_async = isinstance(judge, DynamicRunEvaluator) and judge.is_async
        evaluate: Callable[..., Any] = judge.aevaluate_run if is_async else judge.evaluate_run
        inputs = {self.inputs: last_user_text(messages), "messages": [dict(m) for m in messages]}
        reference = self.reference(messages) if callable(self.reference) else self.reference
        example = Example(id=uuid.uuid4(), inputs=inputs, outputs=dict(reference or {}))
        results = await_all(evaluate(self._run(inputs, text), example) for text in completions)
        return [extract_score(result, self.key, self.name) for result in results]

    def _run(self, inputs: dict[str, Any], completion: str) -> Run:
        now, outputs = datetime.now(UTC), {self.outputs: completion}
        return Run(id=uuid.uuid4(), name="answer", run_type="chain", start_time=now, inputs=inputs, outputs=outputs)
