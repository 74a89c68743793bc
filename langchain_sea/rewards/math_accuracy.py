"""A reward that checks whether the final answer of a text is mathematically equal to the gold answer.

math-verify reads and compares the answers. It runs in worker processes that are killed at a deadline, because its
own timeouts only work in the main thread and cannot interrupt a computation in C.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import reprlib
import threading
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal, InvalidOperation
from numbers import Rational, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.core.timeouts import LateError
from langchain_sea.errors import ExtraMissingError, RewardUnavailableError
from langchain_sea.rewards.worker_pool import WorkerDiedError, shared_pool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

__all__ = ["TIMED_OUT", "MathLimits", "MathVerifier", "compare_answers"]

log = logging.getLogger(__name__)

TIMED_OUT = "timed out"
"""The verdict of a comparison that took longer than the deadline."""
_MIN_MEMORY = 256  # megabytes; the library itself takes 70
_WORKER = str(Path(__file__).with_name("math_worker.py"))


@dataclass(frozen=True, kw_only=True)
class MathLimits:
    """What comparing answers may cost: see `MathVerifier`."""

    deadline: float = 5.0
    workers: int = 2
    memory: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.deadline <= threading.TIMEOUT_MAX:
            raise ValueError(f"deadline={self.deadline} must be a positive, finite number of seconds.")
        if self.workers < 1 or self.memory < _MIN_MEMORY:
            raise ValueError(
                f"workers={self.workers} must be at least 1, and memory={self.memory} at least "
                f"{_MIN_MEMORY} megabytes, which math-verify needs to start."
            )
        if importlib.util.find_spec("math_verify") is None:
            raise ExtraMissingError(
                'answers are compared by math-verify, which is not installed: pip install "langchain-sea[math]"'
            )


def compare_answers(pairs: Sequence[tuple[str, str | None]], limits: MathLimits, *, is_solution: bool) -> list[str]:
    """Compare each gold answer with a text, in worker processes.

    Args:
        pairs: gold answers and texts, as for `math_worker.compare`.
        limits: of time, memory and processes.
        is_solution: the gold answers are whole worked solutions.

    Returns:
        For each pair the verdict of `math_worker.compare`, or `TIMED_OUT`.

    Raises:
        RewardUnavailableError: a worker process died twice on one pair.
    """
    pool = shared_pool((_WORKER, str(limits.memory)), limits.workers)
    futures: list[Future[dict[str, Any]]] = []
    try:
        for gold, text in pairs:
            request = {"gold": gold, "text": text, "is_solution": is_solution}
            futures.append(pool.submit(request, limits.deadline))
        return [_wait_for_verdict(future) for future in futures]
    except WorkerDiedError as error:
        raise RewardUnavailableError(
            f"a process of math-verify failed twice on one of {len(pairs)} texts: {error}. Check that this "
            f"machine has the {limits.memory} megabytes that a process may use (memory=), and that "
            "`import math_verify` works in this interpreter."
        ) from error
    finally:
        for future in futures:  # those that have not started, if the caller stops waiting
            future.cancel()


def _wait_for_verdict(future: Future[dict[str, Any]]) -> str:
    try:
        return str(future.result()["verdict"])
    except LateError:
        return TIMED_OUT


@dataclass(frozen=True)
class MathVerifier(MathLimits):
    r"""1 for completions whose final answer equals the gold answer, else 0; without a gradient.

    Answers are compared by value: 1/2 equals 0.5, 50% equals both 0.5 and 50, sets have no order, x = 3 equals 3.
    Units are dropped, not converted: 5 km equals 5. The final answer is the last one in \boxed, after "answer" or
    between LaTeX marks, or else the last number. Sets, intervals and tuples are only read between marks, as $…$.
    A verifier can be pickled if `gold` can.

    A completion that cannot be compared within the deadline, or needs more memory than allowed, scores 0. A warning
    with the number of these completions is logged.

    Attributes:
        gold: a number or text, or a mapping or function from the prompt to it. Text is one bare answer, e.g.
            "1,000", "12.5 dollars", "\frac{1}{2}" or "[0, 1)", or mathematics between marks.
        solution: `gold` is a whole worked solution; its final answer is read as that of a completion.
        deadline: seconds for one completion once a process has started it. A call may take
            deadline · completions / workers; a `timeout` of `FunctionReward` should be longer.
        workers: processes, shared by all verifiers with the same `workers` and `memory`. A process starts when it is
            first needed, which takes a second, and then uses about 70 megabytes.
        memory: megabytes that a process may use, if the system supports such limits.

    Raises:
        ExtraMissingError: math-verify is not installed.

    Examples:
        >>> verifier = MathVerifier("1/2")
        >>> verifier("What is 2/4?", ["The answer is $0.5$.", "It is \\boxed{2}."])
        [1.0, 0.0]
    """

    gold: Any
    _: KW_ONLY
    solution: bool = False

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return 1 or 0 for each completion; equal texts are compared once.

        Args:
            prompt: what `gold` is looked up by, if it is a mapping or a function.
            completions: the texts.

        Raises:
            RewardUnavailableError: there is no gold answer for the prompt, it cannot be read as mathematics, or a
                worker process died twice on one completion.
        """
        gold = self._gold_for(prompt)
        texts = list(dict.fromkeys(completions))
        pairs = [(gold, text) for text in (None, *texts)]
        gold_verdict, *verdicts = compare_answers(pairs, self, is_solution=self.solution)
        if gold_verdict != "gold":
            is_late = gold_verdict == TIMED_OUT
            why = f"was not read within {self.deadline} seconds" if is_late else "contains no answer"
            raise _bad_gold(gold, prompt, f"{why}; write it as a number or LaTeX")
        if num_timed_out := verdicts.count(TIMED_OUT):
            log.warning(
                "%d of %d completions exceeded the deadline of %s seconds and score 0",
                *(num_timed_out, len(texts), self.deadline),
            )
        by_text = dict(zip(texts, verdicts, strict=True))
        return [float(by_text[text] == "right") for text in completions]

    def _gold_for(self, prompt: str) -> str:
        """Return the prompt's gold answer as text."""
        gold = self.gold
        try:
            if isinstance(gold, Mapping):
                gold = gold[prompt]
            elif callable(gold):
                gold = gold(prompt)
        except Exception as error:
            raise _bad_gold(gold, prompt, f"raised {type(error).__name__}: {error}") from error
        if (text := _as_text(gold)) is None:
            raise _bad_gold(gold, prompt, "is neither text nor a finite number")
        return text


def _bad_gold(gold: object, prompt: str, why: str) -> RewardUnavailableError:
    return RewardUnavailableError(f"the gold answer {reprlib.repr(gold)} for the prompt {reprlib.repr(prompt)} {why}.")


def _as_text(gold: object) -> str | None:
    """Return a gold answer as text, numbers without an exponent, which math-verify cannot read; None if it is none."""
    if isinstance(gold, bool):
        return None
    if isinstance(gold, Rational):  # integers too
        return str(gold)
    if isinstance(gold, Real | Decimal):
        return f"{Decimal(str(gold)):f}" if math.isfinite(gold) else None
    if not isinstance(gold, str):
        return None
    try:
        number = Decimal(gold)
    except InvalidOperation:
        return gold
    return f"{number:f}" if number.is_finite() else None
