"""Reward functions as TRL's trainers call them, in both directions. Does not import TRL."""

from __future__ import annotations

import inspect
import json
import reprlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_sea.core.functions import call_scoring_function
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop.convert import ImportedReward, await_all, format_pair, get_label, resolve
from langchain_sea.rewards.function import check_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_sea.interop.convert import Messages

__all__ = ["as_trl", "from_trl"]


def from_trl(
    function: Callable[..., Any],
    *,
    conversational: bool = False,
    none: float | None = None,
    encode: Callable[[str], Sequence[int]] | None = None,
    **columns: Any,
) -> ImportedReward:
    """A reward function as TRL's GRPO and RLOO trainers call it, sync or async.

    Args:
        function: called with `prompts=`, `completions=` and the columns, a list of each.
        conversational: prompts and completions as lists of messages, which the functions of `trl.rewards`
            need; else the last user message's text and plain texts. A function that gets the wrong one of the
            two may fail, or measure the wrong thing.
        none: the score where the function returns None, "does not apply"; without it, None is a failure.
        encode: text → ids, as `policy.encode`, for functions that read `completion_ids`.
        columns: of the data set, say `solution="42"`: a value for every answer, or a function of the messages
            that returns it.

    Raises:
        TypeError: the function takes other columns.
    """
    adapter = _TrlAdapter(function, conversational, none, encode, columns)
    name = get_label(function)
    try:
        inspect.signature(function).bind(**adapter.make_arguments([], []))
    except TypeError as error:
        raise TypeError(
            f"the TRL reward {name!r} cannot be called with the columns {sorted(columns)}: {error}. Pass "
            "each column that it reads by its name, and encode= for `completion_ids`."
        ) from error
    except ValueError:  # some functions written in C have no signature
        pass
    return ImportedReward(adapter, name)


def as_trl(reward: Callable[..., Any], *, name: str | None = None) -> TrlReward:
    """For `reward_funcs=` of TRL's trainers, with plain and conversational data sets.

    Args:
        reward: `(prompt, completions) -> scores`, or with the conversation as a parameter `messages`.
        name: used in the trainer's log; None takes the reward's own.
    """
    return TrlReward(reward, name or get_label(reward))


@dataclass(frozen=True)
class TrlReward:
    """A reward function with TRL's parameters; see `as_trl`."""

    reward: Callable[..., Any]
    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, prompts: Sequence[object], completions: Sequence[object], **_columns: Any) -> list[float]:
        """Return one number for each pair; the completions of equal prompts are scored together."""
        rows: dict[str, list[int]] = defaultdict(list)
        pairs = [(_to_messages(p), _to_text(c)) for p, c in zip(prompts, completions, strict=True)]
        for row, (messages, _) in enumerate(pairs):
            rows[json.dumps(messages, default=str)].append(row)
        scores = [0.0] * len(pairs)
        for group in rows.values():
            values = self._score(pairs[group[0]][0], [pairs[row][1] for row in group])
            for row, value in zip(group, values, strict=True):
                scores[row] = value
        return scores

    def _score(self, messages: list[dict[str, Any]], completions: list[str]) -> list[float]:
        return check_scores(call_scoring_function(self.reward, messages, completions), completions, self.name)


def _to_messages(prompt: object) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Sequence) and all(isinstance(m, dict) and "role" in m for m in prompt):
        return [dict(message) for message in prompt]
    raise ValueError(f"{reprlib.repr(prompt)} is no prompt of TRL; pass a text, or a list of message dicts.")


def _to_text(completion: object) -> str:
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence) and completion and "content" in completion[-1]:
        return str(completion[-1]["content"])
    raise ValueError(f"{reprlib.repr(completion)} is no completion of TRL; pass a text, or a list of message dicts.")


@dataclass(frozen=True)
class _TrlAdapter:
    function: Callable[..., Any]
    conversational: bool
    none: float | None
    encode: Callable[[str], Sequence[int]] | None
    columns: Mapping[str, object]

    def __call__(self, messages: Messages, completions: Sequence[str]) -> object:
        (scores,) = await_all([self.function(**self.make_arguments(messages, completions))])
        if not isinstance(scores, (list, tuple)):
            return scores
        skipped = [text for text, score in zip(completions, scores, strict=False) if score is None]
        if skipped and self.none is None:
            raise RewardUnavailableError(
                f"the TRL reward {get_label(self.function)!r} returned None, that it does not apply, for "
                f"{reprlib.repr(skipped[0])}; pass none= with the score that such answers get."
            )
        return [self.none if score is None else score for score in scores]

    def make_arguments(self, messages: Messages, completions: Sequence[str]) -> dict[str, object]:
        """Return the keyword arguments; those of the trainer only where the function names them."""
        pairs = [format_pair(messages, text, conversational=self.conversational) for text in completions]
        texts = {"prompts": [p for p, _ in pairs], "completions": [c for _, c in pairs]}
        trainer: dict[str, object] = {"trainer_state": None, "log_extra": _log_nothing, "log_metric": _log_nothing}
        if self.encode is not None:
            trainer["completion_ids"] = [list(self.encode(text)) for text in completions]
        names, takes_all = _get_parameters(self.function)
        columns = {
            name: [resolve(column, messages)] * len(pairs) if pairs else [] for name, column in self.columns.items()
        }
        arguments: dict[str, object] = {k: v for k, v in texts.items() if takes_all or k in names}
        return arguments | {k: v for k, v in trainer.items() if k in names} | columns


def _log_nothing(*_args: object) -> None:
    """Stand in for the trainer's log."""


def _get_parameters(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return the names of a function's parameters, and whether it takes any other."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return set(), True
    return set(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())
