"""What our own code costs beside the model: `python tests/benchmarks/overhead.py --json FILE`.

Constructing and importing in fresh processes; a call with a policy that answers at once; sixty-four calls beside one
event loop; how soon a call that was cancelled is gone. Times are medians of this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.chat.events import STEP_EVENT
from langchain_sea.engine.engines import get_engine

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTION = "What is 14 + 23?"


def fresh(code: str) -> float:
    """Seconds that a new process says it took."""
    timed = f"import time; began = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True).stdout)


def construct_ms() -> float:
    """An instance, without weights."""
    SEAChatModel(model="tiny")
    return statistics.median(_timed(lambda: SEAChatModel(model="tiny", seed=3)) for _ in range(200)) * 1000


def import_over_torch(turns: int) -> dict[str, Any]:
    """`import langchain_sea` and the model's class ÷ `import torch`, in turns."""
    ours, bare, torchs = [], [], []
    for _ in range(turns):
        torchs.append(fresh("import torch"))
        bare.append(fresh("import langchain_sea"))
        ours.append(fresh("from langchain_sea import SEAChatModel"))
    base = statistics.median(torchs)
    return {
        "value": round(statistics.median(bare) / base, 3),
        "with_class": round(statistics.median(ours) / base, 3),
        "torch_seconds": round(base, 2),
    }


def call_overhead_ms(calls: int) -> dict[str, Any]:
    """A call less the refinement that it asks for: messages, prompt text, report, callbacks."""
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=0, max_time=None), max_tokens=8)
    model.invoke(QUESTION)
    inside: list[float] = []
    queue, policy = get_engine(load_model("tiny")), load_model("tiny")
    refine, prompt = queue.refine, policy.prompt_from_ids

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            found = function(*args, **kwargs)
            inside.append(time.perf_counter() - began)
            return found

        return call

    queue.refine, policy.prompt_from_ids = timed(refine), timed(prompt)  # type: ignore[method-assign]
    whole = []
    for seed in range(calls):
        inside.clear()
        began = time.perf_counter()
        model.invoke(QUESTION, seed=seed)
        whole.append(time.perf_counter() - began - sum(inside))
    queue.refine, policy.prompt_from_ids = refine, prompt  # type: ignore[method-assign]
    return {
        "value": round(statistics.median(whole) * 1000, 3),
        "p95": round(statistics.quantiles(whole, n=20)[-1] * 1000, 3),
    }


def loop_lag_ms(together: int) -> dict[str, Any]:
    """How late an event loop wakes a sleeper while it serves so many calls."""
    model = SEAChatModel(model="tiny", budget=Budget(max_time=None), max_tokens=16)
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - began - 0.005)

    async def serve() -> None:
        watching = asyncio.ensure_future(watch())
        await asyncio.gather(*(model.ainvoke(f"What is {i} + 5?") for i in range(together)))
        watching.cancel()

    asyncio.run(serve())
    return {
        "value": round(statistics.quantiles(lags, n=100)[98] * 1000, 2),
        "max": round(max(lags) * 1000, 2),
        "samples": len(lags),
    }


def cancel_over_step_ms(turns: int) -> dict[str, Any]:
    """From the cancellation until nothing runs, less one step of the answer that was under way."""
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=400, max_time=None), max_tokens=48, preset="reference")
    queue = get_engine(load_model("tiny"))

    async def once() -> tuple[float, float]:
        steps: list[float] = []
        task = asyncio.ensure_future(model.ainvoke(QUESTION, {"callbacks": [_Steps(steps)]}))
        await asyncio.sleep(0.6)
        task.cancel()
        began = time.perf_counter()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        while not queue.is_idle:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.0005)
        return time.perf_counter() - began, statistics.median(steps) if steps else 0.0

    model.invoke(QUESTION, budget=Budget(max_steps=1, max_time=None), max_tokens=8)
    found = [asyncio.run(once()) for _ in range(turns)]
    over = [max(0.0, idle - step) for idle, step in found]
    return {
        "value": round(statistics.median(over) * 1000, 2),
        "step_ms": round(statistics.median(s for _, s in found) * 1000, 2),
    }


class _Steps:
    """A handler that keeps how long steps took."""

    ignore_custom_event = False
    raise_error = run_inline = False

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        if name.startswith("ignore_"):
            return True
        raise AttributeError(name)

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        if name == STEP_EVENT:  # a plan has no seconds of its own
            self.seconds.append(data["seconds"])


def _timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(2)
    found = {
        "construct_ms": round(construct_ms(), 4),
        "import_over_torch": import_over_torch(options.turns),
        "call_overhead_ms": call_overhead_ms(40),
        "loop_lag_p99_ms": loop_lag_ms(64),
        "cancel_over_step_ms": cancel_over_step_ms(options.turns),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
