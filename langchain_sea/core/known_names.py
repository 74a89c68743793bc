"""The names of the models, rewards and gates that ship, so that a misspelt one is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_sea.core.suggestions import suggest

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

__all__ = ["DEFAULT_REWARDS", "GATE_NAMES", "MODEL_NAMES", "REWARD_NAMES", "refuse_misspelt"]

MODEL_NAMES = ("smollm2-135m", "minilm", "tiny", "tiny/expert", "tiny/early_30", "tiny/early_03")
REWARD_NAMES = ("safety", "tiny")
GATE_NAMES = ("safety",)
DEFAULT_REWARDS: dict[str, tuple[str, ...]] = {
    "smollm2-135m": ("safety",),
    **{name: ("tiny",) for name in MODEL_NAMES if name.startswith("tiny")},
}
"""The rewards that ship, by the name of the policy they were made for."""
_CUTOFF = 0.75  # of similarity: `tiny-gpt2`, a model of its own, is further from `tiny`


def refuse_misspelt(name: str | os.PathLike[str], known: Collection[str], kind: str) -> None:
    """Refuse a name that is nearly, and not quite, one of the names that ship.

    Other names may be folders, files or ids on a hub, which are looked for when they are loaded.

    Args:
        name: that a user passed.
        known: the names that ship.
        kind: what is named, for the message.

    Raises:
        ValueError: the name is one of these with a mistake, and no file or folder has it.
    """
    if not isinstance(name, str) or name in known or Path(name).exists():
        return
    is_hub_id = "/" in name and not name.startswith("tiny/")
    if not is_hub_id and (hint := suggest(name, known, cutoff=_CUTOFF)):
        raise ValueError(
            f"there is no {kind} {name!r}; {hint} The names that ship are {', '.join(known)}; of others pass the "
            "folder, the file, or the id on a hub with its owner (owner/name)."
        )
