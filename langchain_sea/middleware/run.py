"""What the guard reads of the LangGraph run that is at work: its thread, its state, and where it runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import ExtendedModelResponse
from langgraph.config import get_config
from langgraph.types import Command

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelResponse
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.prebuilt.tool_node import ToolCallRequest

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = [
    "can_interrupt",
    "get_shared_run",
    "get_thread",
    "is_subagent",
    "read_messages",
    "supervisor",
    "with_call",
    "with_update",
]

supervisor: ContextVar[CallContext | None] = ContextVar("sea_supervisor", default=None)
"""While a tool runs: the conversation of the agent that called it, which a subagent within the tool inherits."""


def get_thread() -> str:
    """Return the id of the thread; an empty text outside of one."""
    return str(_get_configurable().get("thread_id") or "")


def can_interrupt() -> bool:
    """Return whether an interrupt can be answered later: LangGraph keeps it in a checkpointer."""
    settings = _get_configurable()
    return bool(settings) and settings.get("__pregel_checkpointer", True) is not None


def get_shared_run() -> object | None:
    """Return the run of a node that has all calls of a message; None where each call has a run of its own (`Send`)."""
    is_sent = (_get_config().get("metadata") or {}).get("langgraph_path", ("",))[0] != "__pregel_pull"
    return None if is_sent else _get_configurable().get("__pregel_scratchpad")


def is_subagent() -> bool:
    """Return whether this agent runs within a tool of another one, which is guarded or has nodes around it."""
    namespace = str(_get_configurable().get("checkpoint_ns") or "")
    return supervisor.get() is not None or any(part.split(":")[0] == "tools" for part in namespace.split("|")[:-1])


def read_messages(state: object) -> list[BaseMessage]:
    """Return the messages of a state, which may be a list, a dict or a pydantic model."""
    if isinstance(state, list):
        return state
    messages = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", None)
    return list(messages or [])


def with_update(
    response: ModelResponse[Any], update: dict[str, Any]
) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
    """Return the response together with an update of the thread's record, where something changed."""
    return ExtendedModelResponse(response, Command(update={"sea_guard": update})) if update else response


def with_call(request: ToolCallRequest, call: ToolCall) -> ToolCallRequest:
    """Return the request with its own copy of the arguments, which no holder of the old one can change."""
    return request.override(tool_call={**request.tool_call, "args": call.arguments})


def _get_configurable() -> dict[str, Any]:
    """Return the settings of the LangGraph run that is at work; none outside of one."""
    return dict(_get_config().get("configurable") or {})


def _get_config() -> RunnableConfig:
    try:
        return get_config()
    except RuntimeError:
        return {}
