"""Errors as exceptions of this package, and what to do when memory runs out."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Policy
    from langchain_sea.engine.ops import RequestSteps

__all__ = [
    "SizeLimit",
    "capture_error",
    "get_size_limit",
    "is_out_of_memory",
    "split_on_out_of_memory",
    "to_package_error",
]

T = TypeVar("T")
R = TypeVar("R")

_NO_LIMIT = 1 << 30
_NUM_SUCCESSES = 64  # of the largest size, after which twice as many are tried


@dataclass(slots=True)
class SizeLimit:
    """How many items are computed at once, by what memory sufficed for so far.

    It is half of a number that failed. Twice as many are tried after 64 successes, and after twice as many successes
    each time that such a try fails: others may have freed memory, but a failure costs all captured graphs.

    Attributes:
        size: the largest number of items.
    """

    size: int = _NO_LIMIT
    _num_successes: int = 0
    _num_needed: int = _NUM_SUCCESSES
    _is_tried: bool = False  # whether the size was doubled, and nothing of that size has been computed yet

    def count_success(self, size: int) -> None:
        """Note that memory sufficed for so many items."""
        if size < self.size:
            return
        if self._is_tried:
            self._is_tried, self._num_needed = False, _NUM_SUCCESSES
        self._num_successes += 1
        if self._num_successes >= self._num_needed:
            self.size, self._num_successes, self._is_tried = self.size * 2, 0, True

    def count_failure(self, size: int) -> None:
        """Note that memory did not suffice for so many items.

        Where it does not suffice for one, their number is not the cause, and there is no limit.
        """
        if self._is_tried and size > self.size // 2:
            self._num_needed *= 2
            self.size //= 2
        else:
            self.size = min(self.size, size // 2) or _NO_LIMIT
        self._num_successes, self._is_tried = 0, False


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
    run: Callable[[Sequence[T]], RequestSteps[list[R]]], items: Sequence[T], tracker: BudgetTracker, limit: SizeLimit
) -> RequestSteps[list[R]]:
    """Run steps for all items together, or for as many at a time as memory suffices for.

    Args:
        run: takes items and returns one result for each.
        items: at least one.
        tracker: told that memory is short.
        limit: on the number of items that are run together; it learns from what happens.

    Returns:
        The result for each item.

    Raises:
        OutOfMemoryError: memory does not suffice for a single item.
    """
    results: list[R] = []
    while len(results) < len(items):
        part = items[len(results) : len(results) + limit.size]
        tracker.is_out_of_memory |= len(part) < len(items)
        try:
            computed = yield from run(part)
        except OutOfMemoryError:
            limit.count_failure(len(part))
            if len(part) == 1:
                raise
            continue
        limit.count_success(len(part))
        results += computed
    return results


_limits: weakref.WeakKeyDictionary[Policy, dict[Hashable, SizeLimit]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def get_size_limit(policy: Policy, kind: Hashable) -> SizeLimit:
    """Return the limit on the rows that a policy computes at once, one for all of its requests.

    Args:
        policy: that computes.
        kind: of computation; each kind needs its own amount of memory for a row.
    """
    with _lock:
        return _limits.setdefault(policy, defaultdict(SizeLimit))[kind]
