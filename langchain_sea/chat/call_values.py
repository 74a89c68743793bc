"""Read one JSON or pythonic value out of a text, from a place on. Knows no tools and no markers."""

from __future__ import annotations

import ast
import json

__all__ = ["end_of_brackets", "parse_json", "parse_pythonic"]

_JSON_NAMES: dict[str, object] = {"true": True, "false": False, "null": None}
_DECODER = json.JSONDecoder(strict=False)  # models write line breaks within strings


def parse_json(text: str, start: int) -> tuple[object, int] | None:
    """Return the value that begins at `start`, and where it ends; None where there is no whole one."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def end_of_brackets(text: str, start: int) -> int | None:
    """Return where the brackets that open at `start` are closed; brackets in strings do not count. None: nowhere."""
    depth, quote, position = 0, "", start
    while position < len(text):
        letter = text[position]
        if quote:
            position += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return None


def parse_pythonic(text: str) -> list[tuple[str, str | None, object]] | None:
    """Return the text, name and arguments of each call in a list like `[name(argument=value), …]`.

    None where the text is no list with a call. The words `true`, `false` and `null` are those of JSON.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    items = tree.elts if isinstance(tree, ast.List) else []
    return [_read_call(item) for item in items] if any(isinstance(item, ast.Call) for item in items) else None


def _read_call(item: ast.expr) -> tuple[str, str | None, object]:
    text = ast.unparse(item)
    if not isinstance(item, ast.Call):
        return text, None, None
    name = ast.unparse(item.func)
    if item.args or any(keyword.arg is None for keyword in item.keywords):
        return text, name, None
    try:
        return text, name, {str(keyword.arg): _evaluate(keyword.value) for keyword in item.keywords}
    except ValueError:
        return text, name, None


def _evaluate(node: ast.expr) -> object:
    """Return the value of a literal.

    Raises:
        ValueError: it is none.
    """
    if isinstance(node, ast.Name) and node.id in _JSON_NAMES:
        return _JSON_NAMES[node.id]
    if isinstance(node, ast.List):
        return [_evaluate(item) for item in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_evaluate(key): _evaluate(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)
