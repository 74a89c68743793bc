"""A progress bar of refinement steps, as a LangChain callback handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["ProgressBar"]


class ProgressBar(BaseCallbackHandler):
    """A bar of steps, in terminal and notebook: `model.invoke(…, config={"callbacks": [ProgressBar()]})`.

    It shows the best score so far. `total` is the number of steps, if it is known.
    """

    def __init__(self, total: int | None = None) -> None:
        """Draw nothing yet."""
        self.total = total
        self._bars: dict[UUID, tqdm[Any]] = {}

    def on_custom_event(self, name: str, data: dict[str, Any], *, run_id: UUID, **_: Any) -> None:
        """Count one step where the event is `sea_step`."""
        if name != "sea_step":
            return
        if run_id not in self._bars:
            self._bars[run_id] = tqdm(total=self.total, desc="refining", unit="step")
        bar = self._bars[run_id]
        bar.set_postfix(score=f"{data['score']:.2f}", refresh=False)
        bar.update()

    def on_llm_end(self, *_args: Any, run_id: UUID, **_: Any) -> None:
        """Close the bar when the call ends."""
        self._close(run_id)

    def on_llm_error(self, *_args: Any, run_id: UUID, **_: Any) -> None:
        """Close the bar when the call fails."""
        self._close(run_id)

    def _close(self, run_id: UUID) -> None:
        bar = self._bars.pop(run_id, None)
        if bar is not None:
            bar.close()
