"""Errors as exceptions of this package, and what to do when memory runs out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import torch

from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["capture_error", "is_out_of_memory", "split_on_out_of_memory", "to_package_error"]

T = TypeVar("T")
R = TypeVar("R")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on any device."""
    message = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in message or "out of memory" in message)
    )


def to_package_error(error: BaseException) -> Exception:
    """Return the error, as one of this package where it concerns memory or would end the process.

    Raises:
        KeyboardInterrupt: it is one, in the main thread.
    """
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    if is_out_of_memory(error):
        # without its traceback, whose frames would keep the memory in use while less is tried
        bare = error.with_traceback(None)
        if isinstance(bare, OutOfMemoryError):
            return bare
        memory_error = OutOfMemoryError(f"memory ran out ({error}); use fewer chains or drafts, or shorter answers.")
        memory_error.__cause__ = bare
        return memory_error
    if isinstance(error, Exception):
        return error
    reward_error = RewardUnavailableError(
        f"a reward raised {error!r}, which would end the process; fix the reward, or remove it."
    )
    reward_error.__cause__ = error
    return reward_error


def capture_error(call: Callable[[], object]) -> Exception | None:
    """Return what `call` raised, or None."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the caller raises it where it belongs
        return to_package_error(error)
    return None


def split_on_out_of_memory(
    run: Callable[[Sequence[T]], RequestSteps[list[R]]], items: Sequence[T], tracker: BudgetTracker
) -> RequestSteps[list[R]]:
    """Run steps for all items together; where memory runs out, for each half of them.

    Args:
        run: takes items and returns one result for each.
        items: at least one.
        tracker: told that memory ran out.

    Returns:
        The result for each item.

    Raises:
        OutOfMemoryError: memory does not suffice for a single item.
    """
    try:
        return (yield from run(items))
    except OutOfMemoryError:
        if len(items) == 1:
            raise
    tracker.is_out_of_memory = True
    middle = len(items) // 2
    first = yield from split_on_out_of_memory(run, items[:middle], tracker)
    return first + (yield from split_on_out_of_memory(run, items[middle:], tracker))
