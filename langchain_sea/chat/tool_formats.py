r"""Parse the forms in which open models write tool calls.

| family | form |
|---|---|
| Hermes, Qwen | `<tool_call>{"name": …, "arguments": {…}}</tool_call>` |
| Mistral | `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`, or `[TOOL_CALLS]name{…}` |
| Granite | `<|tool_call|> [{"name": …, "arguments": {…}}]` |
| Phi | `<|tool_call|>[{"name": …, "parameters": {…}}]<|/tool_call|>` |
| Llama 3, JSON | `{"name": …, "parameters": {…}}`, several apart by `;` |
| Llama 3, pythonic | `[name(argument=value), …]` |
"""

from __future__ import annotations

import ast
import json
import re
from typing import NamedTuple

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


_HERMES = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_LISTED = re.compile(r"(?:\[TOOL_CALLS\]|<\|?tool_call\|?>)\s*(\[.*\])\s*(?:<\|/tool_call\|>)?\s*$", re.DOTALL)
_NAMED = re.compile(r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(\{.*?\})\s*(?=\[TOOL_CALLS\]|$)", re.DOTALL)
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]+)"')
_PYTHONIC = re.compile(r"^\s*\[\s*[\w.]+\(.*\)\s*\]\s*$", re.DOTALL)


def parse_calls(text: str) -> tuple[str, list[RawCall]]:
    """Return the text beside the calls, and the calls in their order."""
    if listed := _LISTED.search(text):
        return text[: listed.start()].strip(), _parse_list(listed[1])
    if named := list(_NAMED.finditer(text)):
        calls = [_to_call(each[0], {"name": each[1], "arguments": _parse_json(each[2])}) for each in named]
        return text[: named[0].start()].strip(), calls
    if "<tool_call>" in text:
        calls = [call for match in _HERMES.finditer(text) for call in _parse_tag(match[1])]
        return _HERMES.sub("", text).strip(), calls
    bare = text.strip().removeprefix("<|python_tag|>").strip()
    if _PYTHONIC.match(bare):
        return "", _parse_pythonic(bare)
    calls = _parse_bare_objects(bare)
    return ("", calls) if calls else (text, [])


def find_name(text: str) -> str | None:
    """Return the name in a call whose JSON is broken; None where none is written out."""
    name = _NAME.search(text)
    return name and name[1]


def _parse_tag(text: str) -> list[RawCall]:
    """Parse the inside of a Hermes tag: an object or, from some models, a list of objects."""
    return _parse_list(text) if text.startswith("[") else [_to_call(text, _parse_json(text))]


def _parse_list(text: str) -> list[RawCall]:
    items = _parse_json(text)
    if not isinstance(items, list):
        return [RawCall(text, None, None)]
    return [_to_call(json.dumps(item, ensure_ascii=False), item) for item in items]


def _parse_bare_objects(text: str) -> list[RawCall]:
    """Parse JSON objects separated by semicolons; none is a call unless all are."""
    if not text.startswith("{"):
        return []
    decoder, start, calls = json.JSONDecoder(), 0, list[RawCall]()
    while start < len(text):
        try:
            item, end = decoder.raw_decode(text, start)
        except ValueError:
            return []
        calls.append(_to_call(text[start:end], item))
        start = len(text) - len(text[end:].lstrip(" \n\t;"))
    return calls if all(call.name is not None for call in calls) else []


def _to_call(text: str, item: object) -> RawCall:
    if not isinstance(item, dict):
        return RawCall(text, None, None)
    function = item.get("function")
    fields = function if isinstance(function, dict) else item
    name = fields.get("name")
    arguments = fields.get("arguments", fields.get("parameters", {}))
    if isinstance(arguments, str):  # some models write a string that holds JSON
        arguments = _parse_json(arguments)
    return RawCall(text, name if isinstance(name, str) else None, arguments)


def _parse_pythonic(text: str) -> list[RawCall]:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [RawCall(text, None, None)]
    items = tree.elts if isinstance(tree, ast.List) else []
    return [_python_call(item) for item in items]


def _python_call(item: ast.expr) -> RawCall:
    text = ast.unparse(item)
    if not isinstance(item, ast.Call) or item.args or any(keyword.arg is None for keyword in item.keywords):
        return RawCall(text, None, None)
    name = ast.unparse(item.func)
    try:
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in item.keywords}
    except ValueError:
        return RawCall(text, name, None)
    return RawCall(text, name, arguments)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
