"""What the caller of an agent gave it: the messages of a run's input, and the system prompt that it was made with.

A middleware sees only what those before it in the list left. So this part stands first, before all others can add
messages or change the prompt, and the guard stands last.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import PrivateStateAttr

from langchain_sea.middleware.run import is_subagent, read_messages
from langchain_sea.safety.conversation.reading import find_inputs, read_conversation
from langchain_sea.safety.conversation.thread_state import ThreadRecord, merge_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware.types import ModelRequest, ModelResponse

    from langchain_sea.safety.tools.tool_catalogue import ToolCatalogue

__all__ = ["GuardOpening", "SafetyState", "get_given_prompt", "note_inputs"]

_given_prompt: ContextVar[str | None] = ContextVar("sea_given_prompt", default=None)


class SafetyState(AgentState[Any]):
    """The agent's state, with what the guard must know about the thread when its messages are gone."""

    sea_guard: NotRequired[
        Annotated[dict[str, Any], PrivateStateAttr, merge_records]
    ]  # LangGraph takes the last as reducer


class GuardOpening(AgentMiddleware[Any, Any, Any]):
    """Notes what the caller gave, for the guard at the end of the list."""

    state_schema = SafetyState

    def __init__(self, catalogue: ToolCatalogue) -> None:
        """Share the guard's catalogue of tools: a middleware that answers in place of the model hides them from it."""
        super().__init__()
        self._catalogue = catalogue

    def before_agent(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Note which messages the caller passed in."""
        del runtime
        return note_inputs(state)

    async def abefore_agent(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Note which messages the caller passed in."""
        return self.before_agent(state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Note the tools and the system prompt that the agent was made with."""
        self._catalogue.learn_new(request.tools)
        token = _given_prompt.set(_read_prompt(request))
        try:
            return handler(request)
        finally:
            _given_prompt.reset(token)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Note the tools and the system prompt that the agent was made with."""
        await asyncio.to_thread(self._catalogue.learn_new, request.tools)
        token = _given_prompt.set(_read_prompt(request))
        try:
            return await handler(request)
        finally:
            _given_prompt.reset(token)


def get_given_prompt() -> str | None:
    """Return the system prompt that the agent was made with; None where no `GuardOpening` is at work."""
    return _given_prompt.get()


def note_inputs(state: object) -> dict[str, Any] | None:
    """Return the state's update with the messages that the caller passed in, as a run begins.

    The user's words are kept as well, before a middleware changes or removes them.
    """
    before, messages = ThreadRecord.read(state), read_messages(state)
    inputs = find_inputs(messages, before.inputs)
    if inputs == before.inputs:
        return None
    read = read_conversation(messages, inputs=inputs, user=before.user, is_handed_over=is_subagent())
    return {"sea_guard": replace(before, inputs=inputs).note_user(read).list_changes(before)}


def _read_prompt(request: ModelRequest[Any]) -> str:
    return str(request.system_message.text) if request.system_message else ""
