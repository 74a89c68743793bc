"""One queue a policy: whoever asks, from whichever thread, joins the refinements that are under way.

The queue's own thread lives while there is something to do. Signals never reach it, so that Ctrl-C stops the one
who waits and nobody else; a forked child begins with no queue. Knows no messages.
"""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from langchain_sea.errors import RefinementInterrupted
from langchain_sea.rounds import Rounds, Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.best import Refinement
    from langchain_sea.policy import CausalLMPolicy
    from langchain_sea.run import Run

__all__ = ["Queue", "queue_for"]


@dataclass(slots=True, eq=False)
class _Ticket:
    """One refinement's place, and what to do when it is over."""

    run: Run
    over: Callable[[], None]
    seat: Seat = field(init=False)

    def __post_init__(self) -> None:
        self.seat = Seat(self.run.task(), self._ended)

    def _ended(self, error: BaseException | None) -> None:
        self.run.ended(error)
        self.over()


class Queue:
    """The refinements of one policy."""

    def __init__(self) -> None:
        """Empty."""
        self._lock = threading.Lock()
        self._joining: list[_Ticket] = []
        self._leaving: list[tuple[_Ticket, str]] = []
        self._thread: threading.Thread | None = None
        self._rounds = Rounds()

    def refine(self, runs: Sequence[Run]) -> list[Refinement]:
        """Wait until all are refined.

        Raises:
            RefinementInterrupted: at Ctrl-C, with the best answers so far.
        """
        left, done = _Counter(len(runs)), threading.Event()
        tickets = [_Ticket(run, lambda: left.down() or done.set()) for run in runs]
        self._submit(tickets)
        try:
            done.wait()
        except KeyboardInterrupt:
            self._withdraw(tickets, "interrupted")
            done.wait()
            raise RefinementInterrupted([run.result() for run in runs]) from None
        return [run.result() for run in runs]

    async def arefine(self, runs: Sequence[Run]) -> list[Refinement]:
        """The same without holding the event loop; whoever is cancelled leaves at the next step."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        left = _Counter(len(runs))

        def over() -> None:
            if not left.down() and not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        tickets = [_Ticket(run, over) for run in runs]
        self._submit(tickets)
        try:
            await done.wait()
        except asyncio.CancelledError:
            self._withdraw(tickets, "cancelled")
            raise
        return [run.result() for run in runs]

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        with self._lock:
            return self._thread is None

    def _submit(self, tickets: list[_Ticket]) -> None:
        with self._lock:
            self._joining += tickets
            if self._thread is None and tickets:
                self._thread = threading.Thread(target=self._work, name="langchain-sea", daemon=True)
                self._thread.start()
        self._rounds.wake.set()

    def _withdraw(self, tickets: list[_Ticket], reason: str) -> None:
        with self._lock:
            self._leaving += [(ticket, reason) for ticket in tickets]
        self._rounds.wake.set()

    def _work(self) -> None:
        while True:
            with self._lock:
                joining, self._joining = self._joining, []
                leaving, self._leaving = self._leaving, []
                if not (joining or self._rounds.seats):
                    self._thread = None
                    return
            try:
                for ticket in joining:
                    self._rounds.join(ticket.seat)
                for ticket, reason in leaving:
                    ticket.run.interrupt(reason)
                    self._rounds.leave(ticket.seat)
                self._rounds.round()
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever because of a fault here
                for seat in list(self._rounds.seats):
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


_queues: WeakKeyDictionary[CausalLMPolicy, Queue] = WeakKeyDictionary()
_lock = threading.Lock()


def queue_for(policy: CausalLMPolicy) -> Queue:
    """The policy's queue, one for all who use it."""
    with _lock:
        return _queues.setdefault(policy, Queue())


def _forget() -> None:
    """Threads do not survive a fork, and locks may have been held."""
    global _queues, _lock  # noqa: PLW0603 - there is nothing else to reset
    _queues, _lock = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
