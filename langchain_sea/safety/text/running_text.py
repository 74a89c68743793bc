"""Running text: whether a text is more than values, which of its parts tell somebody to act, its sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.tool_effects import has_injection_marker, names_directive

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_running", "list_foreign", "split_sentences"]

_MIN_RUNNING_WORDS = 9  # of running text
_MAX_REPORT_WORDS = 40
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def is_running(text: str) -> bool:
    """Return whether a text is more than a few words, or tells its reader to act."""
    return len(text.split()) >= _MIN_RUNNING_WORDS or names_directive(text)


def list_foreign(text: str) -> list[str]:
    """List the parts of a write's answer that are no short report: sentences that tell somebody to act, or all."""
    if len(text.split()) > _MAX_REPORT_WORDS or has_injection_marker(text):
        return [text]
    return [part for part in split_sentences(text) if names_directive(part, is_report=True)]


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences and lines of a text."""
    return (part for part in _SENTENCE_END.split(text))
