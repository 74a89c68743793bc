"""Tools in a conversation: how they are shown, when a call is forced, and how calls are read. Knows no model.

A template that speaks of tools shows them itself. Where it does not, a system message in the form that Hermes
and Qwen models were trained on shows them. Calls are read in the forms of `_tool_formats`.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_sea.chat.tool_formats import read_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import InvalidToolCall, ToolCall

__all__ = [
    "AUTO",
    "OPENING",
    "ParsedToolCalls",
    "Choice",
    "parse_tool_choice",
    "forced_schema",
    "read_answer",
    "render_tools_as_text",
    "append_system",
    "to_openai_tools",
]

OPENING, CLOSING = "<tool_call>\n", "\n</tool_call>"
_SHOWN = (
    "You may call functions to help with the user's query. Their signatures:\n<tools>\n{tools}\n</tools>\n"
    "For each call write a JSON object with its name and its arguments within <tool_call></tool_call>:\n"
    '<tool_call>\n{{"name": <function name>, "arguments": <arguments as JSON>}}\n</tool_call>'
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a caller asked of calls.

    Attributes:
        kind: `auto` leaves it to the policy, `none` shows no tool, `any` forces a call of some tool.
        name: of the one tool that must be called.
    """

    kind: str = "auto"
    name: str | None = None

    @property
    def forced(self) -> bool:
        """Whether there must be a call."""
        return self.kind == "any"


AUTO = Choice()


@dataclass(frozen=True, slots=True)
class ParsedToolCalls:
    """What a text says: words, calls, and calls that cannot be read."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()


def to_openai_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Tools of any form as OpenAI's dicts; of several with one name the first."""
    found: dict[str, dict[str, Any]] = {}
    for given in tools:
        tool = convert_to_openai_tool(given, strict=strict)
        found.setdefault(tool["function"]["name"], tool)
    return list(found.values())


def parse_tool_choice(given: Any, tools: Sequence[dict[str, Any]]) -> Choice:  # noqa: ANN401 - as callers write it
    """`tool_choice` in any of its forms.

    Raises:
        ValueError: it names no tool that is there; the message names those that are.
    """
    names = [tool["function"]["name"] for tool in tools]
    if isinstance(given, dict):
        given = given.get("function", given).get("name", given.get("type"))
    if given is None or given in ("auto", False):
        return Choice()
    if given in ("any", "required", True):
        if not names:
            raise ValueError(f"tool_choice={given!r} forces a call, and there is no tool to call.")
        return Choice("any")
    if given == "none":
        return Choice("none")
    if given not in names:
        raise ValueError(
            f"tool_choice={given!r} names no tool; there are {', '.join(map(repr, names)) or 'none'}."
        )
    return Choice("any", str(given))


def render_tools_as_text(
    messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The conversation with the tools, calls and results in words, for a template that knows none."""
    listed = _SHOWN.format(
        tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    )
    return append_system([_in_words(message) for message in messages], listed)


def append_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """With more in the system message, or one where there is none."""
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _in_words(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls") or []
    written = [f"{OPENING}{json.dumps(call['function'], ensure_ascii=False)}{CLOSING}" for call in calls]
    text = "\n".join([*([message["content"]] if message["content"] else []), *written])
    return {"role": message["role"], "content": text}


def forced_schema(tools: Sequence[dict[str, Any]], choice: Choice) -> dict[str, Any]:
    """The schema of a call that must be made: of the one tool, or of any."""
    wanted = [tool["function"] for tool in tools if choice.name in (None, tool["function"]["name"])]
    schemas = [_call_schema(function) for function in wanted]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _call_schema(function: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(function.get("parameters") or {"type": "object", "properties": {}})
    definitions = {key: arguments.pop(key) for key in ("$defs", "definitions") if key in arguments}
    arguments.setdefault("additionalProperties", False)
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
        **definitions,
    }


def read_answer(text: str, tools: Sequence[dict[str, Any]]) -> ParsedToolCalls:
    """Words and calls of an answer.

    Args:
        text: as it was written.
        tools: that were shown; a call of another is not one.
    """
    if not tools:
        return ParsedToolCalls(text)
    content, found = read_calls(text)
    names = {tool["function"]["name"] for tool in tools}
    calls, invalid = [], []
    for raw, name, arguments in found:
        if name is not None and name in names and isinstance(arguments, dict):
            calls.append(tool_call(name=name, args=arguments, id=_id()))
        else:
            why = (
                "no call"
                if name is None
                else "its arguments are no object"
                if name in names
                else "no such tool"
            )
            invalid.append(invalid_tool_call(name=name, args=raw, id=_id(), error=f"{why}: {raw[:200]}"))
    return ParsedToolCalls(content, tuple(calls), tuple(invalid))


def _id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
