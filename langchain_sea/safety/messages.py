"""Converts LangChain's tools and calls to what the checks read, and decisions to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks.manager import dispatch_custom_event
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_sea.errors import PolicyError
from langchain_sea.safety.tool_call import ToolCall, freeze_calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.checks import Decision

__all__ = [
    "STOP_EVENT",
    "apply_decisions",
    "find_call",
    "find_conflict",
    "find_newest_answer",
    "make_blocked_message",
    "read_calls",
    "read_effects",
    "read_executable",
    "read_invalid_calls",
    "read_open_calls",
    "read_tool_schemas",
    "send_stop_event",
]

STOP_EVENT = "sea_tool_call_stopped"
"""Name of the custom event that callbacks and `astream_events` get for each stopped call."""


_CALL_BLOCKS = ("tool_use", "tool_call", "tool_call_chunk", "function_call", "custom_tool_call", "input_json_delta")
"""Types of content blocks in which Anthropic, OpenAI, Google and LangChain itself hold calls."""


def read_tool_schemas(tools: Sequence[Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return schemas of the arguments and descriptions by tool name; injected arguments are left out.

    Raises:
        PolicyError: two tools have one name, so nobody can say which of them a call means.
    """
    schemas, descriptions = {}, {}
    for tool in tools:
        function = convert_to_openai_tool(tool)["function"]
        if function["name"] in schemas:
            raise PolicyError(f"two tools have the name {function['name']!r}; rename one of them.")
        schemas[function["name"]] = function.get("parameters") or {"type": "object", "properties": {}}
        descriptions[function["name"]] = function.get("description", "")
    return schemas, descriptions


def read_effects(tools: Sequence[Any]) -> dict[str, Literal["read", "write"]]:
    """Return what the tools' MCP annotations say about their effects, by name; tools without them are left out."""
    effects: dict[str, Literal["read", "write"]] = {}
    for tool in tools:
        hints = getattr(tool, "metadata", None)
        if not isinstance(hints, dict):
            continue
        if hints.get("readOnlyHint") is True:
            effects[tool.name] = "read"
        elif hints.get("destructiveHint") is True or hints.get("readOnlyHint") is False:
            effects[tool.name] = "write"
    return effects


def send_stop_event(decision: Decision) -> None:
    """Send `STOP_EVENT` to the callbacks of the run that is at work; without one there is nobody to send it to."""
    data = {"tool": decision.requested.name, "outcome": decision.outcome, "reason": decision.reason}
    try:
        dispatch_custom_event(STOP_EVENT, data | {"runs": decision.is_allowed})
    except RuntimeError:
        return


def read_calls(message: AIMessage) -> list[ToolCall]:
    """Return the message's calls; the provider's own JSON of the arguments is checked as well, where it is there."""
    raw: list[str | None] = []
    for call in message.additional_kwargs.get("tool_calls") or []:
        arguments = call.get("function", {}).get("arguments") if isinstance(call, dict) else None
        raw.append(arguments if isinstance(arguments, str) else None)
    return freeze_calls(message.tool_calls, raw if len(raw) == len(message.tool_calls) else ())


def read_invalid_calls(message: AIMessage) -> list[ToolCall]:
    """Return the message's calls that cannot be parsed, for the audit log; they are never executed."""
    calls = []
    for position, call in enumerate(message.invalid_tool_calls, len(message.tool_calls)):
        error = str(call.get("error") or "it cannot be read")
        calls.append(ToolCall(position, str(call.get("id") or ""), str(call.get("name") or ""), "{}", (error,)))
    return calls


def read_open_calls(messages: Sequence[BaseMessage], index: int) -> list[ToolCall]:
    """Return the calls of a message that have no result yet, and those that cannot be parsed.

    A call that is the answer's form (`ToolStrategy`) has a result before any call runs.
    """
    message = messages[index]
    if not isinstance(message, AIMessage):
        return []
    answered = {result.tool_call_id for result in messages[index + 1 :] if isinstance(result, ToolMessage)}
    return [*(call for call in read_calls(message) if call.id not in answered), *read_invalid_calls(message)]


def apply_decisions(message: AIMessage, decisions: Sequence[Decision]) -> AIMessage:
    """Return the message with the arguments that may run, under the same ids."""
    executable = {d.requested.position: d.executable for d in decisions if d.executable is not None}
    calls = [
        {**call, "name": executable[position].name, "args": executable[position].arguments}
        if position in executable
        else call
        for position, call in enumerate(message.tool_calls)
    ]
    kwargs = {name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"}
    content = message.content
    if isinstance(content, list):  # some providers keep calls there as well
        content = [block for block in content if not _is_call_block(block)] or ""
    return message.model_copy(update={"tool_calls": calls, "additional_kwargs": kwargs, "content": content})


def _is_call_block(block: str | dict[Any, Any]) -> bool:
    return isinstance(block, dict) and block.get("type") in _CALL_BLOCKS


def make_blocked_message(tool_call: Mapping[str, Any], outcome: str, reason: str) -> ToolMessage:
    """Build the message that the agent reads in place of a result: the call did not run, and why."""
    name = str(tool_call.get("name") or "")
    status = "could not be judged" if outcome == "unavailable" else "was stopped"
    return ToolMessage(
        content=f"{name} was not executed: the call {status}. {reason}",
        tool_call_id=str(tool_call.get("id") or ""),
        name=name,
        status="error",
        artifact={"sea_safety": {"outcome": outcome, "reason": reason, "executed": False}},
    )


def read_executable(decision: Decision, tool_call: Mapping[str, Any]) -> ToolCall | ToolMessage:
    """Return what runs of a call, or the message in place of its result; only the arguments may be others by now."""
    call = decision.executable
    if call is None:
        return make_blocked_message(tool_call, decision.outcome, decision.reason)
    if call.name != tool_call["name"]:
        reason = f"a human edited it to a call of {call.name!r} when its tool was chosen already; call {call.name!r}"
        return make_blocked_message(tool_call, "rejected", reason)
    return call


def find_call(messages: Sequence[BaseMessage], call: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the index of the newest message with a call of this id, and the call's position in it."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, AIMessage):
            ids = [each["id"] for each in message.tool_calls]
            if call["id"] in ids:
                return index, ids.index(call["id"])
    return None


def find_newest_answer(messages: Sequence[BaseMessage]) -> int | None:
    """Return the index of the model's newest message if only results of tools stand behind it, else None."""
    for index in range(len(messages) - 1, -1, -1):
        if not isinstance(messages[index], ToolMessage):
            return index if isinstance(messages[index], AIMessage) else None
    return None


def find_conflict(messages: Sequence[BaseMessage], index: int, call: Mapping[str, Any]) -> str | None:
    """Return why the call must not run whatever its verdict is."""
    message = messages[index]
    if isinstance(message, AIMessage) and [c["id"] for c in message.tool_calls].count(call["id"]) > 1:
        return f"two calls share the id {call['id']!r}"
    if _has_result(messages[index + 1 :], str(call["id"])):
        return "it has a result although it did not run: somebody rejected it"
    return None


def _has_result(messages: Sequence[BaseMessage], call_id: str) -> bool:
    """Return whether one of the messages is the result of the call."""
    return any(isinstance(m, ToolMessage) and m.tool_call_id == call_id for m in messages)
