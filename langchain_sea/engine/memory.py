"""What went wrong, as an exception of this package: memory, and what would end more than one refinement."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_out_of_memory", "capture_error", "to_package_error"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device."""
    words = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in words or "out of memory" in words)
    )


def to_package_error(error: BaseException) -> Exception:
    """As an exception of this package where it was memory, or would end more than one refinement."""
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    if is_out_of_memory(error):
        # without its frames, which hold what filled the memory while it is tried again with less
        bare = error.with_traceback(None)
        if isinstance(bare, OutOfMemoryError):
            return bare
        short = OutOfMemoryError(f"memory ran out ({error}); use fewer chains or drafts, or shorter answers.")
        short.__cause__ = bare
        return short
    if isinstance(error, Exception):
        return error
    left = RewardUnavailableError(f"a reward raised {error!r}, which would end the process; mend it.")
    left.__cause__ = error
    return left


def capture_error(call: Callable[[], object]) -> Exception | None:
    """What `call` raised."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - it is raised again where it belongs
        return to_package_error(error)
    return None
