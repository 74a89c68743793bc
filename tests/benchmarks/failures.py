"""Whether a reward can fail unnoticed: `python tests/benchmarks/failures.py --table --json FILE`.

Every way to fail × every kind of reward × every form of a call × `on_reward_error`, on the tiny policy. A failure
is silent if it left no trace: no exception, no `failure` or telling `stop_reason` in
`response_metadata["sea"]`, no log record of this package. `silent_failures` must be 0. `not_raised` counts
what `on_failure="error"` reported in the metadata alone, and `held` the calls that would have waited for
ever for a reward that never returns: here it gives up at last.
"""

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_sea import Budget, SEAChatModel
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.interop import from_langsmith, from_openevals, from_runnable, from_trl
from langchain_sea.rewards import FunctionReward

QUESTIONS = ["What is 1 + 2?", "What is 14 + 23?"]
UNTROUBLED = {"steps", "converged", "empty"}  # reasons to stop that say nothing of a failure
TIMEOUT = 0.2  # seconds that a function may take
SECONDS = 0.3  # of a budget, where a reward never returns
NEVER = 8.0  # seconds that stand for never, so that the program ends: more than any limit
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


# Ways to fail: each is given the good scores, and returns others or raises


def raises(_good: list[float]) -> list[float]:
    """An error of the reward's own."""
    raise ValueError("broken")


def not_a_number(good: list[float]) -> list[float]:
    """As a division of nothing by nothing gives."""
    return [float("nan")] * len(good)


def wrong_count(good: list[float]) -> list[float]:
    """One more than asked for."""
    return [*good, 1.0]


def never_returns(good: list[float]) -> list[float]:
    """As long as anybody waits: see `Failing`."""
    return good


def memory(_good: list[float]) -> list[float]:
    """Of the machine."""
    raise MemoryError("no more")


def device_memory(_good: list[float]) -> list[float]:
    """Of the device."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def dead_subprocess(good: list[float]) -> list[float]:
    """The verifier's process is killed."""
    subprocess.run([sys.executable, "-I", "-S", "-c", KILLED], check=True)
    return good


def nothing(_good: list[float]) -> None:
    """A return that was forgotten."""


def not_awaited(good: list[float]) -> list[Any]:
    """Scores that are coroutines."""

    async def late(score: float) -> float:
        return score

    return [late(score) for score in good]


def lost_once(_good: list[float]) -> list[float]:
    """The first call loses its connection, and later ones are answered."""
    raise ConnectionError("reset by peer")


FAILURES: list[Callable[[list[float]], Any]] = [
    *(raises, not_a_number, wrong_count, never_returns, memory),
    *(device_memory, dead_subprocess, nothing, not_awaited, lost_once),
]


@dataclass
class Failing:
    """Scores that are the texts' lengths, until something goes wrong.

    Attributes:
        failure: what goes wrong.
        never: seconds that stand for never.
        calls: so far.
        held: whether somebody waited that long.
        free: set when nobody waits any longer.
    """

    failure: Callable[[list[float]], Any]
    never: float = NEVER
    calls: int = 0
    held: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: threading.Event = field(default_factory=threading.Event)

    def all(self, texts: Sequence[str]) -> Any:
        """For a list of texts."""
        with self.lock:
            self.calls += 1
        good = [float(len(text)) for text in texts]
        if self.failure is never_returns and not self.held:
            self.held = not self.free.wait(self.never)
        heals = self.failure is lost_once and self.calls > 1
        return good if heals else self.failure(good)

    def one(self, text: str) -> Any:
        """For one text: its score, several, or none."""
        found = self.all([text])
        return found[0] if isinstance(found, list) and len(found) == 1 else found


# Kinds of rewards


def plain(fails: Failing) -> object:
    """A function."""
    return _function(lambda prompt, completions: fails.all(completions))


def trl(fails: Failing) -> object:
    """A reward function of TRL."""
    return _function(from_trl(lambda completions, **_columns: fails.all(completions)))


def openevals(fails: Failing) -> object:
    """An evaluator of openevals."""
    return _function(from_openevals(lambda *, outputs, **_: _result(fails.one(outputs))))


def langsmith(fails: Failing) -> object:
    """An evaluator of LangSmith."""
    return _function(from_langsmith(lambda inputs, outputs: _result(fails.one(outputs["completion"]))))


def runnable(fails: Failing) -> object:
    """A Runnable."""
    return _function(from_runnable(RunnableLambda(lambda pair: fails.one(pair["completion"]))))


def _function(function: Callable[..., Any]) -> object:
    return FunctionReward(function, name="failing", timeout=TIMEOUT, retries=2)


def _result(found: object) -> Any:
    if isinstance(found, list):
        return [{"key": str(i), "score": score} for i, score in enumerate(found)]
    return found if found is None else {"key": "length", "score": found}


@dataclass
class Scoring:
    """A reward object whose `score` fails."""

    fails: Failing

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Any:
        """As the protocol says, or not."""
        return _tensor(self.fails.all(texts))


@dataclass
class Steering:
    """A reward whose `score_soft` fails, and whose `score` is good."""

    fails: Failing

    def __post_init__(self) -> None:
        self.fails.never = 4 * SECONDS  # it is waited for that long indeed

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> torch.Tensor:
        """(C,) the texts' lengths."""
        return torch.tensor([float(len(text)) for text in texts])

    def score_soft(self, view: AnswerBatch) -> Any:
        """(C,) or not; differentiable."""
        found = _tensor(self.fails.all([""] * len(view.tokens.soft)))
        soft = view.tokens.soft.sum()
        return found + 0 * soft if isinstance(found, torch.Tensor) else found


def _tensor(found: object) -> object:
    numbers = isinstance(found, list) and all(isinstance(score, float) for score in found)
    return torch.tensor(found) if numbers else found


KINDS: list[Callable[[Failing], object]] = [plain, trl, openevals, langsmith, runnable, Scoring, Steering]


# Forms of a call: each gives messages


def invoke(model: SEAChatModel) -> list[AIMessage]:
    """One."""
    return [model.invoke(QUESTIONS[0])]


def ainvoke(model: SEAChatModel) -> list[AIMessage]:
    """One, in an event loop."""
    return [asyncio.run(model.ainvoke(QUESTIONS[0]))]


def batch(model: SEAChatModel) -> list[AIMessage]:
    """Two."""
    return model.batch(QUESTIONS)


def abatch(model: SEAChatModel) -> list[AIMessage]:
    """Two, in an event loop."""
    return asyncio.run(model.abatch(QUESTIONS))


def stream(model: SEAChatModel) -> list[Any]:
    """One, its chunks put together."""
    first, *others = model.stream(QUESTIONS[0])
    return [sum(others, first)]


FORMS = [invoke, ainvoke, batch, abatch, stream]


class Row(NamedTuple):
    """One combination; an empty trace is a silent failure."""

    failure: str
    reward: str
    form: str
    on_reward_error: str
    trace: str
    held: bool


def tried(failure: Callable[..., Any], kind: Callable[[Failing], object], form: Any, on_reward_error: Any) -> Row:
    """What a call showed of the failure."""
    budget = Budget(max_steps=2, max_time=SECONDS if failure is never_returns else None)
    fails = Failing(failure)
    model = SEAChatModel(
        model="tiny", rewards=[kind(fails)], budget=budget, max_tokens=4, on_reward_error=on_reward_error
    )
    with _logged() as records:
        try:
            traces = [_told(message) for message in form(model)]
            # one lost connection fails one prompt alone
            trace = max(traces) if failure is lost_once else min(traces)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is seen
            trace = type(error).__name__
    names = (failure.__name__, kind.__name__, form.__name__, on_reward_error)
    fails.free.set()
    return Row(*names, trace or ("log" if records else ""), fails.held)


def _told(message: AIMessage) -> str:
    found = message.response_metadata["sea"]
    if found["failure"] is not None:
        return f"failure: {found['stop_reason']}"
    return "" if found["stop_reason"] in UNTROUBLED else f"stop_reason: {found['stop_reason']}"


@contextmanager
def _logged() -> Iterator[list[logging.LogRecord]]:
    """The records of this package's own loggers."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("langchain_sea")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def measure() -> list[Row]:
    """All combinations."""
    warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that nobody awaits, on purpose
    return [tried(*case) for case in product(FAILURES, KINDS, FORMS, ("draft", "error"))]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures."""
    silent = [row for row in rows if not row.trace]
    held = [row for row in rows if row.held]
    quiet = [row for row in rows if row.on_reward_error == "error" and row.trace.startswith(("stop", "fail"))]
    return {
        "silent_failures": {"value": len(silent), "of": len(rows), "rows": [row._asdict() for row in silent]},
        "not_raised": {"value": len(quiet), "rows": [row._asdict() for row in quiet]},
        "held": {"value": len(held), "rows": [row._asdict() for row in held]},
    }


def table(rows: Sequence[Row]) -> str:
    """A line for each failure and kind: what was seen, and in how many of its calls."""
    lines = []
    for failure, kind in product(FAILURES, KINDS):
        names = (failure.__name__, kind.__name__)
        seen = Counter(row.trace or "SILENT" for row in rows if row[:2] == names)
        lines.append(f"{names[0]:16}{names[1]:10}" + ", ".join(f"{n} {what}" for what, n in seen.items()))
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure()
    if arguments.table:
        print(table(rows))
    text = json.dumps(summary(rows), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
