"""Columns that a query sets beside those that were asked for: a credit limit with a telephone number.

The statement and the row can both be what the user wanted. So each column that is set must be one that a trusted text
is about, or get a value that one names, where a stranger's text names the column or its value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.queries.sql import parse_sql
from langchain_sea.safety.text.typed_values import index_text, to_compact
from langchain_sea.safety.text.values import get_argument, list_strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_unasked_columns"]

_UPDATE = re.compile(r"\bupdate\s+\S+.{0,200}?\bset\b|\bdo\s+update\s+set\b", re.IGNORECASE | re.DOTALL)
_MAX_SQL = 4_000  # characters that are parsed
_MIN_WORD = 3  # letters of a word of a column's name


def find_unasked_columns(call: ToolCall, context: CallContext, request: UserRequest) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of columns that an update sets, and that only running text speaks of."""
    if not context.is_tainted or not request.is_judged:
        return
    for path, text in list_strings(call.arguments):
        if not path or len(text) > _MAX_SQL or not _UPDATE.search(text):
            continue
        for column, value in _list_assignments(text):
            if _is_said(column, request) or (value and request.names(value)):
                continue
            forms = [each for each in (column, value) if len(to_compact(each)) >= _MIN_WORD]
            source = next((e for e in context.untrusted if any(map(index_text(e.text).has_value, forms))), None)
            if source is not None:
                yield get_argument(path), f"{path}: it sets {column!r}, which was named only by {source.origin}"


def _list_assignments(text: str) -> Iterator[tuple[str, str]]:
    """Yield (column, value) of each assignment of updates; the value is empty where it is computed."""
    for statement in parse_sql(text) or ():
        for node in statement.walk():
            if type(node).__name__ not in ("Update", "OnConflict"):
                continue
            for each in node.expressions:
                if type(each).__name__ == "EQ":
                    value = each.expression
                    yield str(each.this.name), str(value.this) if type(value).__name__ == "Literal" else ""


def _is_said(column: str, request: UserRequest) -> bool:
    """Return whether the words speak of a column: they have one of the words of its name."""
    words = [word for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", column) if len(word) >= _MIN_WORD]
    return any(request.mentions(re.compile(rf"\b{re.escape(word.rstrip('s'))}", re.IGNORECASE)) for word in words)
