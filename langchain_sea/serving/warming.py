"""Answer questions before clients ask any, so that weights are read, speeds measured, and a GPU's graphs captured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.chat.prepare import load_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import LanguageModelInput

    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.models.graph_cache import Capture

__all__ = ["WarmUp", "warm_up"]

_QUESTIONS = (
    "What should I pack for a weekend in the mountains?",
    "How do rainbows form?",
    "Write a short thank-you note to a neighbour who watered my plants while I was away for two weeks in July.",
)
_MIN_TURNS = 2  # most functions are captured when they are called for the second time
_MAX_TURNS = 5


class WarmUp(NamedTuple):
    """What warming up took.

    Attributes:
        num_answers: of each turn.
        seconds: of each turn.
        captures: of all graphs that the process holds for this model.
    """

    num_answers: int
    seconds: tuple[float, ...]
    captures: tuple[Capture, ...]


def warm_up(model: SEAChatModel, requests: int = 1, *, report: Callable[[str], None] | None = None) -> WarmUp:
    """Answer questions together, half as many, and so on down to one, until that captures no graph any more.

    Where no graphs are replayed, as on a CPU, one question is answered. Graphs belong to a process, so that another one
    captures its own.

    Args:
        model: with the rewards, the preset and the length of answers that clients get.
        requests: how many are answered together at most.
        report: called with what is done next.
    """
    # of the model that it names; SEAChatModel has no public way to it
    policy = load_policy(model._settings_of_call(None, {})[0])  # noqa: SLF001
    batches = [_list_questions(1)]
    if policy.replays_graphs:
        batches = [[question] for question in _QUESTIONS]
        while len(batches[-1]) < requests:
            batches.append(_list_questions(min(2 * len(batches[-1]), requests)))
    num_answers = sum(map(len, batches))
    max_turns, seconds, num_captures = _MAX_TURNS if policy.replays_graphs else 1, list[float](), -1
    while len(seconds) < max_turns and (len(seconds) < _MIN_TURNS or len(policy.captures) > num_captures):
        if report is not None:
            report(f"answering {num_answers} questions, turn {len(seconds) + 1} …")
        num_captures, started = len(policy.captures), time.monotonic()
        for questions in reversed(batches):  # a larger cache of decoding would drop the graphs of a smaller one
            model.batch(questions)
        seconds.append(time.monotonic() - started)
    return WarmUp(num_answers, tuple(seconds), policy.captures)


def _list_questions(count: int) -> list[LanguageModelInput]:
    """Return so many questions of different lengths, no two of them alike."""
    return [f"{_QUESTIONS[n % len(_QUESTIONS)]}{f' ({n})' if n >= len(_QUESTIONS) else ''}" for n in range(count)]
