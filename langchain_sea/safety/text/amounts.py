"""Sums of money in texts, and a sum whose decimal point was lost. Knows no conversation."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["find_lost_point", "read_amount", "read_amounts"]

_NUMBER = re.compile(r"(?<![\w.,])\d[\d.,'’]*(?<=\d)(?![\w])")
_DECIMALS = re.compile(r"[.,](\d{1,2})$")
_POWERS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
_TOLERANCE = 1e-9
_MIN_SUM = 10


def read_amount(text: str) -> float | None:
    """Read a number as it is written in English or in continental Europe: `1,250.50`, `1.250,50`, `12,5`."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    plain = match.group()
    decimals = _DECIMALS.search(plain)
    whole = re.sub(r"\D", "", plain[: decimals.start()] if decimals else plain)
    return float(f"{whole or 0}.{decimals[1] if decimals else 0}")


@lru_cache(maxsize=512)
def read_amounts(text: str) -> frozenset[float]:
    """Return all numbers of a text."""
    amounts = (read_amount(match.group()) for match in _NUMBER.finditer(text))
    return frozenset(number for number in amounts if number is not None)


def find_lost_point(amount: float, named: frozenset[float]) -> float | None:
    """Return the number that was named and of which an amount has the digits, with the point at another place."""
    if not amount or any(abs(amount - number) < _TOLERANCE for number in named):
        return None
    sums = sorted(n for n in named if n >= _MIN_SUM or n != int(n))  # "2" may be a number of people
    return next((n for n in sums for p in _POWERS if n and abs(n * p - amount) < _TOLERANCE * amount), None)
