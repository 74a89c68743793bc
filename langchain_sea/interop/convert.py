"""What the adapters share: conversations and answers in, scores out. Knows no library by name."""

from __future__ import annotations

import asyncio
import inspect
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.functions import wait_for_result
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.rewards.function import check_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ImportedReward", "Messages", "await_all", "extract_score", "format_pair", "get_label", "resolve"]

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ImportedReward:
    """Another library's function as a reward function; its scores are checked.

    Attributes:
        adapter: called with the conversation and the completions, returns one score for each completion.
        name: used in reports and errors.
    """

    adapter: Callable[[Messages, Sequence[str]], object]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> list[float]:
        """Return one finite float32 number for each completion.

        Raises:
            RewardUnavailableError: there is no such number for one of them.
        """
        return check_scores(self.adapter(messages, completions), completions, self.name)

    @property
    def __name__(self) -> str:
        return self.name


def get_label(function: object) -> str:
    """Return the name of a function, or of a callable object's class.

    Raises:
        TypeError: it cannot be called.
    """
    if callable(function):
        return str(getattr(function, "__name__", type(function).__name__))
    raise TypeError(f"{function!r} cannot be called; pass a function or a callable object.")


def await_all(values: Iterable[object]) -> list[object]:
    """Return the values; awaitables among them are awaited concurrently.

    They run in an event loop of this call's own. If this thread already runs a loop, the new one gets another thread.
    """
    items = list(values)
    if not any(map(inspect.isawaitable, items)):
        return items

    async def resolve_item(item: object) -> object:
        return await item if inspect.isawaitable(item) else item

    async def gather() -> list[object]:
        return list(await asyncio.gather(*map(resolve_item, items)))

    return list(wait_for_result(gather()))


def resolve(option: object, messages: Messages) -> object:
    """Return an option's value; one that is a function is called with the conversation."""
    return option(messages) if callable(option) else option


def format_pair(messages: Messages, completion: str, *, conversational: bool) -> tuple[object, object]:
    """Return prompt and answer: as lists of messages, or as the last user message's text and the answer's text."""
    if conversational:
        return [dict(m) for m in messages], [{"role": "assistant", "content": completion}]
    return last_user_text(messages), completion


def extract_score(result: object, key: str | None, name: str) -> object:
    """Return the score in an evaluator's result: a number, a dict, an `EvaluationResult`, or a list of these.

    Args:
        result: as returned.
        key: which of several results; None where there is one.
        name: the evaluator's, for errors.

    Raises:
        RewardUnavailableError: there is no score, or more than one.
    """
    results = _list_results(result)
    matches = [entry for entry in results if key is None or entry.get("key") == key]
    if len(matches) == 1 and matches[0].get("score") is not None:
        return matches[0]["score"]
    keys = ", ".join(str(entry.get("key")) for entry in results) or "none"
    raise RewardUnavailableError(
        f"the evaluator {name!r} returned {reprlib.repr(result)}, with the keys {keys}: that is not one score"
        f"{'' if key is None else f' of the key {key!r}'}; pass key= to choose among several."
    )


def _list_results(result: object) -> list[dict[str, Any]]:
    if isinstance(result, BaseModel):
        return [dict(result)]
    if isinstance(result, Mapping):
        return _list_results(result["results"]) if "results" in result else [dict(result)]
    if isinstance(result, (list, tuple)):
        return [entry for part in result for entry in _list_results(part)]
    return [{"key": None, "score": result}]
