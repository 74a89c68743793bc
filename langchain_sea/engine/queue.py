"""One queue a policy: whoever asks, from whichever thread, joins the refinements that are under way.

They are driven by one thread at a time: the main thread while it waits for its own, else the queue's own,
which lives while there is something to do. (Two threads that compute in turn each keep workers, and OpenMP
lets workers sleep where there are more than processors: measured, a third slower.) Knows no messages.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_sea.engine.scheduler import Scheduler, Seat
from langchain_sea.errors import RefinementInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_sea.engine.request import Request
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["Engine", "get_engine"]

_NOBODY = -1  # has taken over yet
_LOOK = 0.05  # seconds after which the main thread looks whether Ctrl-C was pressed


@dataclass(slots=True, eq=False)
class _Ticket:
    """One refinement's place, and what to do when it is over."""

    run: Request
    over: Callable[[], None]
    seat: Seat = field(init=False)

    def __post_init__(self) -> None:
        self.seat = Seat(self.run.task(), self.ended)

    def ended(self, error: BaseException | None) -> None:
        """Once, however it ended."""
        if not self.run.over:
            if isinstance(error, KeyboardInterrupt):
                self.run.interrupt()
                error = None
            self.run.ended(error)
            self.over()


class Engine:
    """The refinements of one policy."""

    def __init__(self) -> None:
        """Empty."""
        self._lock = threading.Lock()
        self._joining: list[_Ticket] = []
        self._leaving: list[tuple[_Ticket, str]] = []
        self._driver: int | None = None  # the thread that drives; None: nobody does
        self._rounds = Scheduler()

    def refine(self, runs: Sequence[Request]) -> list[Refinement]:
        """Wait until all are refined.

        Raises:
            RefinementInterrupted: at Ctrl-C, with the best answers so far.
        """
        left, done = _Counter(len(runs)), threading.Event()

        def over() -> None:
            if not left.down():
                done.set()

        tickets = [_Ticket(run, over) for run in runs]
        if self._apart(tickets):
            return [run.result() for run in runs]
        with _interrupts() as pressed:
            try:
                self._wait(tickets, done, pressed)
            except KeyboardInterrupt as error:
                if self._driver == threading.get_ident():
                    self._bury(error)
                    self._hand_over()
                if self._withdraw(tickets, "interrupted"):
                    done.wait()
                raise RefinementInterrupted([run.result() for run in runs]) from None
        return [run.result() for run in runs]

    def begin(self, runs: Sequence[Request], over: Callable[[], object]) -> Callable[[str], object]:
        """Let them be refined by the queue's own thread.

        Args:
            runs: any number of them.
            over: called from that thread when the last one is over.

        Returns:
            What makes those leave that are still under way; it takes a reason.
        """
        left = _Counter(len(runs))

        def one() -> None:
            if not left.down():
                over()

        tickets = [_Ticket(run, one) for run in runs]
        if not tickets:
            over()
        elif not self._apart(tickets):
            self._submit(tickets, drive=False)
        return partial(self._withdraw, tickets)

    async def arefine(self, runs: Sequence[Request]) -> list[Refinement]:
        """The same without holding the event loop; whoever is cancelled leaves at the next step."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def over() -> None:
            # a loop that was closed meanwhile has nobody left who waits
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        leave = self.begin(runs, over)
        try:
            await done.wait()
        except asyncio.CancelledError:
            leave("cancelled")
            raise
        return [run.result() for run in runs]

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        with self._lock:
            return self._driver is None

    def _apart(self, tickets: list[_Ticket]) -> bool:
        """Refine here what cannot wait: nothing at all, or what a reward asks for while all wait for it."""
        if tickets and self._driver != threading.get_ident():
            return False
        rounds = Scheduler()
        for ticket in tickets:
            rounds.join(ticket.seat)
        while rounds.seats:
            rounds.round()
        return True

    def _wait(self, tickets: list[_Ticket], done: threading.Event, pressed: list[bool] | None) -> None:
        """Until they are over; drives if this is the main thread and nobody does."""

        def stop() -> bool:
            return pressed is not None and pressed[0]

        if self._submit(tickets, drive=pressed is not None):
            self._drive(lambda: done.is_set() or stop())
        while not (done.wait(None if pressed is None else _LOOK) or stop()):
            pass
        if stop():
            raise KeyboardInterrupt

    def _submit(self, tickets: list[_Ticket], *, drive: bool) -> bool:
        """Let them join; True asks the caller to drive, since nobody does."""
        with self._lock:
            self._joining += tickets
            needed = self._driver is None
            if needed:
                self._driver = threading.get_ident() if drive else _NOBODY
        self._rounds.wake.set()
        if needed and not drive:
            self._hand_over()
        return needed and drive

    def _withdraw(self, tickets: list[_Ticket], reason: str) -> bool:
        """Let them leave; whether there is somebody to see to it."""
        with self._lock:
            driven = self._driver is not None
            if driven:
                self._leaving += [(ticket, reason) for ticket in tickets]
        self._rounds.wake.set()
        return driven

    def _hand_over(self) -> None:
        """To a thread of the queue's own; where none is to be had, to this one."""
        self._driver = _NOBODY
        try:
            threading.Thread(
                target=self._drive, args=(lambda: False,), name="langchain-sea", daemon=True
            ).start()
        except RuntimeError:
            self._drive(lambda: False)

    def _drive(self, enough: Callable[[], bool]) -> None:
        """Round after round, until nothing is left, or this thread has enough and another goes on."""
        self._driver = threading.get_ident()
        while True:
            try:
                self._round()
            except KeyboardInterrupt:  # in the main thread alone: `refine` sees to it
                raise
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever because of a fault here
                for seat in list(self._rounds.seats):
                    self._rounds.end(seat, error)
            if not self._goes_on():
                return
            if enough():
                self._hand_over()
                return

    def _goes_on(self) -> bool:
        """Whether there is something to do; if not, nobody drives from now on."""
        with self._lock:
            if not (self._joining or self._rounds.seats):
                self._leaving.clear()
                self._driver = None
            return self._driver is not None

    def _round(self) -> None:
        """Who comes, who goes, and one step of all."""
        with self._lock:  # first: whoever is to leave has come by now
            leaving, self._leaving = self._leaving, []
        while self._joining:
            self._rounds.join(self._joining[0].seat)
            del self._joining[0]
        for ticket, reason in leaving:
            ticket.run.interrupt(reason)
            self._rounds.leave(ticket.seat)
            ticket.ended(None)
        self._rounds.round(most=_LOOK)

    def _bury(self, error: KeyboardInterrupt) -> None:
        """End the refinement that was interrupted in mid-step: its generator goes no further."""
        for seat in list(self._rounds.seats):
            if inspect.getgeneratorstate(seat.task) == inspect.GEN_CLOSED:
                self._rounds.end(seat, error)


class _Counter:
    """Counts down; shared by threads."""

    def __init__(self, count: int) -> None:
        self._left, self._lock = count, threading.Lock()

    def down(self) -> int:
        """How many are left."""
        with self._lock:
            self._left -= 1
            return self._left


@contextmanager
def _interrupts() -> Iterator[list[bool] | None]:
    """In the main thread, whether Ctrl-C was pressed, to be looked at between rounds; elsewhere None.

    A second press interrupts at once. As `asyncio.run` does, this leaves a handler of somebody else's alone.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield None
        return
    pressed = [False]

    def press(number: int, frame: Any) -> None:  # noqa: ANN401 - as `signal` passes it
        if pressed[0]:
            signal.default_int_handler(number, frame)
        pressed[0] = True

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_queues: WeakKeyDictionary[CausalLMPolicy, Engine] = WeakKeyDictionary()
_lock = threading.Lock()


def get_engine(policy: CausalLMPolicy) -> Engine:
    """The policy's queue, one for all who use it."""
    with _lock:
        return _queues.setdefault(policy, Engine())


def _forget() -> None:
    """Threads do not survive a fork, and locks may have been held."""
    global _queues, _lock
    _queues, _lock = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
