"""Calls that may never return: they run in a thread of their own, and the caller stops waiting at a deadline."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LateError", "run_in_daemon_thread", "run_with_timeout"]

T = TypeVar("T")


class LateError(TimeoutError):
    """The call did not return in time; its result is discarded."""


def run_in_daemon_thread(
    work: Callable[[], T], *, context: contextvars.Context | None = None, on_done: Callable[[], object] = lambda: None
) -> Future[T]:
    """Start `work` in a thread of its own.

    The thread is a daemon: one that hangs cannot be stopped, and must not keep the process from ending.

    Args:
        work: takes no arguments.
        context: the context variables that it sees; None takes a copy of the caller's.
        on_done: called in that thread when the future is done.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller gets it from the future
            future.set_exception(error)
        on_done()

    target = (context or contextvars.copy_context()).run
    threading.Thread(target=target, args=(run,), name="langchain-sea-call", daemon=True).start()
    return future


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread of its own.

    Raises:
        LateError: it did not return within so many seconds.
        BaseException: what `work` raised.
    """
    future = run_in_daemon_thread(work)
    try:
        error = future.exception(max(0.0, seconds))  # not `result`: `work` may raise a TimeoutError of its own
    except TimeoutError:
        raise LateError(f"there was no answer within {max(0.0, seconds):.3g} s") from None
    if error is not None:
        raise error
    return future.result()
