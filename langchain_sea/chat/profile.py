"""What a model can do, in LangChain's form, read from its configuration. Loads no weights."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

__all__ = ["find_profile"]

_CONTEXT_LENGTHS = {"smollm2-135m": 8192, "tiny": 512}  # of the models in the package


def find_profile(model: object) -> ModelProfile | None:
    """Return the model's profile, or None where no configuration is at hand, as for a hub id not yet loaded.

    `structured_output` is left out on purpose. Agents would otherwise ask for tools and a schema in one call,
    and the grammar of the schema allows no tool call. Without it they pass the schema as a tool, which is
    enforced as well.

    Args:
        model: what `SEAChatModel(model=...)` takes.
    """
    if not isinstance(model, (str, os.PathLike)):
        context_length = getattr(model, "context", None)
    elif (name := os.fspath(model).split("/")[0]) in _CONTEXT_LENGTHS and not Path(model).exists():
        context_length = _CONTEXT_LENGTHS[name]
    elif (file := Path(model) / "config.json").is_file():
        context_length = _read_context_length(str(file), file.stat().st_mtime_ns)
    else:
        return None
    profile: ModelProfile = {
        "text_inputs": True, "text_outputs": True, "image_inputs": False, "audio_inputs": False,
        "video_inputs": False, "pdf_inputs": False, "tool_calling": True, "tool_choice": True,
        "temperature": True, "open_weights": True,
    }  # fmt: skip
    if context_length is not None:
        profile["max_input_tokens"] = context_length
    return profile


@cache
def _read_context_length(file: str, _modified_ns: int) -> int | None:
    """Read the context length; the time of the last change makes the cache read a changed file again."""
    try:
        config = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    length = config.get("text_config", config).get("max_position_embeddings")
    return length if isinstance(length, int) else None
