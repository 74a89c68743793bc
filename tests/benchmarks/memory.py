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
from dataclasses import replace
from pathlib import Path

import psutil

from langchain_sea import Budget, SEAChatModel
from langchain_sea.presets import PRESETS, Preset

EVERY = 50


def held() -> int:
    """Bytes."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss


def make_preset(num_drafts: int | None) -> Preset:
    """The default preset, with so many drafts and two chains if a number is given."""
    preset = PRESETS["default"]
    if num_drafts is None:
        return preset
    search = preset.search_config
    drafts, chains = replace(search.drafts, num_drafts=num_drafts), replace(search.chains, num_chains=2)
    return replace(preset, search_config=replace(search, drafts=drafts, chains=chains))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--drafts", type=int, help="of each request, and two chains, in place of the preset's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    budget = Budget(max_steps=2, max_time=None)
    model = SEAChatModel(model="tiny", budget=budget, preset=make_preset(options.drafts), max_tokens=8)
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
