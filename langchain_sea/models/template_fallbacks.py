"""Ways to write a conversation that a chat template prints whole. Knows neither tokenizer nor template.

Templates differ in what they print: many know no tools, some print the first of two calls, take ids of nine characters
only, join arguments as text, or read content as a list of parts. What a template leaves out is found by looking for it
in what was printed (`find_missing`); then the conversation is written otherwise, at last in words.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CLOSING", "OPENING", "append_system", "content_as_parts", "find_missing", "merge_turns", "ways_to_write"]

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None

OPENING, CLOSING = "<tool_call>\n", "\n</tool_call>"
_INSTRUCTIONS = (
    "You may call functions to help with the user's query. Their signatures:\n<tools>\n{tools}\n</tools>\n"
    "For each call write a JSON object with its name and its arguments within <tool_call></tool_call>:\n"
    '<tool_call>\n{{"name": <function name>, "arguments": <arguments as JSON>}}\n</tool_call>'
)
_ID_LENGTH = 9  # of Mistral's templates
_IGNORED = re.compile(r"[\s\\\"']+")  # templates trim, and JSON escapes


def ways_to_write(messages: Messages, tools: Tools) -> Iterator[tuple[Messages, Tools]]:
    """Yield the conversation in every way, the plainest first.

    Args:
        messages: template dicts, oldest first.
        tools: OpenAI's dicts, or None.
    """
    yield messages, tools
    if any(message.get("tool_calls") or message["role"] == "tool" for message in messages):
        short = _shorten_ids(messages)
        yield short, tools
        yield _join_arguments(messages), tools
        yield _call_one_by_one(short), tools
        yield merge_turns([_call_as_text(message) for message in messages]), tools
    if tools:
        yield merge_turns([_call_as_text(message) for message in _tools_as_text(messages, tools)]), None


def content_as_parts(messages: Messages) -> Messages:
    """Return the messages with each text as a list of one part."""
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def merge_turns(messages: Messages) -> Messages:
    """Join messages of one speaker that follow each other by an empty line, because many templates reject them."""
    merged: Messages = []
    for message in messages:
        last = merged[-1] if merged else {}
        is_plain = message.keys() == last.keys() == {"role", "content"}
        if is_plain and message["role"] == last["role"]:
            texts = [text for text in (last["content"], message["content"]) if text]
            merged[-1] = {**last, "content": "\n\n".join(texts)}
        else:
            merged.append(message)
    return merged


def append_system(messages: Messages, text: str) -> Messages:
    """Return the messages with a text at the end of the system message, which is added if there is none."""
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def find_missing(rendered: str, messages: Sequence[dict[str, Any]], tools: Tools) -> list[str]:
    """Return the texts, calls and tools of a conversation that a prompt does not hold.

    Args:
        rendered: the prompt.
        messages: of the conversation.
        tools: that the model is to be shown.
    """
    printed = _squash(rendered)
    wanted = [text for message in messages for text in _texts_of(message)]
    wanted += [str(tool["function"]["name"]) for tool in tools or () if "function" in tool]
    return [text for text in wanted if not any(_squash(form) in printed for form in _forms_of(text))]


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
    if isinstance(content, str) and not message.get("tool_calls"):
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


def _shorten_ids(messages: Messages) -> Messages:
    """Return the messages with ids of nine letters and digits, equal in calls and results."""
    known: dict[str, str] = {}

    def shorten(long: object) -> str:
        return known.setdefault(str(long), f"call{len(known):05d}"[:_ID_LENGTH])

    changed = []
    for message in messages:
        if message.get("tool_calls"):
            calls = [call | {"id": shorten(call.get("id"))} for call in message["tool_calls"]]
            changed.append(message | {"tool_calls": calls})
        elif "tool_call_id" in message:
            changed.append(message | {"tool_call_id": shorten(message["tool_call_id"])})
        else:
            changed.append(message)
    return changed


def _join_arguments(messages: Messages) -> Messages:
    """Return the messages with arguments as JSON text."""
    return [
        message | {"tool_calls": [_with_text_arguments(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _with_text_arguments(call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return call | {"function": call["function"] | {"arguments": arguments}}


def _call_one_by_one(messages: Messages) -> Messages:
    """Return parallel calls as calls one after another, each before its own result."""
    results = {message.get("tool_call_id"): message for message in messages if message["role"] == "tool"}
    changed: Messages = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        for number, call in enumerate(calls):
            content = message["content"] if number == 0 else ""
            changed.append(message | {"content": content, "tool_calls": [call]})
            if (result := results.pop(call.get("id"), None)) is not None:
                changed.append(result)
        if not calls and (message["role"] != "tool" or message.get("tool_call_id") in results):
            changed.append(message)
    return changed


def _tools_as_text(messages: Messages, tools: Sequence[dict[str, Any]]) -> Messages:
    """Return the messages with the tools in the system message."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return append_system(messages, _INSTRUCTIONS.format(tools=listed))


def _call_as_text(message: dict[str, Any]) -> dict[str, Any]:
    """Return a call as an assistant's words, and a result as a user's."""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    rendered = [f"{OPENING}{json.dumps(call['function'], ensure_ascii=False)}{CLOSING}" for call in calls]
    text = "\n".join([*([message["content"]] if message["content"] else []), *rendered])
    return {"role": message["role"], "content": text}
