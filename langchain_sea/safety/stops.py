"""Reports every call that is stopped: a line of `logging`, a counter of the process, and whoever listens."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.safety.checks import Decision

__all__ = ["count_stops", "report_stop"]

_log = logging.getLogger(__name__)
_counts: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()
_QUIET = ("allowed", "approved", "repaired")


def report_stop(decision: Decision, on_stop: Callable[[Decision], None] | None = None) -> None:
    """Log, count and hand on a decision that stops a call, or would stop it outside of monitor mode."""
    if decision.outcome in _QUIET:
        return
    name = decision.requested.name
    with _lock:
        _counts[name, decision.outcome] += 1
    verb = "let run" if decision.is_allowed else "stopped"
    _log.warning("the guard %s a call of %s (%s): %s", verb, name, decision.outcome, decision.reason)
    if on_stop is not None:
        try:
            on_stop(decision)
        except Exception:  # noqa: BLE001 - a broken listener must not change a decision
            _log.exception("what listens to stopped calls failed")


def count_stops() -> dict[tuple[str, str], int]:
    """Return how often calls were stopped in this process, or would have been, by tool and outcome."""
    with _lock:
        return dict(_counts)
