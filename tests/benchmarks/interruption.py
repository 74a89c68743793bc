"""Long measurements that are interrupted still give the figures of what they have."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["go_on_when_interrupted"]


@contextlib.contextmanager
def go_on_when_interrupted() -> Iterator[None]:
    """End the block, not the program, on Ctrl-C or SIGTERM (what `timeout` sends). Outside the block both do as usual.

    A shell lets a process in the background ignore Ctrl-C, so both handlers are set.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: these are the figures of the answers so far; run it again to go on", file=sys.stderr)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
