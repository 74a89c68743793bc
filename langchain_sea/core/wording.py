"""Numbers with their nouns in messages."""

from __future__ import annotations

__all__ = ["count_of"]


def count_of(number: int, noun: str) -> str:
    """Return the number and the noun, which gets an s unless the number is one: `1 round`, `2 rounds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
