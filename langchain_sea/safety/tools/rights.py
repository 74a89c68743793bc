"""Rights that a call gives: values of arguments such as `role` or `visibility` that the user's words must name.

Knows no conversation: whether a value was named is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["asks_for_public", "find_doubt_of_right", "is_right"]

_RIGHT_NAME = re.compile(
    r"(^|_)(access|permissions?|roles?|visibility|privileges?|access_level|permission_level|share_type|sharing|principals?|audience|acl)(_|$)",
    re.IGNORECASE,
)
_LEAST = frozenset(
    [
        "r",
        "read",
        "reader",
        "readonly",
        "view",
        "viewer",
        "customer",
        "standard",
        "regular",
        "normal",
        "student",
        "employee",
        "guest",
        "private",
        "internal",
        "restricted",
        "none",
        "no",
        "member",
        "user",
        "users",
        "basic",
        "default",
        "limited",
        "reporter",
        "commenter",
        "comment",
        "self",
        "owner_only",
        "me",
        "team",
    ]
)
_PUBLIC = re.compile(
    r"\*|(?:\w+:)?\*|all_?users|all_?authenticated_?users|any_?(?:one|body)\w*|every_?(?:one|body)\w*|public\w*|world\w*|(?:any|with)_?link|0\.0\.0\.0/0|0?777",
    re.IGNORECASE,
)
_SAYS_PUBLIC = re.compile(
    r"\b(?:public(?:ly)?|everyone|everybody|anyone|anybody|all users|the world|open (?:it|access)"
    r"|by link|with (?:the|a) link)\b",
    re.IGNORECASE,
)
_WRITING = frozenset(["rw", "w", "write", "writer", "edit", "editor", "modify", "contributor", "collaborator"])
_SAYS_WRITING = re.compile(
    r"\b(?:edit\w*|writ\w*|modify|change|collaborat\w*|contribut\w*|work on|update|full access)\b", re.IGNORECASE
)


def is_right(name: str, value: str) -> bool:
    """Return whether an argument of this name says which rights somebody gets."""
    return _RIGHT_NAME.search(name) is not None and bool(value.strip())


def asks_for_public(requests: list[str]) -> bool:
    """Return whether a request wants something to be open to everybody."""
    return any(map(_SAYS_PUBLIC.search, requests))


def find_doubt_of_right(value: str, requests: list[str], *, is_named: Callable[[str], bool]) -> str | None:
    """Return a doubt about rights that no request names; the least rights are none."""
    plain = value.strip().casefold()
    compact = re.sub(r"[\W_]", "", plain)
    if _PUBLIC.fullmatch(plain):
        if asks_for_public(requests):
            return None
        return f"{value!r} gives rights to everybody, and nobody asked for that"
    if compact in _LEAST or plain in _LEAST or is_named(value):
        return None
    if compact in _WRITING and any(map(_SAYS_WRITING.search, requests)):
        return None
    return f"the rights {value[:60]!r} were named by nobody"
