"""What crosses every interface: conversations and answers in, scores out. Knows no interface by name."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import reprlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import BaseModel

from langchain_sea.chat.messages import to_template_messages
from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.rewards.function import check_scores, takes_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "Imported",
    "Messages",
    "answer_in",
    "conversation_in",
    "finished",
    "judged_in",
    "label_of",
    "rated",
    "score_in",
    "sides_of",
    "value_of",
]

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Imported:
    """Somebody else's function as ours, its answers checked.

    Attributes:
        edge: given the conversation and the completions, returns one score for each.
        name: stands in reports and errors.
    """

    edge: Callable[[Messages, Sequence[str]], object]
    name: str

    def __call__(self, messages: Messages, completions: Sequence[str]) -> list[float]:
        """One finite float32 number for each completion.

        Raises:
            RewardUnavailableError: there is no such number for one of them.
        """
        return check_scores(self.edge(messages, completions), completions, self.name)

    @property
    def __name__(self) -> str:
        return self.name


def rated(
    reward: Callable[..., Any], messages: Sequence[dict[str, Any]], completions: Sequence[str]
) -> list[float]:
    """Our reward asked as a `FunctionReward` asks it: with the conversation, or its last question.

    Raises:
        RewardUnavailableError: it did not return one finite number for each completion.
    """
    if not completions:
        return []
    if takes_messages(reward):
        found = reward(messages=[dict(message) for message in messages], completions=list(completions))
    else:
        found = reward(last_user_text(messages), list(completions))
    return check_scores(found, completions, label_of(reward))


def label_of(function: object) -> str:
    """What a function, or an object that is called like one, is known by.

    Raises:
        TypeError: it cannot be called.
    """
    if callable(function):
        return str(getattr(function, "__name__", type(function).__name__))
    raise TypeError(
        f"{function!r} cannot be called: pass a function; of a reward with `score`, `scorer(reward, policy)` "
        "makes one."
    )


def finished(values: Iterable[Any]) -> list[Any]:
    """Values, those that must be awaited side by side in an event loop of this call's own.

    Where a loop runs already in this thread, that one is not touched: another thread has the new one.
    """
    found = list(values)
    if not any(map(inspect.isawaitable, found)):
        return found

    async def waited(value: Any) -> Any:  # noqa: ANN401 - whatever the function returns
        return await value if inspect.isawaitable(value) else value

    async def gathered() -> list[Any]:
        return list(await asyncio.gather(*map(waited, found)))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(gathered())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, gathered()).result()


def value_of(given: Any, messages: Messages) -> Any:  # noqa: ANN401 - whatever the user gave
    """A value for every conversation, or what a function gives for this one."""
    return given(messages) if callable(given) else given


def sides_of(messages: Messages, completion: str, *, conversational: bool) -> tuple[Any, Any]:
    """Conversation and answer as lists of messages, or the last question and the answer as texts."""
    if conversational:
        return [dict(m) for m in messages], [{"role": "assistant", "content": completion}]
    return last_user_text(messages), completion


def score_in(result: object, key: str | None, name: str) -> object:
    """The score in what an evaluator returned: a number, a dict, an `EvaluationResult`, or a list of these.

    Args:
        result: as returned.
        key: which of several results; None where there is one.
        name: the evaluator's, for errors.

    Raises:
        RewardUnavailableError: there is none, or more than one.
    """
    found = _results(result)
    chosen = [entry for entry in found if key is None or entry.get("key") == key]
    if len(chosen) == 1 and chosen[0].get("score") is not None:
        return chosen[0]["score"]
    keys = ", ".join(str(entry.get("key")) for entry in found) or "none"
    raise RewardUnavailableError(
        f"the evaluator {name!r} returned {reprlib.repr(result)}, with the keys {keys}: that is not one score"
        f"{'' if key is None else f' of the key {key!r}'}; pass key= to choose among several."
    )


def _results(result: object) -> list[dict[str, Any]]:
    if isinstance(result, BaseModel):
        return [dict(result)]
    if isinstance(result, Mapping):
        return _results(result["results"]) if "results" in result else [dict(result)]
    if isinstance(result, (list, tuple)):
        return [entry for part in result for entry in _results(part)]
    return [{"key": None, "score": result}]


def conversation_in(given: object) -> list[dict[str, Any]]:
    """A conversation in any of its usual forms, as template dicts; a plain text is a user's.

    Raises:
        ValueError: it is in none of them.
    """
    if given is None or (isinstance(given, (str, Sequence)) and not given):
        return []
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, BaseMessage):
        return to_template_messages([given])
    if isinstance(given, Mapping):
        return [dict(given)] if "role" in given else conversation_in(_part(given, "messages", "prompt"))
    if isinstance(given, Sequence) and all(isinstance(m, Mapping) and "role" in m for m in given):
        return [dict(message) for message in given]
    if isinstance(given, Sequence):
        return to_template_messages(convert_to_messages(given))
    raise _unreadable(given, "conversation")


def answer_in(given: object) -> str:
    """The text of an answer in any of its usual forms; of several messages that of the last.

    Raises:
        ValueError: it is in none of them.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, BaseMessage):
        return str(given.text)
    if isinstance(given, Mapping):
        return answer_in(_part(given, "content", "completion", "messages"))
    if isinstance(given, Sequence) and given:
        return answer_in(given[-1])
    raise _unreadable(given, "answer")


def judged_in(given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The conversation in a dict, and the text that stands in it as its `completion`.

    Raises:
        ValueError: there is no completion, or one of them cannot be read.
    """
    if "completion" not in given:
        raise _unreadable(given, "'completion'")
    rest = {name: value for name, value in given.items() if name != "completion"}
    return conversation_in(rest or None), answer_in(given["completion"])


def _part(given: Mapping[str, Any], *names: str) -> object:
    """What stands under the first of the names that is there, or the only thing that is."""
    name = next((name for name in names if name in given), None)
    if name is None and len(given) == 1:
        (name,) = given
    if name is None:
        raise _unreadable(given, " or ".join(map(repr, names)))
    return given[name]


def _unreadable(given: object, what: str) -> ValueError:
    return ValueError(
        f"there is no {what} in {reprlib.repr(given)}; pass a text, messages, or a dict that holds them."
    )
