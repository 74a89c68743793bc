"""The engine of a policy: requests from all threads share its scheduler, which one thread at a time steps.

That thread is the main thread while it waits for its own requests, else a daemon thread that lives while there
are requests. Always using the daemon thread would be simpler, but slows a refinement on a CPU by 10 to 30 %: each
thread that computes keeps OpenMP workers, and with more workers than processors OpenMP lets them sleep between
operations (smollm2-135m on 2 processors: 7.3 s in the main thread, 8.2 s in a daemon thread, 9.5 s in a daemon
thread once the main thread has computed anything).
"""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import wait
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from langchain_sea.budget import StopReason
from langchain_sea.engine.interrupts import deferred_interrupt
from langchain_sea.engine.memory import to_package_error
from langchain_sea.engine.scheduler import Scheduler
from langchain_sea.engine.threads import get_thread_control
from langchain_sea.errors import RefinementInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from langchain_sea.engine.ops import R
    from langchain_sea.engine.request import Request

__all__ = ["Engine", "wait_for_calls"]

_POLL_SECONDS = 0.05  # how often the main thread looks whether Ctrl-C was pressed while it waits for a reward


class Engine:
    """Runs the requests of one policy."""

    def __init__(self, *, uses_cpu: bool = False) -> None:
        """Begin without requests.

        Args:
            uses_cpu: whether the policy computes there, so that the number of threads matters.
        """
        self._threads = get_thread_control() if uses_cpu else None
        self._lock = threading.Lock()
        self._new: list[Request[Any]] = []
        self._cancelled: list[tuple[Request[Any], StopReason]] = []
        self._driver: int | None = None  # the thread that steps the scheduler
        self._scheduler = Scheduler()
        self._thread: threading.Thread | None = None  # the engine's own, if it steps
        self._is_closing = False

    def close(self, timeout: float) -> None:
        """Stop stepping after the current step, and wait for the engine's own thread so many seconds.

        The interpreter ends a daemon thread wherever it is, and in the middle of a step that aborts the process.
        """
        self._is_closing = True
        self._scheduler.has_news.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def is_idle(self) -> bool:
        """Whether there are no requests."""
        with self._lock:
            return self._driver is None

    @property
    def is_stepped_here(self) -> bool:
        """Whether this is the thread that steps: a reward that it has called calls the model again."""
        return self._driver == threading.get_ident()

    def submit(self, requests: Sequence[Request[R]]) -> list[Future[R]]:
        """Start requests, and return the future of each result. May be called from any thread."""
        if self.is_stepped_here:
            _run_here(requests)
        elif requests:
            with self._lock:
                self._add(requests)
                if self._driver is None:
                    self._start_thread()
        return [request.future for request in requests]

    def cancel(self, requests: Sequence[Request[R]], reason: StopReason) -> None:
        """End requests at the next step: their results are the best answers so far."""
        with self._lock:
            self._cancelled += [(request, reason) for request in requests if not request.future.done()]
        self._scheduler.has_news.set()

    def refine(self, requests: Sequence[Request[R]]) -> list[R]:
        """Run requests and wait for their results.

        Raises:
            RefinementInterrupted: Ctrl-C was pressed; it holds the best answers so far. A second Ctrl-C does
                not wait for the current step.
        """
        if self.is_stepped_here:
            _run_here(requests)
        else:
            self._run_and_wait(requests)
        return [request.future.result() for request in requests]

    async def arefine(self, requests: Sequence[Request[R]]) -> list[R]:
        """Run requests without blocking the event loop; cancelling the task cancels them."""
        futures = self.submit(requests)
        try:
            await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
        except asyncio.CancelledError:
            self.cancel(requests, StopReason.CANCELLED)
            raise
        return [future.result() for future in futures]

    def _run_and_wait(self, requests: Sequence[Request[Any]]) -> None:
        futures = [request.future for request in requests]
        try:
            if self._claim(requests):
                with deferred_interrupt() as is_interrupted:
                    self._drive(lambda: is_interrupted() or all(future.done() for future in futures))
            else:
                self.submit(requests)
            wait(futures)
        except KeyboardInterrupt:
            if self.is_stepped_here:  # between two steps
                self._release()
            self.cancel(requests, StopReason.INTERRUPTED)
            wait(futures)
            raise RefinementInterrupted([future.result() for future in futures]) from None

    def _claim(self, requests: Sequence[Request[Any]]) -> bool:
        """Add the requests if this thread may step the scheduler: it is the main thread, and no other one does."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return False  # as `asyncio.run`, leave a handler of the program's own alone
        with self._lock:
            if self._driver is not None:
                return False
            self._driver = threading.get_ident()
            self._add(requests)
        return True

    def _add(self, requests: Sequence[Request[Any]]) -> None:
        for request in requests:
            request.context = copy_context()
        self._new += requests
        self._scheduler.has_news.set()

    def _start_thread(self) -> None:
        """Let a thread of the engine's own step the scheduler; call this with the lock held."""
        thread = threading.Thread(target=self._drive, name="langchain-sea-engine", daemon=True)
        thread.start()
        self._driver, self._thread = thread.ident, thread

    def _drive(self, is_done: Callable[[], bool] = lambda: False, *, is_more_expected: bool = False) -> None:
        """Step until there are no requests, or until `is_done`: then a thread of the engine's own goes on.

        Args:
            is_done: when to stop although there are requests.
            is_more_expected: wait for requests where there are none, until `is_done`.
        """
        with nullcontext() if self._threads is None else self._threads.use():
            self._step_until(is_done, is_more_expected=is_more_expected)

    def _step_until(self, is_done: Callable[[], bool], *, is_more_expected: bool) -> None:
        while True:
            try:
                self._step()
            except KeyboardInterrupt:  # in the middle of a step, which cannot be continued
                for request in list(self._scheduler.requests):
                    self._scheduler.cancel_request(request, StopReason.INTERRUPTED)
                self._release()
                raise
            except BaseException as error:  # noqa: BLE001 - the requests must end whatever happens here
                self._scheduler.fail_requests(to_package_error(error))
            if self._is_closing and threading.current_thread() is self._thread:
                return
            if is_done():
                self._release()
                return
            if is_more_expected:
                if not self._scheduler.requests:
                    self._scheduler.has_news.wait(_POLL_SECONDS)
                    self._scheduler.has_news.clear()
            elif self._release(unless_busy=True):
                return

    def _release(self, *, unless_busy: bool = False) -> bool:
        """Stop stepping in this thread, and start another one if there are requests.

        Args:
            unless_busy: go on in this thread if there are requests.

        Returns:
            Whether this thread stopped.
        """
        with self._lock:
            is_busy = bool(self._new or self._scheduler.requests)
            if is_busy and unless_busy:
                return False
            self._driver = None
            if is_busy:
                self._start_thread()
            else:
                self._cancelled.clear()
            return True

    def _step(self) -> None:
        """Add and cancel requests, and compute one op of each."""
        with self._lock:
            cancelled, self._cancelled = self._cancelled, []
        if new := [self._new.pop(0) for _ in range(len(self._new))]:  # another thread may append meanwhile
            self._scheduler.add_requests(new)
        for request, reason in cancelled:
            self._scheduler.cancel_request(request, reason)
        if self._threads is not None and self._scheduler.requests:
            self._threads.adjust()
        self._scheduler.step(max_wait=_POLL_SECONDS)


def wait_for_calls(engine: Engine, calls: Sequence[Future[Any]]) -> None:
    """Wait for calls that other threads make with an engine. Meanwhile the main thread computes for them.

    Raises:
        RefinementInterrupted: Ctrl-C was pressed; it holds the best answers so far of the requests in progress.
    """
    try:
        if engine._claim(()):  # noqa: SLF001 - of this module
            with deferred_interrupt() as is_interrupted:

                def is_done() -> bool:
                    return is_interrupted() or all(call.done() for call in calls)

                _wait_for_requests(engine, is_done)
                engine._drive(is_done, is_more_expected=True)  # noqa: SLF001
        wait(calls)
    except KeyboardInterrupt:
        if engine.is_stepped_here:
            engine._release()  # noqa: SLF001 - else the requests of other threads would wait for this one
        refinements: list[Any] = []
        while not all(call.done() for call in calls):  # some calls may be about to add a request
            requests = [*engine._new, *engine._scheduler.requests]  # noqa: SLF001
            engine.cancel(requests, StopReason.INTERRUPTED)
            futures = [request.future for request in requests]
            wait(futures)
            refinements += [future.result() for future in futures if future.exception() is None]
            wait(calls, timeout=_POLL_SECONDS)
        raise RefinementInterrupted(refinements) from None


def _wait_for_requests(engine: Engine, is_done: Callable[[], bool]) -> None:
    """Wait until requests come, and until none has come for a moment: together they are faster."""
    has_news = engine._scheduler.has_news  # noqa: SLF001 - of this module
    while not (engine._new or is_done()):  # noqa: SLF001
        has_news.wait(_POLL_SECONDS)
    while has_news.wait(_POLL_SECONDS) and not is_done():
        has_news.clear()


def _run_here(requests: Sequence[Request[Any]]) -> None:
    """Run requests in this thread, which all other requests wait for."""
    scheduler = Scheduler()
    scheduler.add_requests(requests)
    while scheduler.requests:
        scheduler.step()
