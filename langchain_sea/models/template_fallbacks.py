"""Ways to write a conversation that a chat template prints whole. Knows neither tokenizer nor template.

Templates differ in what they print: many know no tools, some print the first of two calls, take ids of nine characters
only, join arguments as text, or read content as a list of parts. What a template leaves out is found by looking for it
in what was printed (`template_check`); then the conversation is written otherwise, at last in words.
"""

from __future__ import annotations

import json
import re
from time import strftime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CLOSING", "OPENING", "append_system", "content_as_parts", "merge_turns", "name_tools", "ways_to_write"]

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None

OPENING, CLOSING = "<tool_call>\n", "\n</tool_call>"
_INSTRUCTIONS = (
    "You may call functions to help with the user's query. Their signatures:\n<tools>\n{tools}\n</tools>\n"
    "For each call write a JSON object with its name and its arguments within <tool_call></tool_call>:\n"
    '<tool_call>\n{{"name": <function name>, "arguments": <arguments as JSON>}}\n</tool_call>'
)
_ID_LENGTH = 9  # of Mistral's templates


def ways_to_write(messages: Messages, tools: Tools) -> Iterator[tuple[Messages, Tools]]:
    """Yield the conversation in every way, the plainest first.

    Which ways there are depends on the roles and keys of the messages alone, not on their words.

    Args:
        messages: template dicts, oldest first.
        tools: OpenAI's dicts, or None.
    """
    ways = list(_ways_for_calls(messages, tools))
    if any("name" in message for message in messages):
        ways += _ways_for_calls(_without_names(messages), tools)
    # some templates for tools alone reject that there are none, but take an empty list
    for way, shown in [*ways, *((way, []) for way, shown in ways if shown is None)]:
        yield way, shown
        has_system = any(message["role"] == "system" for message in way)
        if has_system:
            yield _merge_system_messages(way), shown
        yield content_as_parts(way), shown
        if has_system:
            yield content_as_parts(_merge_system_messages(way)), shown


def _ways_for_calls(messages: Messages, tools: Tools) -> Iterator[tuple[Messages, Tools]]:
    """Yield the conversation with tools, calls and results in every form."""
    yield messages, tools
    has_calls = any(message.get("tool_calls") or message["role"] == "tool" for message in messages)
    if has_calls:
        short = _shorten_ids(messages)
        yield short, tools
        yield _join_arguments(messages), tools
        yield _say_before_calls(messages), tools
        yield _call_one_by_one(short), tools
        yield _say_before_calls(_call_one_by_one(short)), tools
        yield merge_turns([_call_as_text(message) for message in messages]), tools
    if tools:
        yield _tools_as_key(messages, tools), None
        if has_calls:
            yield merge_turns([_call_as_text(message) for message in _tools_as_key(messages, tools)]), None
        yield merge_turns([_call_as_text(message) for message in _tools_as_text(messages, tools)]), None


def name_tools(template: str, tools: Tools) -> dict[str, Any]:
    """Return the tools, and the date, under the other names that templates read.

    Args:
        template: Jinja source.
        tools: OpenAI's dicts, or None.
    """
    names: dict[str, Any] = {"xml_tools": list(tools) if tools else None}  # the first SmolLM3
    if not re.search(r"\btools\b", template):  # FireFunction
        functions = json.dumps([tool.get("function", tool) for tool in tools or ()], ensure_ascii=False)
        names |= {"functions": functions, "datetime": strftime("%B %d, %Y")}
    return names


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


def _without_names(messages: Messages) -> Messages:
    """Return the messages without the speakers' names, so that those of one role can be joined; results keep theirs."""
    return merge_turns(
        [
            message if message["role"] == "tool" else {key: value for key, value in message.items() if key != "name"}
            for message in messages
        ]
    )


def append_system(messages: Messages, text: str) -> Messages:
    """Return the messages with a text at the end of the system message, which is added if there is none."""
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


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
    changed: Messages = []
    waiting: Messages = []  # calls whose results have not been seen
    for message in messages:
        if message["role"] != "tool":
            changed += waiting
            calls = message.get("tool_calls") or ()
            waiting = [
                message | {"content": message["content"] if number == 0 else "", "tool_calls": [call]}
                for number, call in enumerate(calls)
            ]
            changed += [] if calls else [message]
            continue
        # ids may occur again in later turns: a result belongs to the calls right before it
        own = [each for each in waiting if each["tool_calls"][0].get("id") == message.get("tool_call_id")]
        waiting = [each for each in waiting if not any(each is one for one in own[:1])]
        changed += [*own[:1], message]
    return changed + waiting


def _say_before_calls(messages: Messages) -> Messages:
    """Return the messages with the words beside a call as a message of their own."""
    changed: Messages = []
    for message in messages:
        if message.get("tool_calls") and message["content"]:
            changed += [{"role": message["role"], "content": message["content"]}, message | {"content": ""}]
        else:
            changed.append(message)
    return changed


def _tools_as_key(messages: Messages, tools: Sequence[dict[str, Any]]) -> Messages:
    """Return the messages with the tools as a key of the system message, where Phi-4-mini reads them."""
    listed = json.dumps([tool.get("function", tool) for tool in tools], ensure_ascii=False)
    if messages[0]["role"] == "system":
        return [messages[0] | {"tools": listed}, *messages[1:]]
    return [{"role": "system", "content": "", "tools": listed}, *messages]


def _merge_system_messages(messages: Messages) -> Messages:
    """Put each system message into the user message behind it; it is one where there is none."""
    changed: Messages = []
    for message in messages:
        last = changed[-1] if changed else {}
        if last.get("role") == "system" and message["role"] == "user":
            texts = [text for text in (last["content"], message["content"]) if text]
            changed[-1] = message | {"content": "\n\n".join(texts)}
        else:
            changed.append(message)
    return merge_turns([_as_user(message) if message["role"] == "system" else message for message in changed])


def _as_user(message: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": message["content"]}


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
