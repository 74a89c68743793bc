"""Runnables that judge one answer, taken in and given out. Knows no model behind them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableLambda

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop.convert import (
    Imported,
    judged_in,
    label_of,
    rated,
    score_in,
)

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from langchain_sea.interop.convert import Messages

__all__ = ["as_runnable", "from_runnable"]


def from_runnable(
    runnable: Runnable[Any, Any],
    *,
    read: Callable[[Any], Any] | Mapping[str, float] | None = None,
    write: Callable[[Messages, str], Any] | None = None,
    name: str | None = None,
) -> Imported:
    """A Runnable that judges one answer, say prompt | chat model; all answers go through its `batch`.

    Args:
        runnable: asked with what `write` gives.
        read: its output → a number; or verdicts with their scores, `{"safe": 1, "unsafe": 0}`, compared
            without case and outer space: any other verdict is a failure. None reads a number, or the `score`
            of a dict or of a pydantic model.
        write: conversation and answer → its input; None gives `{"prompt", "completion"}`, two texts.
        name: stands in reports; None takes the Runnable's own.
    """
    name = name or runnable.get_name()
    return Imported(_Runs(runnable, read, write or prompt_and_completion, name), name)


def prompt_and_completion(messages: Messages, completion: str) -> dict[str, str]:
    """The last user message's text with an answer."""
    return {"prompt": last_user_text(messages), "completion": completion}


def as_runnable(reward: Callable[..., Any], *, name: str | None = None) -> Runnable[Any, float]:
    """A Runnable: `{"prompt" or "messages": …, "completion": …}` → score.

    Args:
        reward: `(prompt, completions) -> scores`, or with the conversation by the name `messages`.
        name: stands in traces; None takes the reward's own.
    """
    return RunnableLambda(RunnableReward(reward), name=name or label_of(reward))


@dataclass(frozen=True)
class _Runs:
    runnable: Runnable[Any, Any]
    read: Callable[[Any], Any] | Mapping[str, float] | None
    write: Callable[[Messages, str], Any]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        outputs = self.runnable.batch([self.write(messages, text) for text in completions])
        return [self._score(output) for output in outputs]

    def _score(self, output: Any) -> object:  # noqa: ANN401 - whatever the Runnable gives
        if self.read is None:
            return score_in(output, None, self.name)
        if not isinstance(self.read, Mapping):
            return self.read(output)
        verdict = str(output.text if isinstance(output, BaseMessage) else output)
        scores = {word.strip().casefold(): score for word, score in self.read.items()}
        if verdict.strip().casefold() not in scores:
            raise RewardUnavailableError(
                f"the judge {self.name!r} said {reprlib.repr(verdict)}, none of {sorted(self.read)}. "
                "Ask it for one of these, or pass a function as read=."
            )
        return scores[verdict.strip().casefold()]


@dataclass(frozen=True)
class RunnableReward:
    """See `as_runnable`."""

    reward: Callable[..., Any]

    def __call__(self, given: Mapping[str, Any]) -> float:
        """The score of one answer."""
        messages, completion = judged_in(given)
        (score,) = rated(self.reward, messages, [completion])
        return score
