"""Conversations as template dicts: `{"role": …, "content": …}`, content being a text or a list of parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["last_user_text"]


def last_user_text(messages: Sequence[Mapping[str, Any]], *, separator: str = "") -> str:
    """Return the text of the newest user message, or an empty string if there is none.

    Args:
        messages: the conversation, oldest message first.
        separator: joins the texts of a message that consists of several parts; parts without text are skipped.
    """
    content = next((m.get("content") for m in reversed(messages) if m.get("role") == "user"), None)
    if isinstance(content, list | tuple):
        return separator.join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return str(content or "")
