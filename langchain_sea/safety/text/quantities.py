"""Numbers in arguments, wherever and however they are written, and whom a call addresses. Knows no rule's action."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING

from langchain_sea.safety.text.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["list_recipients", "read_numbers"]

_NUMBER = re.compile(
    r"^\s*(?P<open>\()?\s*(?P<sign>[-+]?)\s*(?:[A-Z]{2,3}\$?|\p|[$€£¥₹₽₩₿]|R\$|kr\.?|CHF)?\s*(?P<inner>[-+]?)\s*"
    r"(?P<digits>\d[\d.,'_ ]*|[.,]\d+)(?P<power>e[-+]?\d{1,4})?\s*(?P<unit>k|m|mn|million|bn|b|billion|thousand|%)?\s*"
    r"(?:[A-Z]{3}|[$€£¥₹₽₩]|dollars?|euros?|pounds?|cents?|units?|pcs\.?|items?)?\s*(?P<after>[-)]?)\s*$".replace(
        r"|\p", ""
    ),
    re.IGNORECASE,
)
_UNITS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9}
_MINUS = str.maketrans(dict.fromkeys("−–—‒﹣－", "-"))
_GROUP = 3  # digits between separators of thousands
_EMAIL = r"[^\s,;:<>|\"'()]+@[^\s,;:<>|\"'()]+"
_MAX_READ = 20_000  # characters of a text: more than any call may address
_SEPARATOR = re.compile(r"[,;|\n\r]+|\s{2,}")


def read_numbers(text: str) -> list[float]:
    """Return what a text may mean as a number: `1.000` is one or a thousand; empty where it is none.

    Currencies, separators of thousands, brackets for a minus, powers of ten, and `k` or `million` are read.
    """
    if len(text) > 200:  # noqa: PLR2004 - characters; no number is that long
        return []
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS).strip()
    try:
        if re.fullmatch(r"[-+]?0[xbo][0-9a-f]+", plain, re.IGNORECASE):
            return [float(int(plain, 0))]
    except (ValueError, OverflowError):
        return [math.inf]
    if re.fullmatch(r"[-+]?(?:inf(?:inity)?|nan)", plain, re.IGNORECASE):
        return [math.inf]
    if not (match := _NUMBER.match(plain)):
        return []
    sign = (
        -1 if "-" in (match["sign"], match["inner"], match["after"]) or (match["open"] and match["after"] == ")") else 1
    )
    scale = sign * _UNITS.get((match["unit"] or "").lower(), 1.0)
    readings = {float(f"{digits}{match['power'] or ''}") * scale for digits in _read_digits(match["digits"])}
    return sorted(readings)


def _read_digits(digits: str) -> list[str]:
    """Return the digits with a point for the decimals, in each way in which the separators may be read."""
    digits = re.sub(r"[\s'_]", "", digits).rstrip(".,")
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return [digits]
    last = max(digits.rfind("."), digits.rfind(","))
    as_decimals = f"{re.sub(r'[.,]', '', digits[:last]) or '0'}.{digits[last + 1 :]}"
    as_thousands = re.sub(r"[.,]", "", digits)
    if marks.count(marks[-1]) > 1:
        return [as_thousands]
    if len(marks) == 1 and len(digits) - last - 1 == _GROUP and 0 < last <= _GROUP:
        return [as_decimals, as_thousands] if marks[0] == "." else [as_thousands]
    return [as_decimals]


def list_recipients(texts: Iterable[str]) -> list[str]:
    """List whom texts address, separated by commas, semicolons, bars, line breaks, or as addresses between blanks."""
    recipients = list[str]()
    for text in (whole[:_MAX_READ] for whole in texts):
        emails = [match[0] for match in compile_pattern(_EMAIL).finditer(text)]
        parts = [part.strip() for part in _SEPARATOR.split(text) if part.strip()]
        recipients += emails if len(emails) >= len(parts) else parts
    return recipients
