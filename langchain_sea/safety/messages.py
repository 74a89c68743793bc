"""LangChain's messages and tools as the safety layers read them, and their decisions as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_sea.safety.context import CallContext, ContextMessage
from langchain_sea.safety.tool_call import ToolCall, calls_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.policy import GuardConfig

__all__ = ["answered", "asked_calls", "blocked", "invalid_calls", "scene_of", "told", "tool_schemas"]

_ROLES = ((SystemMessage, "system"), (HumanMessage, "user"), (ToolMessage, "tool"), (AIMessage, "assistant"))


def tool_schemas(tools: Sequence[Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Schemas of the arguments and descriptions, by name; injected arguments are nobody's to give."""
    schemas, descriptions = {}, {}
    for tool in tools:
        function = convert_to_openai_tool(tool)["function"]
        schemas[function["name"]] = function.get("parameters") or {"type": "object", "properties": {}}
        descriptions[function["name"]] = function.get("description", "")
    return schemas, descriptions


def scene_of(
    messages: Sequence[BaseMessage],
    schemas: Mapping[str, Mapping[str, Any]],
    descriptions: Mapping[str, str],
    policy: GuardConfig,
) -> CallContext:
    """What calls are judged in: all that was said before them."""
    names = {
        call["id"]: call["name"]
        for m in messages
        if isinstance(m, AIMessage)
        for call in m.tool_calls
        if call["id"]
    }
    sources = []
    for message in messages:
        role = next((role for kind, role in _ROLES if isinstance(message, kind)), "tool")
        tool = names.get(getattr(message, "tool_call_id", ""), message.name or "") if role == "tool" else ""
        sources.append(ContextMessage(role, _text(message), tool))
    return CallContext(tuple(sources), schemas, policy, descriptions)


def asked_calls(message: AIMessage) -> list[ToolCall]:
    """A message's calls, frozen; where the provider's own text of the arguments is there, that is read, too."""
    raw: list[str | None] = []
    for given in message.additional_kwargs.get("tool_calls") or []:
        arguments = given.get("function", {}).get("arguments") if isinstance(given, dict) else None
        raw.append(arguments if isinstance(arguments, str) else None)
    return calls_of(message.tool_calls, raw if len(raw) == len(message.tool_calls) else ())


def invalid_calls(message: AIMessage) -> list[ToolCall]:
    """What was meant as a call and cannot be read: never executed, and written down."""
    first, found = len(message.tool_calls), []
    for position, given in enumerate(message.invalid_tool_calls, first):
        fault = str(given.get("error") or "it cannot be read")
        found.append(
            ToolCall(position, str(given.get("id") or ""), str(given.get("name") or ""), "{}", (fault,))
        )
    return found


def told(message: AIMessage, decisions: Sequence[Decision]) -> AIMessage:
    """The message with the arguments that may run in place of those it had, under the same id."""
    runs = {d.asked.position: d.call for d in decisions if d.call is not None}
    calls = [
        {**call, "args": runs[position].arguments} if position in runs else call
        for position, call in enumerate(message.tool_calls)
    ]
    kwargs = {name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"}
    content = message.content
    if isinstance(content, list):  # some providers keep calls there as well
        kept = [
            b for b in content if not (isinstance(b, dict) and b.get("type") in ("tool_use", "tool_call"))
        ]
        content = kept or ""
    return message.model_copy(update={"tool_calls": calls, "additional_kwargs": kwargs, "content": content})


def blocked(tool_call: Mapping[str, Any], outcome: str, reason: str) -> ToolMessage:
    """What the agent reads in place of a result: the call did not run, and why."""
    name = str(tool_call.get("name") or "")
    why = "could not be judged" if outcome == "unavailable" else "was stopped"
    return ToolMessage(
        content=f"{name} was not executed: the call {why}. {reason}",
        tool_call_id=str(tool_call.get("id") or ""),
        name=name,
        status="error",
        artifact={"sea_safety": {"outcome": outcome, "reason": reason, "executed": False}},
    )


def answered(messages: Sequence[BaseMessage], call_id: str) -> bool:
    """Whether somebody has answered the call already."""
    return any(isinstance(m, ToolMessage) and m.tool_call_id == call_id for m in messages)


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = [block if isinstance(block, str) else str(block.get("text", block)) for block in message.content]
    return "\n".join(parts)
