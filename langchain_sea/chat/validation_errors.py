"""Pydantic's errors about settings, in fewer words: no links, no dump of all settings, and a near name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from langchain_sea.core.suggestions import suggest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["simplify", "summarize"]

_PREFIX = "Value error, "
_SIMPLE = (str, bool, int, float, type(None))


def simplify(error: ValidationError) -> ValidationError:
    """Return the error with the option, what is wrong with it, and the nearest value that would be right."""
    details = [
        InitErrorDetails(type=PydanticCustomError(line["type"], _describe(line)), loc=line["loc"], input=line["input"])
        for line in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details, hide_input=True)


def summarize(error: ValidationError) -> str:
    """Return all that is wrong in one line."""
    lines = simplify(error).errors(include_url=False)
    return "; ".join(": ".join([*map(str, line["loc"]), line["msg"]]) for line in lines)


def _describe(line: ErrorDetails) -> str:
    message, value = line["msg"].removeprefix(_PREFIX), line["input"]
    is_own = not line["loc"] or line["type"] == "value_error"
    if is_own or not isinstance(value, _SIMPLE):  # a message of our own has the value, and another value may be long
        return message
    expected = re.findall(r"'([^']+)'", str(line.get("ctx", {}).get("expected", "")))
    hint = suggest(value, expected) if isinstance(value, str) else ""
    return f"{message}, and is {value!r:.80}{f'; {hint}' if hint else ''}"
