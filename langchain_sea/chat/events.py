"""Plans and steps of a refinement as LangChain's custom events `sea_plan` and `sea_step`. Knows no model."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.runnables import ensure_config

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseRunManager

    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.planning import PlanReport

__all__ = ["PLAN_EVENT", "STEP_EVENT", "AsyncEvents", "Events", "Progress"]

PLAN_EVENT, STEP_EVENT = "sea_plan", "sea_step"
_HANDLER = ("on_custom_event", "ignore_custom_event")  # the handlers' method, and the flag that skips it


class Progress(ABC):
    """Tells how far a refinement is. Any thread may call it."""

    def report_plan(self, report: PlanReport) -> None:
        """Tell what follows, when the draft is written and when a further window of the answer begins."""
        self._send(PLAN_EVENT, report._asdict())

    def report_step(self, step: TraceStep) -> None:
        """Tell a step's number, the best score of its chains or groups, and its seconds."""
        data = {"step": step.step, "score": -min(step.energy, default=0.0), "seconds": step.seconds}
        self._send(STEP_EVENT, data)

    @abstractmethod
    def _send(self, name: str, data: dict[str, Any]) -> None:
        """Send one event."""


class Events(Progress):
    """Sends each event to the run's handlers, or to those of the chain around it.

    LangChain's `dispatch_custom_event` needs a parent run, which a plain `invoke` has not; therefore the handlers of
    the run are called directly where there is one.
    """

    def __init__(self, run: BaseRunManager | None) -> None:
        """Use the configuration of this context: events are sent from another thread."""
        self._run, self._config = run, ensure_config()

    def _send(self, name: str, data: dict[str, Any]) -> None:
        run = self._run
        if run is not None:
            handle_event(run.handlers, *_HANDLER, name, data, **_run_fields(run))
            return
        with suppress(RuntimeError):  # there is no parent run
            dispatch_custom_event(name, data, config=self._config)


class AsyncEvents(Progress):
    """Sends each event to a run's handlers, which are awaited in order on the event loop."""

    def __init__(self, run: BaseRunManager | None) -> None:
        """Use the running event loop."""
        self._loop, self._run = asyncio.get_running_loop(), run
        self._config = ensure_config()
        self._last: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait until all events are handled."""
        await asyncio.sleep(0)
        if self._last is not None:
            await self._last

    def _send(self, name: str, data: dict[str, Any]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._schedule, name, data)

    def _schedule(self, name: str, data: dict[str, Any]) -> None:
        self._last = asyncio.ensure_future(self._send_after(self._last, name, data))

    async def _send_after(self, previous: asyncio.Future[None] | None, name: str, data: dict[str, Any]) -> None:
        if previous is not None:
            await previous
        run = self._run
        if run is not None:
            await ahandle_event(run.handlers, *_HANDLER, name, data, **_run_fields(run))
            return
        with suppress(RuntimeError):  # there is no parent run
            await adispatch_custom_event(name, data, config=self._config)


def _run_fields(run: BaseRunManager) -> dict[str, Any]:
    return {"run_id": run.run_id, "tags": run.tags, "metadata": run.metadata}
