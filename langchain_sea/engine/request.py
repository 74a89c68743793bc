"""A request: the steps of one task, its place among the others, and the future of its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from langchain_sea.engine.memory import capture_error, to_package_error
from langchain_sea.engine.ops import Op, R

if TYPE_CHECKING:
    from langchain_sea.budget import StopReason
    from langchain_sea.core.protocols import GenerationState, Policy
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["PendingReward", "Request", "RequestStatus"]


class RequestStatus(StrEnum):
    """How far a request is."""

    WAITING = "waiting"  # it has not started
    RUNNING = "running"
    FINISHED = "finished"  # its future is done


class PendingReward(NamedTuple):
    """Rewards that are plain functions and run in a thread of their own."""

    future: Future[Any]
    started: float  # on the scheduler's clock
    seconds: float  # after which they are too late

    @property
    def deadline(self) -> float:
        """On the scheduler's clock."""
        return self.started + self.seconds


def _new_future() -> Future[Any]:
    """Return a future that cannot be cancelled: `Request.cancel` gives it a result instead."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Request(ABC, Generic[R]):
    """One task of a scheduler.

    Attributes:
        future: of the result.
        context: the context variables of the caller, in which the steps run.
        op: what the scheduler is to compute next for this request.
        generations: the state of a `GenerateOp` in progress.
        pending: the rewards of a `ScoreTextsOp` in progress, if they are plain functions.
        policy: whose passes the request shares with others; None if it has none of its own.
    """

    future: Future[R] = field(init=False, repr=False, default_factory=_new_future)
    context: Context = field(init=False, repr=False, default_factory=copy_context)
    op: Op | None = field(init=False, repr=False, default=None)
    generations: list[GenerationState] | None = field(init=False, repr=False, default=None)
    pending: PendingReward | None = field(init=False, repr=False, default=None)
    policy: Policy | None = field(init=False, repr=False, default=None)
    is_started: bool = field(init=False, default=False)

    @abstractmethod
    def steps(self) -> RequestSteps[R]:
        """Yield op after op, and return the result."""

    @abstractmethod
    def partial_result(self, reason: StopReason) -> R:
        """Return the result so far; the request is cancelled for this reason."""

    @property
    def status(self) -> RequestStatus:
        """Whether the request waits, runs, or is finished."""
        if self.future.done():
            return RequestStatus.FINISHED
        return RequestStatus.RUNNING if self.is_started else RequestStatus.WAITING

    @cached_property
    def _generator(self) -> RequestSteps[R]:
        return self.steps()

    def resume(self, result: object = None) -> None:
        """Run the steps until they yield the next op or end.

        Args:
            result: of the current op, None at the start. An exception is raised in the steps.

        Raises:
            KeyboardInterrupt: the steps raised it in the main thread.
        """
        self.op, self.generations, self.pending, self.is_started = None, None, None, True
        try:
            if isinstance(result, Exception):
                self.op = self.context.run(self._generator.throw, result)
            else:
                self.op = self.context.run(self._generator.send, result)
        except StopIteration as stop:
            self.future.set_result(stop.value)
        except BaseException as error:  # noqa: BLE001 - the caller gets it from the future
            self.future.set_exception(to_package_error(error))

    def cancel(self, reason: StopReason) -> None:
        """End the request with the result so far, unless it is finished."""
        if not self.future.done():
            error = capture_error(self._generator.close)
            if error is None:
                error = capture_error(lambda: self.future.set_result(self.partial_result(reason)))
            if error is not None:
                self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        """End the request with an error, unless it is finished."""
        if not self.future.done():
            self.future.set_exception(error)
