"""The engines of this process: one for each policy, which all callers share."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from langchain_sea.engine.queue import Engine

if TYPE_CHECKING:
    from langchain_sea.core.protocols import Policy

__all__ = ["get_engine"]

_CLOSE_SECONDS = 30.0  # that the end of the process waits for a step

_engines: WeakKeyDictionary[Policy, Engine] = WeakKeyDictionary()
_lock = threading.Lock()


def get_engine(policy: Policy) -> Engine:
    """Return the engine of a policy, which all callers share."""
    with _lock:
        if policy not in _engines:
            _engines[policy] = Engine(uses_cpu=policy.device.type == "cpu")
        return _engines[policy]


def _close_engines() -> None:
    """Let no engine's thread be in the middle of a step when the interpreter ends."""
    with _lock:
        engines = list(_engines.values())
    for engine in engines:
        engine.close(_CLOSE_SECONDS)


atexit.register(_close_engines)


def _reset_after_fork() -> None:
    """Forget all engines: threads do not survive a fork, and a lock may have been held."""
    global _engines, _lock
    _engines, _lock = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
