"""Any Python function as a reward: called with a timeout, and an error if it fails or returns anything but scores."""

from __future__ import annotations

import logging
import math
import reprlib
import threading
from collections.abc import Iterable, Mapping, Sized
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_exponential
from torch import Tensor

from langchain_sea.core.functions import call_scoring_function, require_scoring_function
from langchain_sea.core.timeouts import LateError, run_with_timeout
from langchain_sea.core.wording import count_of
from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["FunctionReward", "ask_gate", "check_scores"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FunctionReward:
    """A function that scores texts, without a gradient. It can be pickled if the function can.

    Attributes:
        function: is called as `function(prompt, completions)`, where `prompt` is the text of the last user message,
            empty if there is none. A function with a parameter named `messages` is called as
            `function(messages=…, completions=…)` and gets the conversation as template dicts. An `async def`
            function is awaited, in an event loop of its own. `completions` is a
            list of distinct strings. It returns one finite number for each, in a list, a tuple, an array or a tensor.
        name: for error messages; by default the function's own.
        timeout: seconds that a call may take. The function then runs in a daemon thread. A thread that never returns
            cannot be stopped, but does not keep the process from ending. None calls the function in the caller's
            thread, without a limit.
        retries: how often a call that fails with an `OSError`, e.g. a lost connection, is repeated within the timeout.

    Examples:
        >>> from langchain_sea import SEAChatModel
        >>> def is_short(prompt, completions):
        ...     return [float(len(text) < 40) for text in completions]
        >>> model = SEAChatModel(model="tiny", rewards=[FunctionReward(is_short, timeout=5.0)])
    """

    function: Callable[..., Any]
    _: KW_ONLY
    name: str | None = None
    timeout: float | None = 30.0
    retries: int = 0

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout={self.timeout} must be a positive number of seconds, or None.")
        require_scoring_function(self.function, f"reward {self._label!r}")

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,) float32; equal texts are scored once.

        Raises:
            RewardUnavailableError: the function raised, took too long, or did not return one finite number
                for each completion.
        """
        completions = list(dict.fromkeys(texts))
        scores = check_scores(self._call(view, completions), completions, self._label)
        by_text = dict(zip(completions, scores, strict=True))
        return torch.tensor([by_text[text] for text in texts], device=view.tokens.soft.device)

    @property
    def _label(self) -> str:
        return self.name or str(getattr(self.function, "__name__", type(self.function).__name__))

    def _call(self, view: AnswerBatch, completions: list[str]) -> object:
        """Return what the function returned."""

        @torch.no_grad()  # the caller's mode does not apply in another thread
        def call() -> object:
            return call_scoring_function(self.function, view.prompt.messages, completions)

        attempts = Retrying(
            stop=stop_after_attempt(1 + self.retries),
            wait=wait_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type(OSError),
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        )
        try:
            if self.timeout is None:
                return attempts(call)
            return run_with_timeout(self.timeout, lambda: attempts(call))
        except LateError:
            raise RewardUnavailableError(
                f"the reward {self._label!r} did not return within {self.timeout} seconds for "
                f"{len(completions)} completions; make it faster, or increase timeout=."
            ) from None
        except RewardUnavailableError:
            raise
        except Exception as error:
            raise RewardUnavailableError(
                f"the reward {self._label!r} raised {type(error).__name__}: {error}; completions were "
                f"{reprlib.repr(completions)}. Fix the function, or let it return a number for such texts."
            ) from error


def ask_gate(
    gate: Callable[..., Any], messages: Sequence[Mapping[str, Any]], completions: Sequence[str]
) -> list[float]:
    """Return a gate's score of each answer to a conversation; the gate is called as a `FunctionReward` calls.

    Raises:
        RewardUnavailableError: it did not return one finite number for each answer.
    """
    returned = call_scoring_function(gate, messages, completions)
    check_scores(returned, completions, str(getattr(gate, "__name__", type(gate).__name__)), kind="gate")
    return [float(score) for score in cast("Iterable[Any]", returned)]  # as they are: a threshold is no float32 number


def check_scores(returned: object, completions: Sequence[str], label: str, *, kind: str = "reward") -> list[float]:
    """Check what a reward function returned.

    Args:
        returned: a list, tuple, array or tensor of numbers.
        completions: the texts that were to be scored.
        label: the function's name, for error messages.
        kind: what error messages call the function.

    Returns:
        One finite float32 number for each completion.

    Raises:
        RewardUnavailableError: it is anything else.
    """
    subject = f"the {kind} {label!r}"
    tolist = getattr(returned, "tolist", None)  # arrays and tensors of any library
    values = returned if tolist is None else tolist()
    unordered = isinstance(values, str | bytes | Mapping | AbstractSet)
    if unordered or not (isinstance(values, Sized) and isinstance(values, Iterable)):
        raise _bad(subject, f"returned {reprlib.repr(returned)}, which is not a list of numbers", completions)
    if len(values) != len(completions):
        raise _bad(subject, f"returned {count_of(len(values), 'score')}, {reprlib.repr(returned)}", completions)
    scores = []
    for value, text in zip(values, completions, strict=True):
        try:
            score = math.nan if isinstance(value, str | bytes) else torch.tensor(float(value)).item()
        except (TypeError, ValueError, RuntimeError, OverflowError):
            score = math.nan
        if not math.isfinite(score):
            what = f"returned {reprlib.repr(value)} for {reprlib.repr(text)}, which is not a finite number"
            raise _bad(subject, what, completions)
        scores.append(score)
    return scores


def _bad(subject: str, what: str, completions: Sequence[str]) -> RewardUnavailableError:
    return RewardUnavailableError(
        f"{subject} {what}; it must return one finite number for each of the {len(completions)} completions."
    )
