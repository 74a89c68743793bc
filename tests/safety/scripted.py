"""A chat model that returns scripted messages, and agents around it, to test the guard."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from langchain_sea.middleware import ToolCallSafetyMiddleware, with_guard


class Scripted(BaseChatModel):
    """Returns its messages one after another, then that it is done."""

    script: list[Any]
    said: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = self.script[self.said] if self.said < len(self.script) else AIMessage("done")
        self.said += 1
        return ChatResult(generations=[ChatGeneration(message=message.model_copy(deep=True))])


def call(name: str, call_id: str = "1", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": call_id, "type": "tool_call"}


def asks(*calls: dict[str, Any], **options: Any) -> AIMessage:
    return AIMessage("", tool_calls=list(calls), **options)


class World:
    """Tools that remember what was done with them."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

        @tool
        def send_email(recipients: list[str], subject: str, body: str) -> str:
            """Send an email."""
            self.done.append(("send_email", recipients))
            return "sent"

        @tool
        def delete_file(path: str) -> str:
            """Delete a file."""
            self.done.append(("delete_file", path))
            return "deleted"

        @tool
        def read_page(url: str) -> str:
            """Read a page of the web."""
            self.done.append(("read_page", url))
            return "the page"

        @tool
        def note(text: str) -> str:
            """Write a note."""
            self.done.append(("note", text))
            return "noted"

        self.tools = [send_email, delete_file, read_page, note]


def agent(
    world: World, script: list[Any], *, safety: ToolCallSafetyMiddleware | None = None, outer: Any = (), **options: Any
) -> Any:
    """An agent whose model says the script, with the guard last in its list of middlewares."""
    guard = safety or ToolCallSafetyMiddleware(checks="rules")
    return build(world, script, with_guard(outer, guard), **options)


def build(world: World, script: list[Any], middleware: list[Any], **options: Any) -> Any:
    """An agent whose model says the script, with these middlewares in this order."""
    return create_agent(Scripted(script=script), world.tools, middleware=middleware, **options)


def run(built: Any, how: str = "invoke", text: str = "Please do it.", config: Any = None) -> list[Any]:
    """The conversation at the end, whichever way it was run: invoke, stream, ainvoke, astream."""
    given = {"messages": [HumanMessage(text)]}

    async def later() -> Any:
        if how == "ainvoke":
            return await built.ainvoke(given, config)
        last = None
        async for state in built.astream(given, config, stream_mode="values"):
            last = state
        return last

    if how.startswith("a"):
        return asyncio.run(later())["messages"]
    if how == "stream":
        return list(built.stream(given, config, stream_mode="values"))[-1]["messages"]
    return built.invoke(given, config)["messages"]


def valid(messages: list[Any]) -> bool:
    """Whether every call has exactly one answer, and every answer a call."""
    asked, answered = [], []
    for message in messages:
        if isinstance(message, AIMessage):
            asked += [each["id"] for each in message.tool_calls]
        if isinstance(message, ToolMessage):
            answered.append(message.tool_call_id)
    return sorted(asked) == sorted(answered)


WAYS = ("invoke", "stream", "ainvoke", "astream")
BAD = {"path": "../../etc/passwd"}
GOOD = {"path": "notes.txt"}
