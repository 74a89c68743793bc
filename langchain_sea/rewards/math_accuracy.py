"""Whether an answer is mathematically the right one, or the one most drafts have. Knows no policy.

math-verify reads and compares, in processes of their own that are killed at our deadline: its own timeouts
need the main thread, and cannot end a computation in C.
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
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_sea.errors import ExtraMissingError, RewardUnavailableError
from langchain_sea.rewards.worker_pool import DeadError, LateError, shared_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

__all__ = ["Consensus", "MathVerifier", "majority"]

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
_LATE = "late"
_COMPARED = frozenset({"right", "wrong"})
_LEAST_MEMORY = 256  # megabytes; the library itself takes 70
_WORKER = str(Path(__file__).with_name("math_worker.py"))


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """What judging may cost: see `MathVerifier`."""

    deadline: float = 5.0
    workers: int = 2
    memory: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.deadline <= threading.TIMEOUT_MAX:
            raise ValueError(f"deadline={self.deadline} must be a positive, finite number of seconds.")
        if self.workers < 1 or self.memory < _LEAST_MEMORY:
            raise ValueError(
                f"workers={self.workers} must be at least 1, and memory={self.memory} at least "
                f"{_LEAST_MEMORY} megabytes, for math-verify to start in."
            )
        if importlib.util.find_spec("math_verify") is None:
            raise ExtraMissingError(
                "answers are compared by math-verify, which is not installed: "
                'pip install "langchain-sea[math]"'
            )

    def _verdicts(self, asked: Sequence[tuple[str, str | None]], *, solution: bool) -> list[str]:
        """As `math_worker.judged` says for each gold and text, or `late`."""
        pool = shared_pool((_WORKER, str(self.memory)), self.workers)
        futures: list[Future[dict[str, Any]]] = []
        try:
            for gold, text in asked:
                request = {"gold": gold, "text": text, "solution": solution}
                futures.append(pool.ask(request, self.deadline))
            return [_verdict(future) for future in futures]
        except DeadError as error:
            raise RewardUnavailableError(
                f"a process of math-verify failed twice on one of {len(asked)} texts: {error}. See whether "
                f"this machine has the {self.memory} megabytes it may use (memory=), and whether "
                "`import math_verify` works for this interpreter."
            ) from error
        finally:
            for future in futures:  # those not begun, where the caller does not wait any more
                future.cancel()


def _verdict(future: Future[dict[str, Any]]) -> str:
    try:
        return str(future.result()["verdict"])
    except LateError:
        return _LATE


@dataclass(frozen=True)
class MathVerifier(_Limits):
    r"""1 for completions whose final answer equals the gold answer, else 0; for `FunctionReward`.

    Equal means by value: 1/2 is 0.5, 50% is both 0.5 and 50, sets have no order, an interval its ends, x = 3
    is 3. Units are left out, not converted: 5 km is 5. The final answer is the last in \boxed, after
    "answer", in LaTeX marks, or the last number; sets, intervals and tuples are only seen between marks, as
    $…$. Picklable if gold is.

    A completion that cannot be judged within the deadline, or only with more memory than there is, has no
    answer that anybody could check: it scores 0, and a warning is logged that counts them.

    Attributes:
        gold: a number or text; or a mapping or function that gives it for the prompt. Text is one bare
            answer, as "1,000", "12.5 dollars", "\frac{1}{2}" or "[0, 1)", or mathematics between marks.
        solution: gold is a whole worked solution, and its final answer counts, found as in a completion.
        deadline: seconds for one completion, from when a process takes it up. A call may take this times
            completions over `workers`: a `timeout` of `FunctionReward` should be more.
        workers: processes, shared by all verifiers with as many and as much memory. Each starts at the first
            need, which takes a second, and then holds about 70 megabytes.
        memory: megabytes a process may use, where the system has such limits.

    Raises:
        ExtraMissingError: math-verify is not installed.
    """

    gold: Any
    _: KW_ONLY
    solution: bool = False

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """A score for each; equal texts are judged once.

        Raises:
            RewardUnavailableError: there is no gold for the prompt, it cannot be read as mathematics, or a
                process died twice on one completion.
        """
        gold = self._gold_for(prompt)
        texts = list(dict.fromkeys(completions))
        asked = [(gold, text) for text in (None, *texts)]
        readable, *verdicts = self._verdicts(asked, solution=self.solution)
        if readable != "gold":
            why = f"was not read within {self.deadline} seconds" if readable == _LATE else "holds no answer"
            raise _bad_gold(gold, prompt, f"{why}; write it as a number or LaTeX")
        if late := verdicts.count(_LATE):
            log.warning(
                "%d of %d completions ran over the deadline of %s seconds and score 0",
                *(late, len(texts), self.deadline),
            )
        by_text = dict(zip(texts, verdicts, strict=True))
        return [float(by_text[text] == "right") for text in completions]

    def _gold_for(self, prompt: str) -> str:
        """The prompt's gold answer as text."""
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
    return RewardUnavailableError(
        f"the gold answer {reprlib.repr(gold)} for the prompt {reprlib.repr(prompt)} {why}."
    )


def _as_text(gold: object) -> str | None:
    """Numbers written out, for math-verify reads no 1e6; None for what is no answer."""
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


def majority(answers: Sequence[_Answer], equal: Callable[[_Answer, _Answer], bool]) -> _Answer:
    """The first of the most numerous class of equal answers; of classes as numerous, the earliest.

    Args:
        answers: at least one, in an order that decides ties.
        equal: whether an answer belongs to the class of another, which is given first.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("there is no majority among no answers; give at least one.")
    classes: list[list[_Answer]] = []
    for answer in answers:
        home = next((found for found in classes if equal(found[0], answer)), None)
        if home is None:
            classes.append([answer])
        else:
            home.append(answer)
    return max(classes, key=len)[0]


@dataclass(frozen=True)
class Consensus(_Limits):
    """Where nobody knows the gold answer, the one that most drafts have takes its place.

    Attributes:
        deadline: seconds for one draft, as of `MathVerifier`.
        workers: as of `MathVerifier`.
        memory: as of `MathVerifier`.

    Raises:
        ExtraMissingError: math-verify is not installed.
    """

    def fit_to_drafts(self, prompt: str, drafts: Sequence[str]) -> MathVerifier:
        """The verifier whose gold is the drafts' majority answer; of equally many, the earliest draft's.

        A draft has no voice if it has no answer, or none that can be compared within the deadline.

        Raises:
            RewardUnavailableError: no draft has an answer, or a process died twice on one.
        """
        texts = list(dict.fromkeys(drafts))
        compared = self._verdicts([(text, "0") for text in texts], solution=True)
        found = {text for text, verdict in zip(texts, compared, strict=True) if verdict in _COMPARED}
        voices = [draft for draft in drafts if draft in found]
        if not voices:
            raise RewardUnavailableError(
                f"none of {len(drafts)} drafts to the prompt {reprlib.repr(prompt)} has an answer that can "
                f"be compared within {self.deadline} seconds, so there is no majority; give a gold answer, "
                "or more drafts."
            )
        late: set[str] = set()

        def equal(first: str, other: str) -> bool:
            if first == other or other in late:
                return first == other
            (verdict,) = self._verdicts([(first, other)], solution=True)
            if verdict == _LATE:
                late.add(other)  # else it would cost a deadline for each class
            return verdict == "right"

        gold = majority(voices, equal)
        return MathVerifier(
            gold, solution=True, deadline=self.deadline, workers=self.workers, memory=self.memory
        )
