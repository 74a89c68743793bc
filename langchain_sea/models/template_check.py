"""Looks for a conversation in the prompt that a template made of it. Knows neither tokenizer nor template.

Two checks: `find_missing` looks for the texts themselves. A short one may be found by accident, such as a tool `add` in
a question about addition. So `mark_parts` makes a copy of the conversation in which every part is a word of its own.
If the template prints all of these words, it prints the conversation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_displaced", "find_missing", "find_unprinted", "mark_parts"]

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None

_IGNORED = re.compile(r"[\s\\\"']+")  # templates trim, and JSON escapes
_FIRST_NUMBER = 7_040_100  # stands for a number of an argument


def find_missing(rendered: str, messages: Sequence[dict[str, Any]], tools: Tools) -> list[str]:
    """Return the texts, calls and tools of a conversation that a prompt does not hold.

    Args:
        rendered: the prompt.
        messages: of the conversation.
        tools: that the model is to be shown.
    """
    found = _squash(rendered)
    wanted = [text for message in messages for text in _texts_of(message)]
    wanted += [str(tool["function"]["name"]) for tool in tools or () if "function" in tool]
    return [text for text in wanted if not any(_squash(form) in found for form in _forms_of(text))]


def mark_parts(messages: Messages, tools: Tools, *, last: bool = False) -> tuple[Messages, Tools, dict[str, str]]:
    """Return a copy of a conversation with a word of its own for each text, name and argument, and what they stand for.

    Args:
        messages: template dicts.
        tools: OpenAI's dicts, or None.
        last: whether only the last message matters.
    """
    marks: dict[str, str] = {}

    def mark(value: object) -> str:
        word = f"q{len(marks):03d}zq"
        marks[word] = str(value)
        return word

    def mark_value(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return {mark(key): mark_value(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [mark_value(entry) for entry in value]
        if isinstance(value, str):
            return mark(value) if value.strip() else value
        if isinstance(value, bool) or value is None:
            return value
        number = _FIRST_NUMBER + len(marks)
        marks[str(number)] = str(value)
        return number

    def mark_message(message: dict[str, Any]) -> dict[str, Any]:
        marked = dict(message)
        if isinstance(message.get("content"), str) and message["content"].strip():
            marked["content"] = mark(message["content"])
        if message.get("tool_calls"):
            marked["tool_calls"] = [
                call
                | {
                    "function": call["function"]
                    | {"name": mark(call["function"]["name"]), "arguments": mark_value(call["function"]["arguments"])}
                }
                for call in message["tool_calls"]
            ]
        return marked

    kept = messages[:-1] if last else []
    marked = [*kept, *map(mark_message, messages[len(kept) :])]
    shown = None if tools is None else [_mark_tool(tool, mark) for tool in tools]
    return marked, shown, marks


def _mark_tool(tool: dict[str, Any], mark: Any) -> dict[str, Any]:  # noqa: ANN401 - a function of `mark_parts`
    if "function" not in tool:
        return tool
    return tool | {"function": tool["function"] | {"name": mark(tool["function"]["name"])}}


def find_unprinted(rendered: str, marks: dict[str, str]) -> list[str]:
    """Return what the marks stand for that a prompt does not hold."""
    return [part for word, part in marks.items() if word not in rendered]


def find_displaced(rendered: str, messages: Messages, marks: dict[str, str]) -> list[str]:
    """Return the texts that a prompt has before the words of an earlier message.

    The system's words may come anywhere, and results that follow each other in any order.

    Args:
        rendered: the prompt, which holds every mark.
        messages: of `mark_parts`.
        marks: of `mark_parts`.
    """
    displaced = []
    furthest = before_results = -1  # where the latest words begin: of all messages, and of those before these results
    for message in messages:
        if message["role"] != "tool":
            before_results = furthest
        names = [call["function"]["name"] for call in message.get("tool_calls") or ()]
        content = message.get("content")
        words = [*([content] if isinstance(content, str) else []), *names[:1]]  # content in parts has no mark
        for word in words if message["role"] != "system" else []:
            if word not in marks:
                continue
            place = rendered.find(word)
            displaced += [marks[word]] if place < before_results else []
            furthest = max(furthest, place)
            before_results = before_results if message["role"] == "tool" else furthest
    return displaced


def _squash(text: str) -> str:
    return _IGNORED.sub("", text)


def _forms_of(text: str) -> Iterator[str]:
    """Yield a text as it is, and as JSON writes it."""
    yield text
    yield json.dumps(text, ensure_ascii=False)
    yield json.dumps(text)


def _texts_of(message: dict[str, Any]) -> Iterator[str]:
    """Yield what must be seen of a message; templates leave out what an assistant thought."""
    content = message.get("content")
    if isinstance(content, str):
        yield content.split("</think>")[-1] if message["role"] == "assistant" else content
    for call in message.get("tool_calls") or ():
        yield str(call["function"]["name"])
        yield from _leaves(call["function"]["arguments"])


def _leaves(value: object) -> Iterator[str]:
    """Yield the strings in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _leaves(entry)
