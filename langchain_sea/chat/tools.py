"""Tools in a conversation: listing them in the prompt, forcing a call, and parsing calls. Knows no model.

Many chat templates list the tools themselves. For a template without tools, a system message lists them in the
form that Hermes and Qwen models were trained on. `tool_formats` lists the forms of calls that are parsed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_sea.chat.tool_formats import RawCall, find_name, parse_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import InvalidToolCall, ToolCall

__all__ = ["ParsedToolCalls", "ToolChoice", "parse_tool_choice", "read_answer", "to_openai_tools"]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may or must call tools.

    Attributes:
        kind: `auto` lets the model decide, `none` hides the tools, `any` forces a call.
        name: the only tool that a forced call may call.
    """

    kind: Literal["auto", "none", "any"] = "auto"
    name: str | None = None

    @property
    def is_forced(self) -> bool:
        """Whether the answer must be a tool call."""
        return self.kind == "any"


@dataclass(frozen=True, slots=True)
class ParsedToolCalls:
    """The content of an answer: text, tool calls, and tool calls that cannot be parsed."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()


def to_openai_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Return tools of any form as OpenAI's dicts; of several with one name the first.

    Raises:
        ValueError: a tool is no function with a name.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for tool in tools:
        _require_function(tool)
        openai_tool = convert_to_openai_tool(tool, strict=strict)
        by_name.setdefault(_read_name(openai_tool), openai_tool)
    return list(by_name.values())


def _require_function(tool: object) -> None:
    """Check that a dict is no tool of another type, such as a provider's web search."""
    kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
    is_schema = isinstance(tool, dict) and (kind == "object" or "input_schema" in tool)  # JSON schema; Anthropic's form
    if kind != "function" and not is_schema:
        raise ValueError(
            f"the tool {tool!r:.200} is of the type {kind!r}: this model calls functions alone, and runs no tool of a "
            "provider. Leave it out, or pass a function that does this."
        )


def _read_name(tool: dict[str, Any]) -> str:
    """Return the name of a tool in OpenAI's form."""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise ValueError(f"the tool {tool!r:.200} has no function with a name; pass it as function.name.")
    if (parameters := function.get("parameters")) is not None and not isinstance(parameters, dict):
        raise ValueError(f"the parameters of the tool {name!r} are no JSON schema; pass an object, or leave them out.")
    return name


def parse_tool_choice(tool_choice: object, tools: Sequence[dict[str, Any]]) -> ToolChoice:
    """Parse LangChain's, OpenAI's or Anthropic's form of `tool_choice`.

    Raises:
        ValueError: it names none of the tools; the message lists their names.
    """
    names = [tool["function"]["name"] for tool in tools]
    if isinstance(tool_choice, dict):
        function = tool_choice.get("function", tool_choice)
        name = function.get("name", tool_choice.get("type")) if isinstance(function, dict) else None
        tool_choice = tool_choice if name is None else name
    if tool_choice is None or tool_choice in ("auto", False):
        return ToolChoice()
    if tool_choice in ("any", "required", True):
        if not names:
            raise ValueError(f"tool_choice={tool_choice!r} forces a call, and there is no tool to call.")
        return ToolChoice("any")
    if tool_choice == "none":
        return ToolChoice("none")
    if tool_choice not in names:
        listed = ", ".join(map(repr, names)) or "none"
        raise ValueError(f"tool_choice={tool_choice!r} names no tool; there are {listed}.")
    return ToolChoice("any", str(tool_choice))


def read_answer(
    text: str, tools: Sequence[dict[str, Any]], *, choice: ToolChoice | None = None, cut_off: str | None = None
) -> ParsedToolCalls:
    """Parse the text and the tool calls of an answer.

    Args:
        text: the answer.
        tools: the tools in the prompt; a call of any other tool is invalid.
        choice: whether the answer had to be a call; None: it had not.
        cut_off: what cut the answer off and what to do about it, if anything did. What is not whole is no call.
    """
    if not tools:
        return ParsedToolCalls(text)
    names = {tool["function"]["name"] for tool in tools}
    content, raw_calls = parse_calls(text, names)
    choice = choice or ToolChoice()
    if choice.is_forced and cut_off is not None and not raw_calls:
        content, raw_calls = "", [RawCall(text, None, None)]
    calls, invalid = [], []
    for call in raw_calls:
        if call.name is not None and call.name in names and isinstance(call.arguments, dict):
            calls.append(tool_call(name=call.name, args=call.arguments, id=_new_id()))
        else:
            name = call.name or choice.name or find_name(call.text)
            error = f"{_describe_fault(call, names, cut_off)}: {call.text[:200]}"
            invalid.append(invalid_tool_call(name=name, args=call.text, id=_new_id(), error=error))
    return ParsedToolCalls(content, tuple(calls), tuple(invalid))


def _describe_fault(call: RawCall, names: set[str], cut_off: str | None) -> str:
    if cut_off is not None and call.arguments is None:
        return f"the call was {cut_off}"
    if call.name is None:
        return "this is no tool call"
    if call.name not in names:
        return "there is no tool of this name"
    return "the arguments are no JSON object"


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
