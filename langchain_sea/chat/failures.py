"""What makes every answer a draft, and is logged once: rewards that fail, and a time that is too short."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.core.lru import LRUCache
from langchain_sea.plans import find_no_plan_reason

if TYPE_CHECKING:
    from collections.abc import Hashable

    from langchain_sea.engine.selection import Refinement

__all__ = ["count_failures", "warn_of_short_time"]

_log = logging.getLogger("langchain_sea")
_lock = threading.Lock()


class _Record:
    """What is known of one combination of model and rewards."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.is_told = False


_records: LRUCache[_Record] = LRUCache(256)


def count_failures(key: Hashable, failure: Exception | None) -> int:
    """Note whether an answer was refined, and return how many in a row were not because a reward failed.

    The first failure is logged as a warning: a chain shows the text of an answer alone, and every text would silently
    be a draft.

    Args:
        key: of the model and its rewards.
        failure: why the answer is its draft; None where it was refined.
    """
    record = _records.get_or_create(key, _Record)
    with _lock:
        record.in_a_row = 0 if failure is None else record.in_a_row + 1
        count, is_new = record.in_a_row, failure is not None and not record.is_told
        record.is_told |= is_new
    if is_new:
        _log.warning(
            "%s The answer is the unrefined draft, as are all answers for which this happens. It is said once; "
            "response_metadata['sea'] has `failure` and `failures_in_a_row`. on_reward_error='error' raises instead.",
            failure,
            exc_info=failure,  # with the line of a user's function
        )
    return count


def warn_of_short_time(warned: set[str], refinement: Refinement, max_time: float | None) -> None:
    """Log once for a model that `max_time` was too short to refine anything.

    Args:
        warned: what was logged for this model.
        refinement: of the answer.
        max_time: seconds of the call's budget.
    """
    reason = find_no_plan_reason(refinement.plan)
    was_possible = reason is None or refinement.steps > 0 or refinement.accepted
    if was_possible or refinement.stop_reason is not StopReason.SECONDS:
        return
    with _lock:
        is_new = "max_time" not in warned
        warned.add("max_time")
    if is_new:
        _log.warning(
            "no search fits into max_time=%s s: %s. The answer is the draft. Raise budget.max_time; "
            "`langchain-sea doctor --speed` measures what fits on this machine. It is said once for each model.",
            max_time,
            reason,
        )
