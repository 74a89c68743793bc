"""Work that may never return, under a deadline. Knows nothing of what it does."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LateError", "run_with_timeout"]

T = TypeVar("T")


class LateError(TimeoutError):
    """The deadline is over; whatever comes later is thrown away."""


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises, if it does so in time.

    It runs in a daemon thread of its own: a thread that hangs cannot be ended, and must hold neither its caller
    nor the end of the process.

    Raises:
        LateError: it did not.
    """
    found: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            errors.append(error)
        finally:
            done.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="langchain-sea-safety", daemon=True).start()
    if not done.wait(max(0.0, seconds)):
        raise LateError(f"there was no answer within {max(0.0, seconds):.3g} s")
    if errors:
        raise errors[0]
    return found[0]
