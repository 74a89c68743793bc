"""Read one JSON or pythonic value out of a text, from a place on. Knows no tools and no markers."""

from __future__ import annotations

import ast
import json

__all__ = ["end_of_brackets", "parse_json", "parse_pythonic"]

_JSON_NAMES: dict[str, object] = {"true": True, "false": False, "null": None}


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON.")


# models write line breaks within strings; NaN and Infinity could not be sent on
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


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
        items = tree.elts if isinstance(tree, ast.List) else []
        return [_read_call(item) for item in items] if any(isinstance(item, ast.Call) for item in items) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


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
    """Return the value of a literal that JSON can hold; tuples become lists.

    Raises:
        ValueError: it is none.
    """
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in _JSON_NAMES:
            return _JSON_NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_evaluate_key(key): _evaluate(value) for key, value in zip(keys, values, strict=True)}
    raise ValueError(f"{ast.unparse(node)} is no value of JSON.")


def _evaluate_key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("a key of an object is no string.")
