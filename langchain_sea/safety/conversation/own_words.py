"""What is left of the user's words in a message that a middleware changed. Knows no LangChain."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["compute_text_digest", "find_text", "split_own_words"]

_MIN_ADDED = 3  # words: fewer are marks in place of what was removed
_MARK = re.compile(r"\*{2}|_hash:|redacted", re.IGNORECASE)
"""What stands in place of private data, as `PIIMiddleware` writes it."""


def compute_text_digest(text: str) -> str:
    """Return a short digest of a text."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def find_text(texts: Iterable[str], digest: str) -> str | None:
    """Return the text that has a digest."""
    return next((text for text in texts if compute_text_digest(text) == digest), None)


def split_own_words(text: str, own: str) -> tuple[str, bool]:
    """Return the user's words in a changed message, and whether somebody added a text to them.

    Where a text was added, such as a document, the user's words are all that the user wrote. Else they are those that
    are left, and what was removed, such as private data, is in neither.

    Args:
        text: of the changed message.
        own: what the user wrote.
    """
    known = set(own.split())
    added = {word for word in text.split() if word not in known and not _MARK.search(word)}
    if len(added) >= _MIN_ADDED:
        return own, True
    return re.sub(r"\S+", lambda match: match[0] if match[0] in known else "", text), False
