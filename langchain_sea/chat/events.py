"""Steps as LangChain's custom events, under a bare `invoke` as in chains and graphs. Knows no model."""

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

__all__ = ["EVENT", "AsyncStepEvents", "step_events"]

EVENT = "sea_step"
Teller = Callable[["TraceStep"], None]


def step_events(run_manager: CallbackManagerForLLMRun | None) -> Teller:
    """What tells a run's handlers of each step; without a run, those of the chain around it, if there is one.

    Core's own `dispatch_custom_event` wants a parent, which a bare `invoke` has not.
    """
    if run_manager is not None:
        how = _attributes(run_manager)
        return lambda step: handle_event(*how[0], EVENT, _data(step), **how[1])
    config = ensure_config()  # here: steps are told from another thread

    def tell(step: TraceStep) -> None:
        with suppress(RuntimeError):  # no parent to tell
            dispatch_custom_event(EVENT, _data(step), config=config)

    return tell


class AsyncStepEvents:
    """The same beside an event loop: handlers are awaited there, in order."""

    def __init__(self, run_manager: AsyncCallbackManagerForLLMRun | None) -> None:
        """For the loop that runs now."""
        self._loop, self._run, self._config = asyncio.get_running_loop(), run_manager, ensure_config()
        self._last: asyncio.Future[None] | None = None

    def __call__(self, step: TraceStep) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, _data(step))

    async def all(self) -> None:
        """Wait until all are told."""
        await asyncio.sleep(0)
        if self._last is not None:
            await self._last

    def _tell(self, data: dict[str, Any]) -> None:
        self._last = asyncio.ensure_future(self._after(self._last, data))

    async def _after(self, before: asyncio.Future[None] | None, data: dict[str, Any]) -> None:
        if before is not None:
            await before
        if self._run is not None:
            how = _attributes(self._run)
            await ahandle_event(*how[0], EVENT, data, **how[1])
            return
        with suppress(RuntimeError):  # no parent to tell
            await adispatch_custom_event(EVENT, data, config=self._config)


def _attributes(
    run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun,
) -> tuple[tuple[Any, str, str], dict[str, Any]]:
    where = {"run_id": run.run_id, "tags": run.tags, "metadata": run.metadata}
    return (run.handlers, "on_custom_event", "ignore_custom_event"), where


def _data(step: TraceStep) -> dict[str, Any]:
    """The step's number, the best of its chains' scores, and how long it took."""
    return {"step": step.step, "score": -min(step.energy, default=0.0), "seconds": step.seconds}
