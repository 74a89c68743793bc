"""Things timed in turns, and ratios of them. Knows nothing of what is timed."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LONG = 60.0  # seconds of one repeat, beyond which there are fewer
FEWER = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and on which device, things are timed."""

    repeats: int
    device: torch.device

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of one call, with all that it left to the device."""
        settle(self.device)
        began = time.perf_counter()
        work()
        settle(self.device)
        return time.perf_counter() - began

    def turns(
        self, works: dict[str, Callable[[], Any]], *, warm: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """The seconds of each, A B A B …; `warm` names those that are called once before, None all."""
        for name in works if warm is None else warm:
            works[name]()
        found: dict[str, list[float]] = {name: [] for name in works}
        for number in range(self.repeats):
            for name, work in works.items():
                found[name].append(self.seconds(work))
            last = {name: round(times[-1], 4) for name, times in found.items()}
            note(f"  {number + 1}/{self.repeats} {last}")
            if number + 1 >= FEWER and sum(times[0] for times in found.values()) > LONG:
                break
        return found


def settle(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def note(line: str) -> None:
    """To standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def ratio(times: dict[str, list[float]], over: str, under: str, what: str, **more: Any) -> dict[str, Any]:
    """Median over median; the spread is that of the repeats' own ratios."""
    each = [a / b for a, b in zip(times[over], times[under], strict=True)]
    medians = {name: statistics.median(values) for name, values in times.items()}
    return _figure(medians[over] / medians[under], each, what, medians, more)


def middle(each: list[float], what: str, times: dict[str, list[float]], **more: Any) -> dict[str, Any]:
    """The median of ratios whose repeats are different problems."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    return _figure(statistics.median(each), each, what, medians, more)


def _figure(
    value: float, each: list[float], what: str, medians: dict[str, float], more: dict[str, Any]
) -> dict[str, Any]:
    return {
        "value": round(value, 4),
        "spread": [round(min(each), 4), round(max(each), 4)],
        "repeats": len(each),
        "what": what,
        "seconds": {name: round(seconds, 4) for name, seconds in medians.items()},
        **more,
    }


def nothing(what: str, reason: str) -> dict[str, Any]:
    """A figure that could not be measured."""
    return {"value": None, "spread": None, "repeats": 0, "what": what, "reason": reason}


@contextmanager
def timed(
    places: dict[str, tuple[Any, str]], device: torch.device, kinds: dict[str, Callable[..., str]] | None = None
) -> Iterator[dict[str, float]]:
    """Seconds spent in functions, by name, while the block runs: name → the holder and its attribute.

    `kinds` names a function's calls by their arguments. Of calls inside calls only the outermost counts.
    """
    found: dict[str, float] = defaultdict(float)
    inside = [False]

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*args: Any, **kwargs: Any) -> Any:
            if inside[0]:
                return call(*args, **kwargs)
            inside[0] = True
            settle(device)
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                settle(device)
                kind = kinds[name](*args) if kinds and name in kinds else name
                found[kind] += time.perf_counter() - began
                inside[0] = False

        return measured

    patches = [
        patch.object(holder, attribute, wrapped(name, getattr(holder, attribute)))
        for name, (holder, attribute) in places.items()
    ]
    for each in patches:
        each.start()
    try:
        yield found
    finally:
        for each in patches:
            each.stop()
