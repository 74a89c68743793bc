"""How long the engine's passes take on this machine.

Seconds are measured while the engine works, so that what follows from them fits the hardware, the model, and whatever
else the machine is doing.
"""

from __future__ import annotations

import math
import statistics
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import Policy

__all__ = ["SpeedModel", "get_speed"]

_MAX_SAMPLES = 9  # the median of the newest nine passes counts: the first pass of a shape is slow
_MIN_ROWS_OF_DOUBLE = 24  # until more rows are measured, 24 more are expected to double the time of a pass
_GRADIENT_COST = 2.5  # of a pass with a gradient in a latent ÷ one without, until it is measured


class _Reference(NamedTuple):
    """The time of the smallest measured step of drafting: every draft measures it anew."""

    rows: int
    seconds: float


@dataclass(slots=True)
class _Samples:
    """The last measured seconds for passes of about one size, and the reference of that moment."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))
    reference: _Reference | None = None


class SpeedModel:
    """Seconds of a policy's passes as measured so far, by the number of tokens that a pass reads.

    What was measured while the machine was busier, or less busy, is scaled by how much the time of a draft's token has
    changed since.

    Attributes:
        num_requests: how many requests share the passes at the moment.
        max_rows: to which one pass can add a token; memory does not suffice for more.
    """

    def __init__(self) -> None:
        """Begin without a measurement."""
        self.num_requests = 1
        self.max_rows = 1 << 30
        self._decode: dict[int, _Samples] = {}
        self._forward: dict[int, _Samples] = {}
        self._gradient: dict[int, _Samples] = {}
        self._lock = threading.Lock()  # callers' threads read while the engine's thread measures

    def record_decode(self, rows: int, seconds: float) -> None:
        """Note how long it took to add one token to so many rows."""
        self._record(self._decode, rows, seconds)

    def record_forward(self, tokens: int, seconds: float) -> None:
        """Note how long it took to read so many tokens of answers, and to score them."""
        self._record(self._forward, tokens, seconds)

    def record_gradient(self, tokens: int, seconds: float) -> None:
        """Note how long the gradient in the latents took for so many tokens."""
        self._record(self._gradient, tokens, seconds)

    @property
    def is_measured(self) -> bool:
        """Whether the time of a token is known."""
        return bool(self._decode)

    def decode(self, rows: int) -> float:
        """Return the seconds in which one token is added to so many rows, in as many passes as memory needs."""
        return self._estimate_token(self._medians(self._decode), rows)

    def is_decode_within(self, factor: float, rows: int, fewer: int) -> bool:
        """Return whether a token takes at most so many times as long for these rows as for fewer.

        Guessed until a token is measured.
        """
        seconds = self._medians(self._decode) or {1: 1.0}
        return self._estimate_token(seconds, rows) <= factor * self._estimate_token(seconds, fewer)

    def forward(self, tokens: int) -> float:
        """Return the seconds in which so many tokens are read and scored.

        Fewer tokens than were ever read take at least as long as one token in so many rows.
        """
        read = self._medians(self._forward)
        smallest = min(read, default=math.inf)
        written = {rows: seconds for rows, seconds in self._medians(self._decode).items() if rows < smallest}
        return _estimate(written | read, tokens)

    def gradient(self, tokens: int) -> float:
        """Return the seconds that a gradient in the latents takes for so many tokens."""
        if self._gradient:
            return _estimate(self._medians(self._gradient), tokens)
        return _GRADIENT_COST * self.forward(tokens)

    def _estimate_token(self, seconds: dict[int, float], rows: int) -> float:
        """Return the seconds of a token in so many rows by those of a pass, which may be too few for all rows."""
        num_passes = max(1, -(-rows // self.max_rows))
        return num_passes * _estimate(seconds, -(-rows // num_passes))

    def _record(self, samples: dict[int, _Samples], size: int, seconds: float) -> None:
        if size <= 0:
            return
        with self._lock:
            # sizes within a quarter of a power of two of each other share a median
            bucket = samples.setdefault(round(2 ** (round(4 * math.log2(size)) / 4)), _Samples())
            bucket.values.append(seconds)
            bucket.reference = self._reference()

    def _reference(self) -> _Reference | None:
        rows = min(self._decode, default=0)
        return _Reference(rows, statistics.median(self._decode[rows].values)) if rows else None

    def _medians(self, samples: dict[int, _Samples]) -> dict[int, float]:
        """Return the seconds for each measured size, as they would be now."""
        medians = {}
        with self._lock:
            now = self._reference()
            for size, bucket in samples.items():
                then, scale = bucket.reference, 1.0
                if now is not None and then is not None and now.rows == then.rows and then.seconds > 0:
                    scale = now.seconds / then.seconds
                medians[size] = scale * statistics.median(bucket.values)
        return medians


def _estimate(seconds: dict[int, float], size: int) -> float:
    """Return the seconds of a pass of this size: between measured sizes by a line, beyond them by a slope."""
    if not seconds or size <= 0:
        return 0.0
    sizes = sorted(seconds)
    above = next((s for s in sizes if s >= size), None)
    below = next((s for s in reversed(sizes) if s <= size), None)
    if below is None:
        assert above is not None
        return seconds[above]
    start = seconds[below]
    if above == below:
        return start
    if above is not None:
        return max(start, start + (seconds[above] - start) * (size - below) / (above - below))
    return start * _growth(sizes, seconds, size)


def _growth(sizes: Sequence[int], seconds: dict[int, float], size: int) -> float:
    """Return how many times the largest measured pass a larger one takes.

    Small passes take the time of reading the weights, whatever their size; large ones grow with it.
    """
    largest = sizes[-1]
    slope = 1 / (_MIN_ROWS_OF_DOUBLE + largest)
    if len(sizes) > 1:
        first, last = seconds[sizes[0]], seconds[largest]
        if last > 0:  # a coarse clock may not have ticked
            slope = max(0.5 * slope, (last - first) / (largest - sizes[0]) / last)
    return 1 + slope * (size - largest)


_speeds: weakref.WeakKeyDictionary[Policy, SpeedModel] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def get_speed(policy: Policy) -> SpeedModel:
    """Return the measured speed of a policy, one for all of its requests."""
    with _lock:
        return _speeds.setdefault(policy, SpeedModel())
