"""What a call does by its arguments: the method of a request, a mutation, a statement of SQL, the label of a button.

A tool's name does not tell what a tool for anything does: `fetch` with the method DELETE deletes, and so does a click
on "Delete account". Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.queries.query_acts import list_query_acts
from langchain_sea.safety.text.act_words import ACTS, CERTAIN, OFTEN_NOUNS
from langchain_sea.safety.text.tool_effects import find_tool_acts, guess_effect, list_words
from langchain_sea.safety.text.values import get_field, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["list_argument_acts"]

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
_FLAGGED = frozenset(["delete", "pay", "book", "send", "grant", "approve"])
_ALSO_ADJECTIVES = frozenset(
    "empty clean close reject dismiss undo stop end scrap return add let allow access say ask tell thank wire".split()
)
_FLAG_VERBS = (frozenset().union(*(ACTS[act] for act in _FLAGGED)) - OFTEN_NOUNS - _ALSO_ADJECTIVES) | frozenset(
    "book order purchase trade charge bid sign post email".split()
)
"""Verbs by which a flag is an act; those that say how something is shown, such as `clean` and `empty`, are none."""
_DESCRIBES = frozenset(
    "include including with show only has have is are no not skip exclude without return list can".split()
)
"""Words of flags that say which things are shown."""
_BEFORE_VERBS = frozenset("auto and then also do should will must really please now automatically".split())
_MAX_LABEL_WORDS = 8
_MAX_ACTION_WORDS = 3


def list_argument_acts(call: ToolCall, *, reads_only: bool = False) -> list[frozenset[str]]:
    """List the classes of each act that a call's arguments show; empty where they show none.

    Args:
        call: of a tool.
        reads_only: whether the tool itself only reads, so that a flag such as `book=True` is an act of its own.
    """
    acts: list[frozenset[str]] = list(_list_flagged(call.arguments)) if reads_only else []
    writes = guess_effect(call.name) == "write"
    operates = not _OPERATED.isdisjoint(list_words(call.name))
    for path, value in list_strings(call.arguments):
        name = to_snake_case(get_field(path))
        if _METHOD_NAME.search(name):
            acts.append(_METHODS.get(value.strip().upper(), frozenset()))
        if _QUERY_NAME.search(name):
            acts += list_query_acts(value)
        if writes and _ACTION_NAME.search(name) and len(value.split()) <= _MAX_ACTION_WORDS:
            acts.append(_find_certain(value))
        if operates and _LABEL_NAME.search(name) and len(value.split()) <= _MAX_LABEL_WORDS:
            acts.append(_find_certain(value))
    return [each for each in dict.fromkeys(acts) if each]


def _list_flagged(arguments: Mapping[str, object]) -> Iterator[frozenset[str]]:
    """Yield the acts that true flags name by a verb: `book`, `send_now`, `auto_confirm`."""
    for name, value in arguments.items():
        words = list_words(name)
        if value is not True or not _DESCRIBES.isdisjoint(words):
            continue
        verb = next((word for word in words if word not in _BEFORE_VERBS), "")
        acts = find_tool_acts(verb) & _FLAGGED if verb in _FLAG_VERBS else frozenset[str]()
        if acts:
            yield acts


def _find_certain(text: str) -> frozenset[str]:
    """Return the classes of the verbs of a label or a state that can mean nothing else: "Delete account"."""
    words = list_words(text)
    acts = frozenset(act for act, verbs in CERTAIN.items() if not verbs.isdisjoint(words))
    return acts | {_PARTICIPLES[word] for word in words if word in _PARTICIPLES}
