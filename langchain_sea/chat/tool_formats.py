r"""How open models write tool calls, each form read alike: text → words, and (raw, name, arguments).

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
from typing import Any

__all__ = ["Found", "read_calls"]

Found = tuple[str, str | None, Any]
"""As it was written, the name or None where nothing can be read, the arguments."""

_HERMES = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_LISTED = re.compile(
    r"(?:\[TOOL_CALLS\]|<\|?tool_call\|?>)\s*(\[.*\])\s*(?:<\|/tool_call\|>)?\s*$", re.DOTALL
)
_NAMED = re.compile(
    r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(\{.*?\})\s*(?=\[TOOL_CALLS\]|$)", re.DOTALL
)
_PYTHONIC = re.compile(r"^\s*\[\s*[\w.]+\(.*\)\s*\]\s*$", re.DOTALL)


def read_calls(text: str) -> tuple[str, list[Found]]:
    """The words beside the calls, and the calls in their order."""
    if listed := _LISTED.search(text):
        return text[: listed.start()].strip(), _list(listed[1])
    if named := list(_NAMED.finditer(text)):
        return text[: named[0].start()].strip(), [
            _call(n[0], {"name": n[1], "arguments": _json(n[2])}) for n in named
        ]
    if "<tool_call>" in text:
        found = [call for match in _HERMES.finditer(text) for call in _body(match[1])]
        return _HERMES.sub("", text).strip(), found
    bare = text.strip().removeprefix("<|python_tag|>").strip()
    if _PYTHONIC.match(bare):
        return "", _pythonic(bare)
    calls = _bare(bare)
    return ("", calls) if calls else (text, [])


def _body(raw: str) -> list[Found]:
    """Of one Hermes tag: an object, or, as some write, a list of them."""
    return _list(raw) if raw.startswith("[") else [_call(raw, _json(raw))]


def _list(raw: str) -> list[Found]:
    found = _json(raw)
    if not isinstance(found, list):
        return [(raw, None, None)]
    return [_call(json.dumps(item, ensure_ascii=False), item) for item in found]


def _bare(text: str) -> list[Found]:
    """JSON objects alone, apart by semicolons; no calls if any of them is something else."""
    if not text.startswith("{"):
        return []
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text):
        try:
            item, end = decoder.raw_decode(text, at)
        except ValueError:
            return []
        found.append(_call(text[at:end], item))
        at = len(text) - len(text[end:].lstrip(" \n\t;"))
    return found if all(name is not None for _, name, _ in found) else []


def _call(raw: str, item: Any) -> Found:  # noqa: ANN401 - parsed JSON
    if not isinstance(item, dict):
        return raw, None, None
    function = item.get("function")
    inner: dict[str, Any] = function if isinstance(function, dict) else item
    name = inner.get("name")
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, str):  # some write them as a string of JSON
        arguments = _json(arguments)
    return raw, name if isinstance(name, str) else None, arguments


def _pythonic(text: str) -> list[Found]:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [(text, None, None)]
    items = tree.elts if isinstance(tree, ast.List) else []
    return [_python_call(item) for item in items]


def _python_call(item: ast.expr) -> Found:
    raw = ast.unparse(item)
    if not isinstance(item, ast.Call) or item.args or any(k.arg is None for k in item.keywords):
        return raw, None, None
    try:
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in item.keywords}
    except ValueError:
        return raw, ast.unparse(item.func), None
    return raw, ast.unparse(item.func), arguments


def _json(text: str) -> Any:  # noqa: ANN401 - parsed JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
