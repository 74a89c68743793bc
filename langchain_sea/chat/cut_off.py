"""Which limit cut an answer off, and what to do about it. Knows no message.

An answer that was cut off holds what the model wrote, and nothing that was filled in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.errors import OutOfMemoryError
from langchain_sea.models.template_fallbacks import CLOSING, OPENING

if TYPE_CHECKING:
    from langchain_sea.chat.options import CallOptions
    from langchain_sea.engine.selection import Refinement

__all__ = ["describe_limit", "find_limit"]

_NAMES = {"context": "the end of the model's context", "memory": "a lack of memory"}
_ADVICE = {
    "max_tokens": "raise max_tokens",
    "context": "shorten the conversation",
    "timeout": "raise timeout, or set it to None",
    "stop": "leave out the stop strings that occur in JSON",
    "memory": "lower max_tokens, or use quantization",
}


def find_limit(text: str, refinement: Refinement, options: CallOptions, max_tokens: int | None = None) -> str | None:
    """Return the limit that ended an answer before the model did, as it is set, such as `max_tokens=64`.

    Args:
        text: the answer: the refined text or the draft.
        refinement: which the text is of.
        options: of the call.
        max_tokens: how many tokens the model's context left for the answer; None: as many as the call asks for.

    Returns:
        `max_tokens=…`, `context`, `timeout=…`, `stop=…` or `memory`; None where the model ended the answer.
    """
    must_be_json = options.tool_choice.is_forced or options.schema is not None
    is_refined = text == refinement.text
    is_complete = refinement.is_complete if is_refined else getattr(refinement, "is_draft_complete", True)
    if is_complete and not (must_be_json and not _is_json(text)):
        return None
    longest = options.max_tokens if max_tokens is None else min(max_tokens, options.max_tokens)
    if is_complete and options.stop:
        return f"stop={list(options.stop)!r}"
    if isinstance(refinement.failure, OutOfMemoryError):
        return "memory"
    if refinement.stop_reason is StopReason.TIMEOUT and len(refinement.ids) + refinement.reasoning_tokens < longest:
        return f"timeout={options.timeout}"
    return f"max_tokens={longest}" if longest == options.max_tokens else "context"


def describe_limit(limit: str) -> str:
    """Return what a limit of `find_limit` did, and what to do about it."""
    return f"cut off by {_NAMES.get(limit, limit)}; {_ADVICE[limit.partition('=')[0]]}"


def _is_json(text: str) -> bool:
    """Return whether this is one whole JSON value, in the tags of a tool call or without them."""
    try:
        json.loads(text.strip().removeprefix(OPENING).removesuffix(CLOSING))
    except ValueError:
        return False
    return True
