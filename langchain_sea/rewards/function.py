"""Any Python function as a reward: asked in time, checked, never believed when it fails. Knows no model."""

from __future__ import annotations

import contextvars
import inspect
import logging
import math
import reprlib
import threading
from collections.abc import Iterable, Mapping, Sized
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import torch
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)
from torch import Tensor

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["FunctionReward"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FunctionReward:
    """A function that ranks texts; it cannot steer. Picklable if the function is.

    Attributes:
        function: called as `function(prompt, completions)`, where `prompt` is the last user message's text,
            empty if there is none. One with a parameter named `messages` is called as
            `function(messages=…, completions=…)` and gets the conversation as template dicts. `completions`
            is a list of different strings; the answer is one finite number for each, in a list, a tuple, an
            array or a tensor.
        name: stands in errors; by default the function's own.
        timeout: seconds it may take. The function then runs in a thread of its own, which cannot be stopped:
            one that never returns stays behind, yet keeps no process from ending. None runs it in the
            caller's thread for as long as it takes.
        retries: how often a call that fails with an `OSError`, as a lost connection does, is made again,
            within the timeout.
    """

    function: Callable[..., Any]
    _: KW_ONLY
    name: str | None = None
    timeout: float | None = 30.0
    retries: int = 0

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout={self.timeout} must be a positive number of seconds, or None.")
        if takes_messages(self.function):
            try:
                inspect.signature(self.function).bind(messages=[], completions=[])
            except TypeError as error:
                raise TypeError(
                    f"the reward {self._label!r} has a parameter `messages`, so it must take messages=… and "
                    f"completions=… and need nothing else: {error}."
                ) from error

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) float32; equal texts are asked once.

        Raises:
            RewardUnavailableError: the function raised, took too long, or did not return one finite number
                for each completion.
        """
        completions = list(dict.fromkeys(texts))
        scores = check_scores(self._ask(view, completions), completions, self._label)
        by_text = dict(zip(completions, scores, strict=True))
        return torch.tensor([by_text[text] for text in texts], device=view.tokens.soft.device)

    @property
    def _label(self) -> str:
        return self.name or str(getattr(self.function, "__name__", type(self.function).__name__))

    def _ask(self, view: AnswerBatch, completions: list[str]) -> object:
        """What the function returned, whatever it is."""
        messages = [dict(message) for message in view.prompt.messages]

        def call() -> object:
            if takes_messages(self.function):
                return self.function(messages=messages, completions=list(completions))
            return self.function(last_user_text(messages), list(completions))

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
            return _in_time(lambda: attempts(call), self.timeout)
        except _TooLateError:
            raise RewardUnavailableError(
                f"the reward {self._label!r} did not return within {self.timeout} seconds for "
                f"{len(completions)} completions; make it faster, or raise timeout=."
            ) from None
        except RewardUnavailableError:
            raise  # of a judge that says so itself
        except Exception as error:
            raise RewardUnavailableError(
                f"the reward {self._label!r} raised {type(error).__name__}: {error}; completions were "
                f"{reprlib.repr(completions)}. Mend the function, or have it return a number for such texts."
            ) from error


class _TooLateError(Exception):
    """The function did not return in time; apart from a `TimeoutError` of its own."""


def _in_time(call: Callable[[], object], seconds: float) -> object:
    """What `call` returns or raises in a daemon thread, or `_TooLateError`."""
    future: Future[object] = Future()

    def work() -> None:
        try:
            with torch.no_grad():  # the caller's mode does not reach another thread
                future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            future.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    try:
        # whoever is waiting here can still be interrupted from the keyboard
        error = future.exception(seconds)
    except TimeoutError:
        raise _TooLateError from None
    if error is not None:
        raise error
    return future.result()


def check_scores(returned: object, completions: Sequence[str], label: str) -> list[float]:
    """One finite float32 number for each completion."""
    tolist = getattr(returned, "tolist", None)  # arrays and tensors of any library
    values = returned if tolist is None else tolist()
    unordered = isinstance(values, str | bytes | Mapping | AbstractSet)
    if unordered or not (isinstance(values, Sized) and isinstance(values, Iterable)):
        raise _bad(label, f"returned {reprlib.repr(returned)}, which is no list of numbers", completions)
    if len(values) != len(completions):
        raise _bad(label, f"returned {len(values)} scores, {reprlib.repr(returned)}", completions)
    scores = []
    for value, text in zip(values, completions, strict=True):
        try:
            score = math.nan if isinstance(value, str | bytes) else torch.tensor(float(value)).item()
        except (TypeError, ValueError, RuntimeError, OverflowError):
            score = math.nan
        if not math.isfinite(score):
            what = f"gave {reprlib.repr(value)} for {reprlib.repr(text)}, which is no finite number"
            raise _bad(label, what, completions)
        scores.append(score)
    return scores


def _bad(label: str, what: str, completions: Sequence[str]) -> RewardUnavailableError:
    return RewardUnavailableError(
        f"the reward {label!r} {what}; it must return one finite number for each of the "
        f"{len(completions)} completions it was given."
    )


def takes_messages(function: Callable[..., Any]) -> bool:
    try:
        return "messages" in inspect.signature(function).parameters
    except ValueError:  # some functions written in C have no signature
        return False


