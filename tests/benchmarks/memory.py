"""What requests leave behind: `python tests/benchmarks/memory.py --requests 500 --json FILE`.

Resident bytes of a process of its own after every fifty requests to the tiny policy, of many shapes, nine side by
side and one alone; what the C library's allocator keeps for later is given back before each look, where it can be.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import sys
from pathlib import Path

import psutil

from langchain_sea import Budget, SEAChatModel

EVERY = 50


def held() -> int:
    """Bytes."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--plan", help="in place of the largest")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=2, max_time=None), plan=options.plan, max_tokens=8)
    found = {}
    for number in range(0, options.requests, 10):
        model.batch([f"What is {number % 7 + n} + {n}?" for n in range(9)])
        model.invoke(f"What is {number % 7} + 5?")
        if (number + 10) % EVERY == 0:
            found[str(number + 10)] = held()
    values = list(found.values())
    text = json.dumps({"last_over_first": values[-1] / values[0], "bytes": found}, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
