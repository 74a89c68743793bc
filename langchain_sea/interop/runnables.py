"""Runnables that judge one answer, as rewards."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop.convert import ImportedReward, extract_score

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from langchain_sea.interop.convert import Messages

__all__ = ["from_runnable"]


def from_runnable(
    runnable: Runnable[Any, Any],
    *,
    read: Callable[[Any], Any] | Mapping[str, float] | None = None,
    write: Callable[[Messages, str], Any] | None = None,
    name: str | None = None,
) -> ImportedReward:
    """A Runnable that judges one answer, say prompt | chat model; all answers go through its `batch`.

    Args:
        runnable: called with what `write` returns.
        read: its output → a number; or verdicts with their scores, `{"safe": 1, "unsafe": 0}`, compared
            without case and surrounding spaces: any other verdict is a failure. None reads a number, or the
            `score` of a dict or of a pydantic model.
        write: conversation and answer → its input; None makes `{"prompt", "completion"}`, two texts.
        name: used in reports; None takes the Runnable's own.

    Examples:
        >>> from langchain_core.runnables import RunnableLambda
        >>> judge = RunnableLambda(lambda pair: "unsafe" if "poison" in pair["completion"] else "safe")
        >>> reward = from_runnable(judge, read={"safe": 1.0, "unsafe": 0.0})
        >>> reward([{"role": "user", "content": "Hi"}], ["Hello.", "Drink poison."])
        [1.0, 0.0]
    """
    name = name or runnable.get_name()
    return ImportedReward(_RunnableAdapter(runnable, read, write or _make_texts, name), name)


def _make_texts(messages: Messages, completion: str) -> dict[str, str]:
    return {"prompt": last_user_text(messages), "completion": completion}


@dataclass(frozen=True)
class _RunnableAdapter:
    runnable: Runnable[Any, Any]
    read: Callable[[Any], Any] | Mapping[str, float] | None
    write: Callable[[Messages, str], Any]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        outputs = self.runnable.batch([self.write(messages, text) for text in completions])
        return [self._score(output) for output in outputs]

    def _score(self, output: object) -> object:
        if self.read is None:
            return extract_score(output, None, self.name)
        if not isinstance(self.read, Mapping):
            return self.read(output)
        verdict = str(output.text if isinstance(output, BaseMessage) else output)
        scores = {word.strip().casefold(): score for word, score in self.read.items()}
        if verdict.strip().casefold() not in scores:
            raise RewardUnavailableError(
                f"the judge {self.name!r} answered {reprlib.repr(verdict)}, none of {sorted(self.read)}. "
                "Ask it for one of these, or pass a function as read=."
            )
        return scores[verdict.strip().casefold()]
