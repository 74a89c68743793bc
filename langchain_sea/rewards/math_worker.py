"""A worker process that compares answers by math-verify: it reads requests and writes replies as lines of JSON.

`worker_pool.py` runs this file by its path, so that the process imports math-verify alone and starts in a second.
The parent kills it at the deadline; math-verify's own timeouts, which need the main thread's alarm, are off.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import signal
import sys
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.platform == "win32":
    resource = None
else:
    import resource

# mathematics between marks, which math-verify finds by itself
_MARKED = re.compile(r"(?<!\\)\$.+(?<!\\)\$|\\boxed|\\\(|\\\[", re.DOTALL)
# a number in prose with its currency, per cent or a unit of three letters or more, e.g. "12.5 dollars"
_NUMBER = re.compile(r"[-$€£¥ ]*(\d{1,3}([ ,]\d{3})+|\d+)?(\.\d+)?(/\d+)?\s*(%|percent|[A-Za-z]{3,}\.?)?", re.ASCII)
_PLAIN = str.maketrans({"−": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
_DIGITS, _RELATIVE, _CLOSE = 30, 1e-9, 1e-3  # of numbers that are compared as they are
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
# a number in backticks or single emphasis, which math-verify does not see
_IN_MARKS = re.compile(r"(?<![\w*`])(`|\*|__?)(-?\d[\d.,/]*)\1(?![\w*`])", re.ASCII)
# a root in round brackets, of which math-verify reads the first factor alone
_ROUND_ROOT = re.compile(r"\\sqrt(\[[^\[\]]*\])?\(([^()]*)\)")
_MIXED = re.compile(r"(?<![\d./^])(\d+) (\d+)/(\d+)(?![\d/^])", re.ASCII)
_SIGN = re.compile(r"(?<![\d./^])(\d+ ?)?([¼-¾⅐-⅞])")  # a fraction that is one character


def find_final_answer(text: str) -> str:
    """Return the part of a completion that says its answer: what follows the reasoning, in the last tag or box."""
    behind = text.rpartition("</think>")[2]
    text = _SIGN.sub(_write_sign, behind if behind.strip() else text)
    if tagged := _TAGGED.findall(text):
        text = tagged[-1].strip()
        text = text if _MARKED.search(text) or any(map(str.isspace, text)) else f"$${text}$$"
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth = 0
        for at in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if text[at] == "}" and depth == 0:
                return text[start : at + 1]
    text = _IN_MARKS.sub(r"\2", text)
    if _MARKED.search(text):
        return text
    return _write_fractions(text)


def _write_fractions(text: str) -> str:
    """Write the mixed numbers of plain text as fractions: 2 1/2 as 5/2, which math-verify takes for 21/2."""
    return _MIXED.sub(lambda m: f"{int(m[1]) * int(m[3]) + int(m[2])}/{m[3]}", text)


def _write_sign(match: re.Match[str]) -> str:
    return str(int(match[1] or 0) + Fraction(numeric(match[2])).limit_denominator(10))


def parse_answers(text: str) -> list[Any]:
    """Return the last answer in a text as math-verify reads it, in one or several forms; empty if there is none."""
    parse = import_module("math_verify").parse
    return list(parse(_ROUND_ROOT.sub(r"\\sqrt\1{\2}", text.translate(_PLAIN)), parsing_timeout=None))


@lru_cache(maxsize=64)
def parse_gold(gold: str, *, is_solution: bool) -> list[Any]:
    """Return the forms of a gold answer: of a bare one, or of the last one in a whole solution."""
    if is_solution:
        return parse_answers(find_final_answer(gold))
    gold = _SIGN.sub(_write_sign, gold.translate(_PLAIN).strip())
    if not _MARKED.search(gold):
        gold = _write_fractions(gold)
    if _MARKED.search(gold) or (_NUMBER.fullmatch(gold) and any(map(str.isdigit, gold))):
        return parse_answers(gold)
    return parse_answers(f"$${gold}$$")


def compare(gold: str, text: str | None, *, is_solution: bool) -> str:
    """Return `right`, `wrong`, `no answer` or `no gold`; without a text `gold` if the gold answer can be read."""
    golds = parse_gold(gold, is_solution=is_solution)
    if not golds:
        return "no gold"
    if text is None:
        return "gold"
    answers = parse_answers(find_final_answer(text))
    if not answers:
        return "no answer"
    verify = import_module("math_verify").verify
    equal = verify(golds, answers, timeout_seconds=None, allow_set_relation_comp=True)  # x ≤ 3 is (−∞, 3]
    return "right" if equal and not _differ_by_little(golds, answers) else "wrong"


def _differ_by_little(golds: Sequence[Any], answers: Sequence[Any]) -> bool:
    """Return whether two exact numbers are close and not equal: math-verify takes 1/2004! and 1/2006! for equal.

    Numbers that are far apart and were called equal differ for another reason, such as a sign for per cent.
    """
    gold, answer = (next((e for e in forms if getattr(e, "is_number", False)), None) for forms in (golds, answers))
    floats = import_module("sympy").Float
    if gold is None or answer is None or gold.atoms(floats) or answer.atoms(floats):
        return False
    values = (gold.evalf(_DIGITS), answer.evalf(_DIGITS))
    if not all(value.is_Number for value in values):  # an unevaluated one, such as 50 %
        return False
    gap, size = abs(values[0] - values[1]), max(map(abs, values))
    return bool(size * _RELATIVE < gap < _CLOSE)


def _limit(megabytes: int) -> None:
    """Limit the memory of this process, and write no core file."""
    if resource is None:
        return
    size = megabytes * 2**20
    for kind, value in ((resource.RLIMIT_AS, size), (resource.RLIMIT_CORE, 0)):
        try:
            hard = resource.getrlimit(kind)[1]
            within = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (within, hard))
        except (ValueError, OSError):  # macOS refuses some
            continue


def _is_worn(megabytes: int) -> bool:
    """Return whether half the memory is in use between requests; the rest may be too little for the next answer."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # systems without this file do not limit the memory either
        return False
    return pages * mmap.PAGESIZE > megabytes * 2**19


def _alarm(seconds: float) -> None:
    """End this process after that time, in case the parent is gone and cannot kill it; 0 cancels this."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main(megabytes: int) -> None:
    """Answer requests until there are no more or much memory is in use; the first line written says it is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard interrupts the parent, which ends this process
    # other number types abort the process when memory runs out, instead of raising
    os.environ |= {"SYMPY_GROUND_TYPES": "python", "MPMATH_NOGMPY": "1"}
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a library that prints must not write into the replies
    _limit(megabytes)
    logging.disable(logging.CRITICAL)
    compare("1", "1", is_solution=False)  # compiles its patterns
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _alarm(request["seconds"] + 5)
        verdict = compare(request["gold"], request["text"], is_solution=request["is_solution"])
        _alarm(0)
        last = _is_worn(megabytes)
        print(json.dumps({"verdict": verdict, "last": last}), file=out, flush=True)
        if last:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
