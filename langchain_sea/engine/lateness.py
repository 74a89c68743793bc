"""Steps that begin nothing new once their time is over. Knows no policy and no reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from langchain_sea.budget import StopReason
from langchain_sea.core.timeouts import LateError
from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from langchain_sea.budget import BudgetTracker
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["find_time_limit", "stop_when_late"]

R = TypeVar("R")

_MAX_FRACTION = 1.15
"""Of `max_time` that may be over when an op begins: what was written within the time may still be scored."""
_LATE = (StopReason.SECONDS, StopReason.TIMEOUT)


def find_time_limit(error: RewardUnavailableError, tracker: BudgetTracker) -> StopReason | None:
    """Return the limit on time that ended a reward; None if it failed otherwise.

    Args:
        error: of the reward.
        tracker: of the prompt's budget.
    """
    limit = tracker.exhausted_limit()
    return limit if limit in _LATE and isinstance(error.__cause__, LateError) else None


def stop_when_late(steps: RequestSteps[R], tracker: BudgetTracker) -> RequestSteps[R | None]:
    """Run steps, and end them before the first op that would begin too late.

    So a refinement takes at most 1.15 × `max_time` and one op more, whatever was expected of it. A reward that is a
    function and still runs when the time is over ends it, too.

    Args:
        steps: of a refinement whose draft was scored.
        tracker: of the prompt's budget; its `stop_reason` says if the steps ended for lack of time.

    Returns:
        what the steps return; None if they were ended.

    Raises:
        Exception: what the steps raise.
    """
    try:
        op = next(steps)
        while (limit := tracker.exhausted_limit(_MAX_FRACTION)) not in _LATE:
            try:
                result = yield op
            except Exception as error:  # noqa: BLE001 - the steps decide what to do about it
                op = steps.throw(error)
            else:
                op = steps.send(result)
    except StopIteration as stop:
        returned: R = stop.value
        return returned
    except RewardUnavailableError as error:
        limit = find_time_limit(error, tracker)
        if limit is None:
            raise
    steps.close()
    tracker.stop_reason = limit
    return None
