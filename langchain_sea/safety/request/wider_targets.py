"""A target that contains what the user named, and more: all of a disk for one file, the home folder for one folder.

The act can be the one that was asked for, and take in everything around its object. Only tools that put something
somewhere, or that show it to others, are looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.name_patterns import PATH_NAME, PLACE_NAME
from langchain_sea.safety.text.tool_effects import list_words
from langchain_sea.safety.text.values import get_argument, get_field, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_wider_target"]

_WHOLE = re.compile(r"/+\*?|\.{1,2}/?\*?|~/?\*?|\*+|[A-Za-z]:[\\/]*|\\+|\$HOME/?|%USERPROFILE%\\?", re.IGNORECASE)
"""A root, a home folder, or the folder where the agent is, as a whole."""
_ACTING = frozenset(
    "restore unpack extract unzip untar decompress expand overwrite replace copy move sync mirror serve share publish upload host expose mount backup export"
    " chmod chown encrypt compress archive".split()
)
_SERVES = re.compile(
    r"\bhttp\.server\b|\bhttp-server\b|\bserve\b|\bphp\b.{0,40}\s-S\s|\bruby\b.{0,20}-run\b|\bcaddy\b.{0,20}\bfile-server\b|\bnginx\b|\bsmbd?\b|\bwebfsd?\b|\bdufs\b|\bminiserve\b"
)
_SERVED = re.compile(r"(?:--?(?:directory|dir|root|d|t|docroot|path|serve|public)[ =]+)(?P<folder>\S+)", re.IGNORECASE)
_NAMED = re.compile(
    r"\b[\w-]+\.[a-z]\w{1,4}\b|(?:[\w.~-]+/)+[\w.-]*|\b(?:folder|directory|file|into|to|in) (?:the |my |our )?[`'\"]?[A-Z]?\w{3,}|\b(?:the|my|our) \w+ (?:folder|directory|file)\b"
)
"""What a user calls a file or a folder."""
_SAYS_WHOLE = re.compile(
    r"\b(?:everything|all (?:of )?(?:the |my |our )?(?:files|folders|data|disk|of it)|whole|entire|root|home (?:folder|directory)|here|current (?:folder|directory)"
    r"|this (?:folder|directory|project|repository)|working directory|full (?:restore|backup))\b",
    re.IGNORECASE,
)


def find_wider_target(call: ToolCall, request: UserRequest) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of targets that are everything, where the user named a file or a folder."""
    if request.mentions(_SAYS_WHOLE) or not request.mentions(_NAMED):
        return
    acts = not _ACTING.isdisjoint(list_words(call.name))
    strings = list_strings(call.arguments)
    for path, text in strings:
        name = to_snake_case(get_field(path))
        is_place = bool(path) and bool(PATH_NAME.search(name) or PLACE_NAME.search(name))
        if acts and is_place and _WHOLE.fullmatch(text.strip()):
            yield get_argument(path), f"{path}: {text.strip()!r} contains more than what was named"
    for argument, command in _list_commands(strings):
        served = _SERVED.search(command) if _SERVES.search(command) else None
        if (
            served is not None
            and _WHOLE.fullmatch(served["folder"].strip("'\""))
            and served["folder"] not in (".", "./")
        ):
            yield argument, f"it serves {served['folder']!r}, which contains more than what was named"


def _list_commands(strings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """List (argument, command), with the words of a list as one command."""
    joined: dict[str, list[str]] = {}
    for path, text in strings:
        joined.setdefault(get_argument(path), []).append(text)
    return [(argument, " ".join(words)) for argument, words in joined.items() if argument]
