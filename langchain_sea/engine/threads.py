"""How many threads the CPU's matrix products have while an engine works: as many as are fastest at the moment.

Threads that share a product wait for each other. Where another process keeps one of them from running, two threads
may take many times as long as one. torch's number of threads is right on an idle machine, and is measured against
fewer ones when an engine begins to work, and every few seconds while it does.

Nothing is measured or changed where the user has chosen: with OMP_NUM_THREADS, MKL_NUM_THREADS, or
LANGCHAIN_SEA_THREADS, which is the number for engines alone.
"""

from __future__ import annotations

import logging
import os
import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["ThreadControl", "choose_fastest", "get_thread_control", "list_candidates", "measure_products"]

_log = logging.getLogger(__name__)

_OWN_VARIABLE = "LANGCHAIN_SEA_THREADS"
_OTHER_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MAX_RELATIVE_TIME = 0.8  # of the current number's time: what another number may take to be chosen
_VALID_SECONDS = 3.0  # of a measurement
_REPEATS = 4
_WINDOW_SECONDS = 0.003  # of each repeat, so that one number of threads takes about 10 ms
_ROWS, _SIZE = 16, (1536, 576)  # of the states and of the weight: the draws of a round, a layer of a small model


def choose_fastest(current: int, seconds: Mapping[int, Sequence[float]]) -> int:
    """Return the number of threads with the least mean; the current one unless another takes 0.8 of its time.

    It is the mean, because threads that wait for each other do so now and then, for long: a median would miss it.

    Args:
        current: the number that is in use.
        seconds: of repeated measurements, for each number of threads.
    """
    means = {number: statistics.fmean(values) for number, values in seconds.items()}
    fastest = min(means, key=lambda number: means[number])
    if current in means and means[fastest] > _MAX_RELATIVE_TIME * means[current]:
        return current
    return fastest


def list_candidates(most: int) -> list[int]:
    """Return one thread, half of the most, and the most."""
    return sorted({1, max(1, most // 2), most})


@torch.inference_mode()
def measure_products(num_threads: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds of one matrix product with so many threads, the mean of a few milliseconds.

    The calling thread's number of threads is changed.
    """
    torch.set_num_threads(num_threads)
    states, weight = torch.full((_ROWS, _SIZE[1]), 0.01), torch.full(_SIZE, 0.01)
    torch.nn.functional.linear(states, weight)  # wakes the threads
    start, count = clock(), 0
    while (elapsed := clock() - start) < _WINDOW_SECONDS or count == 0:
        torch.nn.functional.linear(states, weight)
        count += 1
    return elapsed / count


class ThreadControl:
    """torch's number of threads while engines work; one object for the process, because torch has one number.

    Every thread that steps an engine does so inside of `use`, and calls `adjust` before each step.
    """

    def __init__(
        self,
        measure: Callable[[int], float] = measure_products,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Measure nothing yet.

        Args:
            measure: returns the seconds of some work with a number of threads.
            clock: in seconds.
            environ: the environment variables.
        """
        self._measure, self._clock, self._environ = measure, clock, environ
        self._lock = threading.Lock()
        self._num_users = 0  # threads inside of `use`
        self._most = self._chosen = 1
        self._measured_at: float | None = None

    @contextmanager
    def use(self) -> Iterator[None]:
        """Let this thread call `adjust`, and give it its number of threads back at the end."""
        with self._lock:
            if self._num_users == 0:
                self._most = torch.get_num_threads()
                if self._chosen > self._most:
                    self._measured_at = None
            self._num_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_users -= 1
                _set_num_threads(self._most)

    def adjust(self) -> None:
        """Let this thread compute with the fastest number of threads, measured if the last time is long ago.

        Raises:
            ValueError: LANGCHAIN_SEA_THREADS is set, and no number of threads.
        """
        fixed = self._find_fixed()
        if fixed is not None:
            _set_num_threads(fixed)
        elif self._most > 1 and not any(self._environ.get(name) for name in _OTHER_VARIABLES):
            with self._lock:
                if self._measured_at is None or self._clock() - self._measured_at > _VALID_SECONDS:
                    self._chosen = self._choose()
                    self._measured_at = self._clock()
                    _log.debug("%s threads of %s", self._chosen, self._most)
            _set_num_threads(self._chosen)

    def _choose(self) -> int:
        candidates = list_candidates(self._most)
        current = self._most if self._measured_at is None else self._chosen
        seconds: dict[int, list[float]] = {number: [] for number in candidates}
        for _ in range(_REPEATS):  # in turns, so that a moment of load meets all alike
            for number in candidates:
                seconds[number].append(self._measure(number))
        return choose_fastest(current, seconds)

    def _find_fixed(self) -> int | None:
        value = self._environ.get(_OWN_VARIABLE)
        if not value:
            return None
        if not value.isdecimal() or int(value) < 1:
            raise ValueError(f"{_OWN_VARIABLE}={value!r} must be a whole number of threads, at least 1; or unset it.")
        return int(value)


def _set_num_threads(number: int) -> None:
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


_control = ThreadControl()


def get_thread_control() -> ThreadControl:
    """Return the control that all engines share."""
    return _control
