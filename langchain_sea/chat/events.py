"""Steps of a refinement as LangChain's custom events `sea_step`. Knows no model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.runnables import ensure_config

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    from langchain_sea.core.trace import TraceStep

__all__ = ["EVENT", "AsyncStepEvents", "OnStep", "step_events"]

EVENT = "sea_step"
OnStep = Callable[["TraceStep"], None]
_HANDLER = ("on_custom_event", "ignore_custom_event")  # the handlers' method, and the flag that skips it


def step_events(run_manager: CallbackManagerForLLMRun | None) -> OnStep:
    """Return a function that sends each step to the run's handlers, or to those of the chain around it.

    LangChain's `dispatch_custom_event` needs a parent run, which a plain `invoke` has not; therefore the
    handlers of the run are called directly where there is one.
    """
    config = ensure_config()  # read here: steps are reported from another thread

    def send(step: TraceStep) -> None:
        if run_manager is not None:
            handle_event(run_manager.handlers, *_HANDLER, EVENT, _to_data(step), **_run_fields(run_manager))
            return
        with suppress(RuntimeError):  # there is no parent run
            dispatch_custom_event(EVENT, _to_data(step), config=config)

    return send


class AsyncStepEvents:
    """Sends each step to a run's handlers, which are awaited in order on the event loop."""

    def __init__(self, run_manager: AsyncCallbackManagerForLLMRun | None) -> None:
        """Use the running event loop."""
        self._loop, self._run_manager = asyncio.get_running_loop(), run_manager
        self._config = ensure_config()
        self._last: asyncio.Future[None] | None = None

    def __call__(self, step: TraceStep) -> None:
        """Send a step; may be called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._schedule, _to_data(step))

    async def wait(self) -> None:
        """Wait until all events are handled."""
        await asyncio.sleep(0)
        if self._last is not None:
            await self._last

    def _schedule(self, data: dict[str, Any]) -> None:
        self._last = asyncio.ensure_future(self._send_after(self._last, data))

    async def _send_after(self, previous: asyncio.Future[None] | None, data: dict[str, Any]) -> None:
        if previous is not None:
            await previous
        run = self._run_manager
        if run is not None:
            await ahandle_event(run.handlers, *_HANDLER, EVENT, data, **_run_fields(run))
            return
        with suppress(RuntimeError):  # there is no parent run
            await adispatch_custom_event(EVENT, data, config=self._config)


def _run_fields(run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun) -> dict[str, Any]:
    return {"run_id": run.run_id, "tags": run.tags, "metadata": run.metadata}


def _to_data(step: TraceStep) -> dict[str, Any]:
    """Return the step's number, the best score of its chains, and its seconds."""
    return {"step": step.step, "score": -min(step.energy, default=0.0), "seconds": step.seconds}
