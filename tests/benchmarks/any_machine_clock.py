"""A slower machine, in a stated way: every pass of a policy takes a factor longer, on the clock that the engine reads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from langchain_sea.budget import BudgetTracker
from langchain_sea.engine import batching, engines, queue, speed_model
from langchain_sea.engine.scheduler import Scheduler
from langchain_sea.models.causal_lm import CausalLMPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSES = ("start_generation", "generate_step", "forward_all", "prefill")
"""Methods of the policy that run its network; `start_generation` reads the prompt."""
TRACKED = ("langchain_sea.engine.refine", "langchain_sea.chat.prepare")
"""Modules that make the trackers of budgets."""


class SlowMachine:
    """This machine, on which every pass takes longer.

    Attributes:
        factor: by which a pass takes longer.
        sleeps: whether the wait is slept; else the clock is put forward.
        longest_step: seconds of the longest step of the scheduler since this was set to zero.
    """

    def __init__(self, factor: float, *, sleeps: bool = False) -> None:
        """Wait for nothing yet."""
        self.factor, self.sleeps = factor, sleeps
        self.longest_step = 0.0
        self._put_forward = 0.0
        self._is_inside = False

    def clock(self) -> float:
        """Return the seconds of this machine."""
        return time.monotonic() + self._put_forward

    def slow(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that waits `factor` − 1 times as long as the call took; calls inside it do not wait."""

        @wraps(call)
        def slowed(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return call(*args, **kwargs)
            self._is_inside, start = True, time.monotonic()
            try:
                return call(*args, **kwargs)
            finally:
                self._is_inside = False
                self._wait((self.factor - 1) * (time.monotonic() - start))

        return slowed

    def _wait(self, seconds: float) -> None:
        if self.sleeps:
            time.sleep(seconds)
        else:
            self._put_forward += seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let all policies and engines run on this machine. Nothing that was measured before is known to it."""
        tracker = partial(BudgetTracker, clock=self.clock)
        with ExitStack() as patches:
            for name in PASSES:
                patches.enter_context(patch.object(CausalLMPolicy, name, self.slow(getattr(CausalLMPolicy, name))))
            patches.enter_context(patch.object(batching, "gradients", self.slow(batching.gradients)))
            for name in TRACKED:
                patches.enter_context(patch.object(import_module(name), "BudgetTracker", tracker))
            patches.enter_context(patch.object(queue, "Scheduler", partial(_TimedScheduler, self)))
            running: WeakKeyDictionary[Any, queue.Engine] = WeakKeyDictionary()
            patches.enter_context(patch.object(engines, "_engines", running))
            patches.enter_context(patch.object(speed_model, "_speeds", WeakKeyDictionary()))
            yield
            while not all(engine.is_idle for engine in running.values()):  # the last step ends after its results come
                time.sleep(0.01)


class _TimedScheduler(Scheduler):
    """Notes how long its steps take."""

    def __init__(self, machine: SlowMachine) -> None:
        super().__init__(machine.clock)
        self._machine = machine

    def step(self, *, max_wait: float = float("inf")) -> None:
        start = self._machine.clock()
        super().step(max_wait=max_wait)
        self._machine.longest_step = max(self._machine.longest_step, self._machine.clock() - start)


@contextmanager
def busy_processes(count: int | None = None) -> Iterator[int]:
    """Keep every processor busy with a process of its own, while the block runs."""
    count = count or len(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield count
    finally:
        for process in processes:
            process.kill()
            process.wait()
