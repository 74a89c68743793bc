"""What a policy can do, in LangChain's words, from its configuration and template. Loads no weights."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

__all__ = ["profile_of"]

_CONTEXTS = {"smollm2-135m": 8192, "tiny": 512}  # what ships, whose files are not looked up for this


def profile_of(policy: Any) -> ModelProfile | None:  # noqa: ANN401 - all that `SEAChatModel.policy` takes
    """The profile, or None where the configuration is not at hand: of a hub id, before it is loaded.

    `structured_output` is not claimed: agents would then ask for tools and a schema at once, and a grammar of
    the schema leaves no room for a call. Without it they make the schema a tool, which is enforced as well.
    """
    if not isinstance(policy, (str, os.PathLike)):
        context = getattr(policy, "context", None)
    elif (name := os.fspath(policy).split("/")[0]) in _CONTEXTS and not Path(policy).exists():
        context = _CONTEXTS[name]
    elif (file := Path(policy) / "config.json").is_file():
        context = _context(str(file), file.stat().st_mtime_ns)
    else:
        return None
    found: dict[str, Any] = {
        "text_inputs": True, "text_outputs": True, "image_inputs": False, "audio_inputs": False,
        "video_inputs": False, "pdf_inputs": False, "tool_calling": True, "tool_choice": True,
        "temperature": True, "open_weights": True,
    }  # fmt: skip
    if context is not None:
        found["max_input_tokens"] = context
    return found  # type: ignore[return-value]


@cache
def _context(file: str, _changed: int) -> int | None:
    try:
        config = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    context = config.get("text_config", config).get("max_position_embeddings")
    return context if isinstance(context, int) else None
