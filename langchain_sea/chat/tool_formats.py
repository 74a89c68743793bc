r"""Parse the forms in which open models write tool calls.

| family | form |
|---|---|
| Hermes, Qwen | `<tool_call>{"name": …, "arguments": {…}}</tool_call>` |
| Mistral | `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`, or `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}` |
| Granite, Phi | `<|tool_call|> [{"name": …, "arguments": {…}}]`, with and without `<|/tool_call|>` |
| Phi-4 | `functools[{"name": …, "arguments": {…}}]` |
| Llama 3 | `<|python_tag|>{"name": …, "parameters": {…}}`, several apart by `;`, or `[name(argument=value), …]` |
| Llama 4 | the same within `<|python_start|>` and `<|python_end|>` |
| DeepSeek | `<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`, or with `function` and a fence |
| Command-R | `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`, or `Action:` and a fence |
| gpt-oss | `<|channel|>commentary to=functions.name … <|message|>{…}<|call|>` |
| xLAM, Hammer | a list of objects, or of pythonic calls, without a marker |

One scanner reads all of them. At a marker it reads whole values, whatever their strings hold; what follows is text. A
marker without a value behind it is text, too. Without a marker, a text is calls only if it names tools that the model
was shown, and nothing else.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.chat.call_values import end_of_brackets, parse_json, parse_pythonic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["RawCall", "find_name", "parse_calls"]


class RawCall(NamedTuple):
    """A tool call as it was written; name and arguments are not checked against any tool.

    Attributes:
        text: the part of the answer.
        name: None where the text is no tool call.
        arguments: any JSON value; None where it cannot be parsed.
    """

    text: str
    name: str | None
    arguments: object


class _Reading(NamedTuple):
    """Calls, and where the text behind them begins."""

    calls: list[RawCall]
    end: int


_NAME = re.compile(r'"(?:tool_)?name"\s*:\s*"([^"\\]+)"')
_BETWEEN = " \t\r\n;,"  # values that follow each other
_FIELDS = {"name", "tool_name", "arguments", "parameters", "id", "type", "tool_call_id"}  # of a call
_NAMED = re.compile(r"\s*(?P<name>[\w.-]+)(?:\[CALL_ID\]\w*)?\s*(?:\[ARGS\])?\s*(?=\{)")
_DEEPSEEK = re.compile(r"(?:function<｜tool▁sep｜>)?(?P<name>[\w.-]+)(?:<｜tool▁sep｜>)?\s*(?:```json\s*)?(?=\{)")
_HARMONY = re.compile(r"(?P<name>[\w.-]+)[^{]*?<\|message\|>\s*(?=\{)")
_FENCE = re.compile(r"\s*(?:```(?:json|tool_call|tool_code)?\s*)?(?=[\[{])")


def parse_calls(text: str, names: Collection[str] = ()) -> tuple[str, list[RawCall]]:
    """Return the text beside the calls, and the calls in their order.

    Args:
        text: an answer.
        names: of the tools that the model was shown. Without a marker, or behind one that is a word, only they are
            called.
    """
    words, calls, position = list[str](), list[RawCall](), 0
    while marker := _MARKERS.search(text, position):
        family = _FAMILIES[marker[0]]
        reading = family.read(text, marker.end())
        if reading is None or (family.is_word and not _names_all(reading, names)):
            words.append(text[position : marker.end()])
            position = marker.end()
            continue
        words.append(text[position : marker.start()])
        calls += reading.calls
        position = _skip(text, reading.end, family.closings)
    if calls:
        return "".join([*words, text[position:]]).strip(), calls
    bare = _read_bare(text, names)
    return ("", bare) if bare else (text, [])


def find_name(text: str) -> str | None:
    """Return the name in a call whose JSON is broken; None where none is written out."""
    name = _NAME.search(text)
    return name and name[1]


def _read_values(text: str, start: int) -> _Reading | None:
    """Read JSON values or pythonic lists, one behind the other; None where there is none."""
    calls, position = list[RawCall](), start
    while opening := _FENCE.match(text, position):
        reading = _read_value(text, opening.end(), is_first=not calls)
        if reading is None:
            break
        calls += reading.calls
        position = len(text) - len(text[reading.end :].lstrip(_BETWEEN))
    return _Reading(calls, position) if calls else None


def _read_value(text: str, start: int, *, is_first: bool) -> _Reading | None:
    """Read one value; one that is broken is a call if it names something, or was cut off."""
    parsed = parse_json(text, start)
    if parsed is not None:
        value, end = parsed
        items = value if isinstance(value, list) else [value]
        return _Reading([_to_call(text[start:end] if items is not value else _dump(item), item) for item in items], end)
    closed = end_of_brackets(text, start)
    if closed is not None and text[start] == "[":
        pythonic = parse_pythonic(text[start:closed])
        if pythonic is not None:
            return _Reading([RawCall(*each) for each in pythonic], closed)
    broken = text[start:closed]
    if is_first and (closed is None or find_name(broken) is not None):
        return _Reading([RawCall(broken, None, None)], len(text) if closed is None else closed)
    return None


def _read_named(form: re.Pattern[str]) -> Callable[[str, int], _Reading | None]:
    """Return a reader of a name and then of its arguments."""

    def read(text: str, start: int) -> _Reading | None:
        name = form.match(text, start)
        if name is None:
            return None
        parsed = parse_json(text, name.end())
        arguments, end = parsed or (None, end_of_brackets(text, name.end()) or len(text))
        return _Reading([RawCall(text[start:end].strip(), name["name"], arguments)], end)

    return read


def _read_mistral(text: str, start: int) -> _Reading | None:
    return _read_named(_NAMED)(text, start) or _read_values(text, start)


def _read_functools(text: str, start: int) -> _Reading | None:
    return _read_values(text, start - 1)  # the marker ends with the list's bracket


def _read_bare(text: str, names: Collection[str]) -> list[RawCall]:
    """Read a text that is nothing but calls of these tools."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.removesuffix("```").rstrip()
    reading = _read_values(bare, 0)
    if reading is None or reading.end < len(bare):
        return []
    return reading.calls if all(call.name in names for call in reading.calls) else []


def _names_all(reading: _Reading, names: Collection[str]) -> bool:
    """Whether each call names one of these tools; one that is broken may, too."""
    return all((call.name or find_name(call.text)) in names for call in reading.calls)


def _to_call(text: str, item: object) -> RawCall:
    if not isinstance(item, dict):
        return RawCall(text, None, None)
    function = item.get("function")
    fields = function if isinstance(function, dict) else item
    name = fields.get("name", fields.get("tool_name"))
    arguments = fields.get("arguments", fields.get("parameters"))
    if not isinstance(name, str) or (arguments is None and fields.keys() - _FIELDS):  # data with a name is no call
        return RawCall(text, None, None)
    if isinstance(arguments, str) and arguments.strip():  # some models write a string that holds JSON
        parsed = parse_json(arguments, 0)
        arguments = None if parsed is None else parsed[0]
    elif arguments is None or arguments == "":
        arguments = {}
    return RawCall(text, name, arguments)


def _dump(item: object) -> str:
    return json.dumps(item, ensure_ascii=False)


def _skip(text: str, position: int, closings: tuple[str, ...]) -> int:
    """Return where the text goes on behind the markers that close a call."""
    while True:
        rest = text[position:].lstrip()
        if rest and any(each.startswith(rest) for each in closings):  # its end may be cut off
            return len(text)
        closing = next((each for each in closings if rest.startswith(each)), None)
        if closing is None:
            return position
        position = len(text) - len(rest) + len(closing)


class _Family(NamedTuple):
    """How the calls behind a marker are read, what closes them, and whether the marker is an ordinary word."""

    read: Callable[[str, int], _Reading | None]
    closings: tuple[str, ...] = ()
    is_word: bool = False


_SEVERAL_DEEPSEEK = ("```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")
_FAMILIES: dict[str, _Family] = {
    "<tool_call>": _Family(_read_values, ("```", "</tool_call>")),
    "<|tool_call|>": _Family(_read_values, ("```", "<|/tool_call|>")),
    "[TOOL_CALLS]": _Family(_read_mistral),
    "functools[": _Family(_read_functools, is_word=True),
    "<|python_tag|>": _Family(_read_values, ("<|eom_id|>",)),
    "<|python_start|>": _Family(_read_values, ("<|python_end|>",)),
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>": _Family(_read_named(_DEEPSEEK), _SEVERAL_DEEPSEEK),
    "<｜tool▁call▁begin｜>": _Family(_read_named(_DEEPSEEK), _SEVERAL_DEEPSEEK),
    "<|START_ACTION|>": _Family(_read_values, ("<|END_ACTION|>",)),
    "Action:": _Family(_read_values, ("```",), is_word=True),
    "<|channel|>commentary to=functions.": _Family(_read_named(_HARMONY), ("<|call|>",)),
    "<|start|>assistant to=functions.": _Family(_read_named(_HARMONY), ("<|call|>",)),
}
_MARKERS = re.compile("|".join(re.escape(marker) for marker in sorted(_FAMILIES, key=len, reverse=True)))
