"""Judges answers by math-verify, a line of JSON in and one out. Knows no package but math-verify.

`worker_pool.py` runs this file by its path in a process of its own, which is killed at the deadline: nothing
here watches the clock, and math-verify's own timeouts, which need the main thread's alarm, are off.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import signal
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

# what a bare answer is not: mathematics between its marks, which math-verify finds by itself
_MARKED = re.compile(r"(?<!\\)\$.+(?<!\\)\$|\\boxed|\\\(|\\\[", re.DOTALL)
# a number as prose has it, with its currency, per cent or unit of three letters or more, as "12.5 dollars"
_NUMBER = re.compile(r"[-$€£¥ ]*(\d{1,3}([ ,]\d{3})+|\d+)?(\.\d+)?\s*(%|percent|[A-Za-z]{3,}\.?)?", re.ASCII)
_PLAIN = str.maketrans({"−": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})


def answers(text: str) -> list[Any]:
    """The last answer in a text as math-verify reads it, in one or several forms; none if there is none."""
    parse = import_module("math_verify").parse
    return list(parse(text.translate(_PLAIN), parsing_timeout=None))


@lru_cache(maxsize=64)
def gold_answers(gold: str, *, solution: bool) -> list[Any]:
    """The right answer's forms: of a bare one, or of the last in a whole solution."""
    gold = gold.translate(_PLAIN).strip()
    if solution or _MARKED.search(gold) or (_NUMBER.fullmatch(gold) and any(map(str.isdigit, gold))):
        return answers(gold)
    return answers(f"$${gold}$$")


def judged(gold: str, text: str | None, *, solution: bool) -> str:
    """`right`, `wrong`, `no answer` or `no gold`; with no text `gold` where the right answer can be read."""
    golds = gold_answers(gold, solution=solution)
    if not golds:
        return "no gold"
    if text is None:
        return "gold"
    found = answers(text)
    if not found:
        return "no answer"
    verify = import_module("math_verify").verify
    equal = verify(golds, found, timeout_seconds=None, allow_set_relation_comp=True)  # x ≤ 3 is (−∞, 3]
    return "right" if equal else "wrong"


def _limit(megabytes: int) -> None:
    """No more memory than that, and no core file."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not there on Windows

    size = megabytes * 2**20
    for kind, value in ((resource.RLIMIT_AS, size), (resource.RLIMIT_CORE, 0)):
        try:
            hard = resource.getrlimit(kind)[1]
            within = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (within, hard))
        except (ValueError, OSError):  # macOS refuses some
            continue


def _worn(megabytes: int) -> bool:
    """Whether half the memory is in use between requests: what is left may fail a right answer."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # where there is no such file, the limit does not hold either
        return False
    return pages * mmap.PAGESIZE > megabytes * 2**19


def _alarm(seconds: float) -> None:
    """Ends this process after that time even if nobody is left to kill it; 0 calls it off."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main(megabytes: int) -> None:
    """Answer requests until there are no more, or memory is worn; the first line out says that it can."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard interrupts the parent, which ends this one
    # other number types abort where memory ends, instead of raising
    os.environ |= {"SYMPY_GROUND_TYPES": "python", "MPMATH_NOGMPY": "1"}
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a library that prints must not answer for us
    _limit(megabytes)
    logging.disable(logging.CRITICAL)
    judged("1", "1", solution=False)  # its patterns are compiled at the first use
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _alarm(request["seconds"] + 5)
        verdict = judged(request["gold"], request["text"], solution=request["solution"])
        _alarm(0)
        last = _worn(megabytes)
        print(json.dumps({"verdict": verdict, "last": last}), file=out, flush=True)
        if last:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
