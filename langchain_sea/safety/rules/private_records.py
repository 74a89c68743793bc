"""Data of a person that a search or a request carries out of the machine: a name and a birthday in a query to the web.

A tool that reads the web only reads here, and writes there: whoever answers sees the question. So what a record about a
person has, and nobody who is trusted named, is a doubt in such a call.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.conversation.results import parse_result
from langchain_sea.safety.text.patterns import Danger
from langchain_sea.safety.text.tool_effects import is_open_source
from langchain_sea.safety.text.typed_values import index_text, to_compact
from langchain_sea.safety.text.values import get_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.text.argument_kinds import Kind

__all__ = ["judge_private_data"]

_PERSONAL = re.compile(
    r"(^|_)(born|birth\w*|dob|diagnos\w+|medications?|allerg\w+|blood\w*|ssn|social_security\w*|passport\w*|salary|wage|tax_id|national_id|insurance_(?:id|no|number)"
    r"|patient\w*|health\w*|religion|disability|marital\w*)(_|$)",
    re.IGNORECASE,
)
"""Fields that make a record one about a person."""
_IDENTIFIES = re.compile(
    r"(^|_)(name|surname|born|birth\w*|dob|ssn|passport\w*|e?mail|phone|mobile|street|home_address|iban|tax_id|national_id)(_|$)",
    re.IGNORECASE,
)
_OUTSIDE = re.compile(r"\b(?:public|web|internet|online|third[- ]part(?:y|ies)|external)\b", re.IGNORECASE)
_MIN_VALUE = 4  # letters and digits
_MAX_TEXT = 4_000  # characters of an argument
_MIN_CARRIED = 2  # values that name nobody


def judge_private_data(
    tool: str, texts: Sequence[tuple[str, Kind, str]], context: CallContext, *, reads_only: bool
) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of a reading call that carries data of a person to others.

    Args:
        tool: its name.
        texts: path, kind and text of each string in the arguments.
        context: of the call.
        reads_only: whether the tool changes nothing; what is sent by others is judged by its receiver.
    """
    if not reads_only or not (is_open_source(tool) or _OUTSIDE.search(context.descriptions.get(tool, ""))):
        return
    records = [_read_private(m.text) for m in context.messages if m.role == "tool" and not is_open_source(m.tool)]
    for where, _, text in texts if any(records) else ():
        index = index_text(text[:_MAX_TEXT])
        pairs = {pair for record in records for pair in record if index.has_value(pair[1])}
        carried = {key: value for key, value in pairs if not any(each.has_value(value) for each in context.trusted)}
        if any(map(_IDENTIFIES.search, carried)) or len(carried) >= _MIN_CARRIED:
            named = ", ".join(sorted(carried)[:3])
            yield get_argument(where), Danger(f"it tells others data of a person ({named}), and nobody asked for that")


@lru_cache(maxsize=256)
def _read_private(result: str) -> frozenset[tuple[str, str]]:
    """Return (key, value) of all fields in records about a person."""
    pairs: set[tuple[str, str]] = set()
    stack = [parse_result(result)]
    while stack:
        node = stack.pop()
        if isinstance(node, (list, tuple)):
            stack += node
        elif isinstance(node, dict):
            stack += node.values()
            if any(_PERSONAL.search(str(key)) for key in node):
                scalars = [(str(key), str(each)) for key, each in node.items() if isinstance(each, (str, int, float))]
                pairs |= {pair for pair in scalars if len(to_compact(pair[1])) >= _MIN_VALUE}
    return frozenset(pairs)
