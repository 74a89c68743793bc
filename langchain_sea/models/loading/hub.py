"""What is known of a hub before it is asked for weights: whether they are in its cache, and whether it answers."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, get_session
from transformers.utils.hub import cached_file

from langchain_sea.core.timeouts import LateError, run_with_timeout

__all__ = ["can_reach_hub", "find_cached"]

_SECONDS = 1.5  # for one small request


def find_cached(hub_id: str) -> Path | None:
    """Return the folder of a model in the hub's own cache, or None; uses no network."""
    try:
        config = cached_file(hub_id, "config.json", local_files_only=True)
    except (OSError, ValueError):
        return None
    return Path(config).parent if config else None


def can_reach_hub(*, if_late: bool) -> bool:
    """Return whether the hub answers: its client would try for half a minute.

    Args:
        if_late: what is returned if there is no answer after 1.5 s, as from a hub behind a slow network.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        run_with_timeout(_SECONDS, lambda: get_session().head(constants.ENDPOINT, timeout=_SECONDS))
    except LateError:
        return if_late
    except Exception as error:  # noqa: BLE001 - of whatever library the client of the hub uses
        return if_late if "timeout" in type(error).__name__.lower() else False
    return True
