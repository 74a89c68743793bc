"""The classes of acts of a query: mutations of GraphQL, statements of SQL, updates of SPARQL.

All operations of a document count: the caller chooses by name which of them runs. Knows no conversation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.patterns import find_matching
from langchain_sea.safety.text.tool_effects import find_tool_acts

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["list_query_acts", "remove_comments"]

_MUTATION = re.compile(r"(?:^|\})\s*mutation\b[^{]*\{")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}()]|(?:@|\.\.\.\s*(?:on\s+)?)?[A-Za-z_]\w*(?:\s*:)?')
_MAX_TOKENS = 2_000  # of one operation
_LINE_COMMENT = re.compile(r"#[^\n]*|--[^\n]*")
_COMMENT = re.compile(rf"{_LINE_COMMENT.pattern}|/\*.*?\*/", re.DOTALL)
_DELETES = r"(?:^|;)\s*(?:with\b[^;]{0,500}?\)\s*)?(?:delete\s+from|drop\s+\w+|truncate\b)"
_PROLOGUE = r"(?:^|;)\s*(?:(?:base|prefix)\b[^<;]*<[^>;]*>\s*)*"
_GRAPH = r"(?:silent\s+)?(?:(?:graph\s*)?<|graph\b|default\b|named\b|all\b|[\pL\pN_-]*:)"
_STATEMENTS = (
    (_DELETES, "delete"),
    (r"(?:^|;)\s*update\s+\S+\s+set\b", "update"),
    (r"(?:^|;)\s*(?:insert|replace)\s+into\b", "create"),
    (r"(?:^|;)\s*grant\s+\w+", "grant"),
    # SPARQL: COPY and MOVE replace the graph that they go to, and MOVE empties the one that it comes from
    (rf"{_PROLOGUE}(?:copy|move|clear|drop)\s+{_GRAPH}", "delete"),
    (rf"{_PROLOGUE}(?:with\s*<[^>]*>\s*)?delete\s*(?:data\s*|where\s*)?\{{", "delete"),
    (rf"{_PROLOGUE}(?:add|load|create)\s+{_GRAPH}", "create"),
    (rf"{_PROLOGUE}(?:with\s*<[^>]*>\s*)?insert\s*(?:data\s*)?\{{", "create"),
    (r"\}\s*insert\s*\{", "create"),
)
"""Patterns of statements, which RE2 searches in a time that grows with the text, and the class of act of each."""


def list_query_acts(text: str) -> list[frozenset[str]]:
    """List the classes of acts of each operation of a query that changes something."""
    plain = remove_comments(text).strip()
    fields = [field for start in _MUTATION.finditer(plain) for field in _list_fields(plain, start.end())]
    if fields:
        return [find_tool_acts(field) or frozenset({"update"}) for field in fields]
    if _MUTATION.search(plain):
        return [frozenset({"update"})]
    patterns, acts = zip(*_STATEMENTS, strict=True)
    return [frozenset({acts[number]}) for number in find_matching(plain, patterns)]


def _list_fields(text: str, start: int) -> Iterator[str]:
    """Yield the fields of an operation whose opening brace ends at a place; each of them is an act."""
    depth, nested = 1, 0
    for number, match in enumerate(_TOKEN.finditer(text, start)):
        token = match[0]
        if token in "{}":
            depth += 1 if token == "{" else -1
        elif token in "()":
            nested += 1 if token == "(" else -1
        elif depth == 1 and not nested and token[0].isidentifier() and not token.endswith(":"):
            yield token
        if not depth or number > _MAX_TOKENS:
            return


def remove_comments(text: str) -> str:
    """Return a query without its comments, in a time that grows with its length."""
    # looking for the end of a comment behind the last end would read the rest of the text for each beginning
    end = text.rfind("*/") + 2 if "*/" in text else 0
    spans = [comment.span() for comment in _COMMENT.finditer(text, 0, end)]
    if spans and spans[-1][1] == end and not text.startswith("/*", spans[-1][0]):  # the last end is in a line's comment
        end = text.find("\n", end) if "\n" in text[end:] else len(text)
        spans[-1] = (spans[-1][0], end)
    starts, ends = [0, *(stop for _, stop in spans)], [*(start for start, _ in spans), end]
    kept = [text[start:stop] for start, stop in zip(starts, ends, strict=True)]
    return " ".join(kept) + _LINE_COMMENT.sub(" ", text[end:])
