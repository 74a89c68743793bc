"""What a call does by its arguments: the method of a request, a mutation, a statement of SQL, the label of a button.

A tool's name does not tell what a tool for anything does: `fetch` with the method DELETE deletes, and so does a click
on "Delete account". Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.act_words import ACTS, CERTAIN
from langchain_sea.safety.text.tool_effects import find_tool_acts, guess_effect, list_words
from langchain_sea.safety.text.values import get_field, list_strings, to_snake_case

if TYPE_CHECKING:
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_argument_acts"]

_METHOD_NAME = re.compile(r"(^|_)(method|verb|http_method|request_type)$", re.IGNORECASE)
_METHODS = {
    "DELETE": frozenset({"delete"}),
    "PUT": frozenset({"update", "create"}),
    "PATCH": frozenset({"update"}),
    "POST": frozenset(ACTS) - {"delete", "grant"},
}
_QUERY_NAME = re.compile(
    r"(^|_)(query|queries|sql|statements?|graphql|gql|mutation|document|operation|command|code)$", re.IGNORECASE
)
_MUTATION = re.compile(r"(?:^|\})\s*mutation\b[^{]*\{(.{0,2000})", re.DOTALL)
_LINE_COMMENT = re.compile(r"#[^\n]*|--[^\n]*")
_COMMENT = re.compile(rf"{_LINE_COMMENT.pattern}|/\*.*?\*/", re.DOTALL)
_MUTATED = re.compile(r"(?:^|\})\s*(?:\w+\s*:\s*)?([A-Za-z_]\w*)")
_DELETES = r"(?:^|;)\s*(?:with\b[^;]{0,500}?\)\s*)?(?:delete\s+from|drop\s+\w+|truncate\b)"
_SQL = (
    (re.compile(_DELETES, re.IGNORECASE), "delete"),
    (re.compile(r"(?:^|;)\s*update\s+\S+\s+set\b", re.IGNORECASE), "update"),
    (re.compile(r"(?:^|;)\s*(?:insert|replace)\s+into\b", re.IGNORECASE), "create"),
    (re.compile(r"(?:^|;)\s*grant\s+\w+", re.IGNORECASE), "grant"),
)
_LABEL_NAME = re.compile(
    r"(^|_)(elements?|label|button|text|selector|link|aria_label|target|name|description)$", re.IGNORECASE
)
_ACTION_NAME = re.compile(r"(^|_)(actions?|operation|op|intent|event|status|state)$", re.IGNORECASE)
_PARTICIPLES = {
    **dict.fromkeys(("cancelled", "canceled", "deleted", "removed", "revoked", "destroyed"), "delete"),
    **dict.fromkeys(("paid", "refunded", "purchased"), "pay"),
    **dict.fromkeys(("granted", "promoted"), "grant"),
}
_OPERATED = frozenset(["click", "press", "tap", "submit", "activate", "select", "choose"])
_MAX_LABEL_WORDS = 8
_MAX_ACTION_WORDS = 3


def find_argument_acts(call: ToolCall) -> frozenset[str]:
    """Return the classes of acts that a call's arguments show; none where they show nothing."""
    acts: set[str] = set()
    writes = guess_effect(call.name) == "write"
    operates = not _OPERATED.isdisjoint(list_words(call.name))
    for path, value in list_strings(call.arguments):
        name = to_snake_case(get_field(path))
        if _METHOD_NAME.search(name):
            acts |= _METHODS.get(value.strip().upper(), frozenset())
        if _QUERY_NAME.search(name):
            acts |= _read_query(value)
        if writes and _ACTION_NAME.search(name) and len(value.split()) <= _MAX_ACTION_WORDS:
            acts |= _find_certain(value)
        if operates and _LABEL_NAME.search(name) and len(value.split()) <= _MAX_LABEL_WORDS:
            acts |= _find_certain(value)
    return frozenset(acts)


def _find_certain(text: str) -> set[str]:
    """Return the classes of the verbs of a label or a state that can mean nothing else: "Delete account"."""
    words = list_words(text)
    acts = {act for act, verbs in CERTAIN.items() if not verbs.isdisjoint(words)}
    return acts | {_PARTICIPLES[word] for word in words if word in _PARTICIPLES}


def _remove_comments(text: str) -> str:
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


def _read_query(text: str) -> set[str]:
    """Return the acts of a mutation of GraphQL, or of statements of SQL."""
    plain = _remove_comments(text).strip()
    if mutation := _MUTATION.search(plain):
        names = _MUTATED.findall(mutation[1])[:1]
        acts = {act for name in names for act in find_tool_acts(name)}
        return acts or {"update"}
    return {act for pattern, act in _SQL if pattern.search(plain)}
