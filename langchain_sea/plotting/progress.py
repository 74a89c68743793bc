"""The plan and a progress bar of refinement steps, as a LangChain callback handler."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from tqdm.auto import tqdm

from langchain_sea.core.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = ["ProgressBar", "describe_plan"]


class ProgressBar(BaseCallbackHandler):
    """A bar of steps, in terminal and notebook: `model.invoke(…, config={"callbacks": [ProgressBar()]})`.

    A line above it says how long the draft took and what is planned. The bar ends at the planned number of rounds,
    which every further window of a long answer adds to, and shows the best score so far. A search may end earlier.

    Attributes:
        total: the number of steps, where it is known before there is a plan.
        has_bar: whether there is a bar below the line of the plan; a log needs none.
    """

    def __init__(self, total: int | None = None, *, has_bar: bool = True) -> None:
        """Draw nothing yet."""
        self.total = total
        self.has_bar = has_bar
        self._bars: dict[UUID, tqdm[Any]] = {}
        self._best: dict[UUID, float] = {}

    def on_custom_event(self, name: str, data: dict[str, Any], *, run_id: UUID, **_: Any) -> None:
        """Show the plan where the event is `sea_plan`, and count one step where it is `sea_step`."""
        if name == "sea_plan":
            self._add_plan(data, run_id)
        elif name == "sea_step":
            bar = self._bars[run_id] if run_id in self._bars else self._start_bar(run_id, self.total)
            best = self._best[run_id] = max(data["score"], self._best.get(run_id, data["score"]))
            bar.set_postfix(score=f"{best:.2f}", refresh=False)
            bar.update()

    def on_llm_end(self, *_args: Any, run_id: UUID, **_: Any) -> None:
        """Close the bar when the call ends."""
        self._close(run_id)

    def on_llm_error(self, *_args: Any, run_id: UUID, **_: Any) -> None:
        """Close the bar when the call fails."""
        self._close(run_id)

    def _add_plan(self, plan: Mapping[str, Any], run_id: UUID) -> None:
        """Begin the bar, or let it go on for the rounds of a further window."""
        bar = self._bars.get(run_id)
        if bar is None:
            tqdm.write(describe_plan(plan), file=sys.stderr)
            if plan["rounds"] != 0:
                self._start_bar(run_id, plan["rounds"] or self.total)
        elif plan["rounds"]:
            bar.total = bar.n + plan["rounds"]  # a window may end before its last round
            bar.refresh()

    def _start_bar(self, run_id: UUID, total: int | None) -> tqdm[Any]:
        bar = self._bars[run_id] = tqdm(total=total, desc="refining", unit="round", disable=not self.has_bar)
        return bar

    def _close(self, run_id: UUID) -> None:
        self._best.pop(run_id, None)
        bar = self._bars.pop(run_id, None)
        if bar is not None:
            bar.close()


def describe_plan(plan: Mapping[str, Any]) -> str:
    """Return the data of a `sea_plan` event in words, such as `refining for up to 20 s: 16 draws × 5 rounds`."""
    draft = f"draft written in {plan['draft_seconds']:.1f} s"
    if plan["rounds"] == 0:
        limit = "in the time that is left" if plan["seconds"] is None else f"in {plan['seconds']:g} s"
        return f"{draft}; no search ends {limit}, so the best of it and the answers beside it is returned"
    limit = "" if plan["seconds"] is None else f" for up to {plan['seconds']:g} s"
    rounds = (
        "" if plan["rounds"] is None else f": {count_of(plan['draws'], 'draw')} × {count_of(plan['rounds'], 'round')}"
    )
    return f"{draft}, refining{limit}{rounds}"
