"""What a call sends along: attached files that the user's words do not select. Knows no policy.

To whom something goes may be what the user said, and the call can still take one more file along. So each file must be
named, be described, or be one that the agent itself made; or the user's words leave it open which ones are meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.conversation.earlier_calls import read_arguments
from langchain_sea.safety.text.name_patterns import PATH_NAME
from langchain_sea.safety.text.tool_effects import find_tool_acts, list_words
from langchain_sea.safety.text.typed_values import to_compact
from langchain_sea.safety.text.values import get_argument, get_field, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_unselected_files"]

_ATTACHED = re.compile(
    r"(^|_)(attachments?|attached|attach|enclosures?|files?|file_?paths?|file_?names?|file_?ids?|documents?|doc_?ids?|media|images?"
    r"|photos?|paths?|uploads?)(_|$)",
    re.IGNORECASE,
)
_SENDS = frozenset(
    "send email mail message reply forward post publish share upload attach submit dm tweet text notify".split()
)
_FILE = re.compile(r"[\w-]+\.[A-Za-z][A-Za-z0-9]{1,4}(?![\w/])")
_OPEN = re.compile(
    r"\b(?:all|every|everything|both|files|documents|docs|attachments|photos|images|pictures|materials?|papers|records|slides|folder"
    r"|any|relevant|them|those|these|related|whatever|necessary|needed)\b",
    re.IGNORECASE,
)
_ANY_FILE = re.compile(
    r"\b(?:attach\w*|enclos\w*|files?|documents?|doc|pdf|photos?|images?|pictures?|report|invoice|receipt|slides?|spreadsheet"
    r"|screenshot|letter|cv|resume|contract|form|upload\w*|share|forward|paper|deck|export|backup|notes?)\b",
    re.IGNORECASE,
)
_PART = re.compile(r"[^\W_]+")
_MIN_PART = 3  # characters
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COMMON = frozenset(
    "pdf doc docx txt csv xls xlsx ppt pptx png jpg jpeg html json xml zip log data file files document documents the and for from final"
    " draft copy new old version home user users case docs folder desktop downloads tmp temp src".split()
)


def find_unselected_files(
    call: ToolCall, context: CallContext, batch: Sequence[ToolCall], request: UserRequest
) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of files that a message takes along and that the user's words do not select."""
    if _SENDS.isdisjoint(list_words(call.name)) or not request.is_judged or request.mentions(_OPEN):
        return
    names_files = any(map(_FILE.search, request.texts))
    if not names_files and request.mentions(_ANY_FILE):
        return
    for path, value in list_strings(call.arguments):
        if not path or not _is_file(path, value) or _is_selected(value, request) or _is_made(value, context, batch):
            continue
        yield get_argument(path), f"{path}: it sends {value[:80]!r} along, which the user's words do not name"


def _is_file(path: str, value: str) -> bool:
    """Return whether a value of an argument for files is one of them."""
    is_named = any(_ATTACHED.search(to_snake_case(part)) for part in (get_argument(path), get_field(path)))
    return is_named and "\n" not in value and bool(_FILE.search(value) or "/" in value) and "://" not in value


def _is_selected(value: str, request: UserRequest) -> bool:
    """Return whether the words name a file, or have a word of its name that says what it is about."""
    name = value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if request.names(name) or request.names(value):
        return True
    stem = name.rpartition(".")[0] or name
    if any(map(_FILE.search, request.texts)):
        return request.names(stem)
    parts = [part for part in _PART.findall(_CAMEL.sub(" ", stem).replace("_", " ")) if len(part) >= _MIN_PART]
    return any(part.casefold() not in _COMMON and request.names(part) for part in parts)


def _is_made(value: str, context: CallContext, batch: Sequence[ToolCall]) -> bool:
    """Return whether the agent itself wrote the file, or a write of it gave back its name."""
    compact = to_compact(value)
    for message in context.messages:
        if message.role != "tool" or context.effect_of(message.tool) != "write" or not find_tool_acts(message.tool):
            continue
        pairs = list_strings(read_arguments(message.arguments))
        if any(to_compact(each) == compact for where, each in pairs if where and PATH_NAME.search(get_field(where))):
            return True
        if compact and compact in to_compact(message.text[:2_000]):
            return True
    written = [
        pair for each in batch if each.name and find_tool_acts(each.name) for pair in list_strings(each.arguments)
    ]
    return any(to_compact(each) == compact for where, each in written if where and PATH_NAME.search(get_field(where)))
