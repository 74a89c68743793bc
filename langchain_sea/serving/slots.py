"""How many requests may be in progress at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from langchain_sea.serving.errors import APIError

if TYPE_CHECKING:
    from langchain_sea.serving.metrics import Metrics

__all__ = ["Slot", "Slots"]

_DECAY = 0.9  # of the moving mean of a request's seconds


class Slots:
    """A limited number of requests in progress.

    Attributes:
        limit: of them.
        num_taken: requests in progress now.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit, self.num_taken = limit, 0
        self._metrics, self._mean_seconds = metrics, 1.0

    def acquire(self) -> Slot:
        """Take a slot.

        Raises:
            APIError: all are taken; its header `Retry-After` estimates when one is free.
        """
        if self.num_taken >= self.limit:
            wait = max(1, round(self._mean_seconds * self.num_taken / 2))
            raise APIError(
                429,
                f"as many requests as are allowed ({self.limit}) are in progress; try again in {wait} s.",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )
        self._count(1)
        return Slot(self)

    def release(self, seconds: float) -> None:
        """Give a slot back that was taken for so many seconds."""
        self._mean_seconds = _DECAY * self._mean_seconds + (1 - _DECAY) * seconds
        self._metrics.seconds.observe(seconds)
        self._count(-1)

    def _count(self, change: int) -> None:
        self.num_taken += change
        self._metrics.requests_in_progress.set(self.num_taken)


class Slot:
    """One request's slot; releasing it a second time has no effect."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots
        self._start = time.monotonic()

    def release(self) -> None:
        """Give the slot back."""
        if self._slots is not None:
            self._slots.release(time.monotonic() - self._start)
            self._slots = None
