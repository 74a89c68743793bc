"""Reward functions as TRL's trainers call them, taken in and given out. Knows TRL by its calls alone."""

from __future__ import annotations

import inspect
import json
import reprlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop.convert import (
    Imported,
    answer_in,
    conversation_in,
    finished,
    label_of,
    rated,
    sides_of,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_sea.interop.convert import Messages

__all__ = ["as_trl", "from_trl"]


def from_trl(
    function: Callable[..., Any],
    *,
    conversational: bool = False,
    none: float | None = None,
    encode: Callable[[str], Sequence[int]] | None = None,
    **columns: Any,
) -> Imported:
    """A reward function as TRL's GRPO and RLOO trainers call it, sync or async.

    Args:
        function: called with `prompts=`, `completions=` and the columns, a list of each.
        conversational: prompts and completions as lists of messages, which the functions of `trl.rewards`
            want; else the last user message's text and plain texts. A function that gets the wrong one of the
            two may fail, or measure the wrong thing.
        none: the score where the function returns None, "does not apply"; without it, None is a failure.
        encode: text → ids, as `policy.encode`, for functions that read `completion_ids`.
        columns: of the data set, say `solution="42"`: a value for every answer, or a function of the messages
            that gives it.

    Raises:
        TypeError: the function takes other columns.
    """
    edge = _Trl(function, conversational, none, encode, columns)
    name = label_of(function)
    try:
        inspect.signature(function).bind(**edge.given([], []))
    except TypeError as error:
        raise TypeError(
            f"the TRL reward {name!r} cannot be called with the columns {sorted(columns)}: {error}. Pass "
            "each column that it reads by its name, and encode= for `completion_ids`."
        ) from error
    except ValueError:  # some functions written in C have no signature
        pass
    return Imported(edge, name)


def as_trl(reward: Callable[..., Any], *, name: str | None = None) -> TrlReward:
    """For `reward_funcs=` of TRL's trainers; plain and conversational data sets alike.

    Args:
        reward: `(prompt, completions) -> scores`, or with the conversation by the name `messages`.
        name: stands in the trainer's log; None takes the reward's own.
    """
    return TrlReward(reward, name or label_of(reward))


def _no_log(*_args: Any) -> None:
    """In place of the trainer's log."""


@dataclass(frozen=True)
class _Trl:
    function: Callable[..., Any]
    conversational: bool
    none: float | None
    encode: Callable[[str], Sequence[int]] | None
    columns: Mapping[str, Any]

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        (found,) = finished([self.function(**self.given(messages, completions))])
        if not isinstance(found, (list, tuple)):
            return found
        missing = [text for text, score in zip(completions, found, strict=False) if score is None]
        if missing and self.none is None:
            raise RewardUnavailableError(
                f"the TRL reward {label_of(self.function)!r} returned None, that it does not apply, for "
                f"{reprlib.repr(missing[0])}; pass none= with the score that such answers get."
            )
        return [self.none if score is None else score for score in found]

    def given(self, messages: Messages, completions: Sequence[str]) -> dict[str, Any]:
        """The keywords, those of the trainer only where the function names them."""
        pairs = [sides_of(messages, text, conversational=self.conversational) for text in completions]
        found: dict[str, Any] = {"prompts": [p for p, _ in pairs], "completions": [c for _, c in pairs]}
        trainers: dict[str, Any] = {"trainer_state": None, "log_extra": _no_log, "log_metric": _no_log}
        if self.encode is not None:
            trainers["completion_ids"] = [list(self.encode(text)) for text in completions]
        names, takes_all = _parameters(self.function)
        columns = {
            name: [value_of(column, messages)] * len(pairs) if pairs else []
            for name, column in self.columns.items()
        }
        taken = {name: value for name, value in found.items() if takes_all or name in names}
        return taken | {name: value for name, value in trainers.items() if name in names} | columns


def _parameters(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """The names of a function's parameters, and whether it takes any other."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return set(), True
    return set(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@dataclass(frozen=True)
class TrlReward:
    """See `as_trl`."""

    reward: Callable[..., Any]
    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **_columns: Any) -> list[float]:
        """One number for each pair; the completions of equal prompts are judged together."""
        rows: dict[str, list[int]] = defaultdict(list)
        pairs = [(conversation_in(p), answer_in(c)) for p, c in zip(prompts, completions, strict=True)]
        for row, (messages, _) in enumerate(pairs):
            rows[json.dumps(messages, default=str)].append(row)
        scores = [0.0] * len(pairs)
        for chosen in rows.values():
            found = rated(self.reward, pairs[chosen[0]][0], [pairs[row][1] for row in chosen])
            for row, score in zip(chosen, found, strict=True):
                scores[row] = score
        return scores
