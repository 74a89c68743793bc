"""Rewards that fail on every call: one warning, and the number of failures in a row for the report."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from langchain_sea.core.lru import LRUCache

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["count_failures"]

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
