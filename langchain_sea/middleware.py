"""`ToolCallSafetyMiddleware`: no unsafe tool call of an agent runs.

Two points enforce it. After the model, before anything runs, the whole batch gets its verdicts. When a call is
about to run, it must be exactly one that has a verdict for it: position, name and arguments. So it must stand
last in the agent's list of middlewares, where nobody rewrites a call after it has looked.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage
from langgraph.types import interrupt

from langchain_sea.safety.checks import PolicyError
from langchain_sea.safety.messages import (
    answered,
    asked_calls,
    blocked,
    invalid_calls,
    scene_of,
    told,
    tool_schemas,
)
from langchain_sea.safety.tool_call import ToolCall, calls_of
from langchain_sea.tool_guard import make_guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain.agents.middleware.types import ModelRequest, ModelResponse
    from langchain_core.messages import BaseMessage, ToolMessage
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import GuardConfig

__all__ = ["SafetyState", "ToolCallSafetyMiddleware"]


class SafetyState(AgentState[Any]):
    """The agent's state, with the verdicts on the newest message's calls."""

    sea_verdicts: NotRequired[Annotated[dict[str, list[dict[str, Any]]], PrivateStateAttr]]


class ToolCallSafetyMiddleware(AgentMiddleware[Any, Any, Any]):
    """Judges every batch of calls, repairs what can be repaired, and runs nothing without a verdict.

    Example:
        >>> agent = create_agent(model, tools, middleware=[ToolCallSafetyMiddleware(policy)])  # doctest: +SKIP
    """

    state_schema = SafetyState

    def __init__(
        self, policy: GuardConfig | None = None, *, agent_tools: Sequence[Any] | None = None, **options: Any
    ) -> None:
        """Hold the layers.

        Args:
            policy: of the tools; None guards all as tools that write.
            agent_tools: the agent's; None learns them from what the model is shown. Pass them where an agent that
                waits for a human goes on in another process.
            options: as for `langchain_sea.tool_guard.judge_for`.
        """
        super().__init__()
        self.judge = make_guard(policy, **options)
        self._schemas, self._descriptions = tool_schemas(agent_tools or [])

    @property
    def name(self) -> str:
        """As LangChain asks for it while it builds an agent; there the order of middlewares is looked at.

        Raises:
            PolicyError: another middleware that rewrites or runs tool calls stands behind this one.
        """
        listed = _being_built()
        behind = listed[listed.index(self) + 1 :] if self in listed else []
        for other in behind:
            if any(
                getattr(type(other), hook) is not getattr(AgentMiddleware, hook)
                for hook in ("wrap_tool_call", "awrap_tool_call")
            ):
                raise PolicyError(
                    f"{type(other).__name__} stands behind ToolCallSafetyMiddleware and could rewrite a call after it "
                    "was judged: put ToolCallSafetyMiddleware last in the list of middlewares."
                )
        return type(self).__name__

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Learn which tools the model is shown."""
        self._learn(request.tools)
        return handler(request)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """The same."""
        self._learn(request.tools)
        return await handler(request)

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ANN401, ARG002 - LangChain's
        """Verdicts on the whole batch, before any of it runs."""
        found = self._judged(state)
        return None if found is None else self._told(*found)

    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ANN401, ARG002 - same
        """The same; whoever is cancelled takes no verdict along."""
        found = await asyncio.to_thread(self._judged, state)
        return None if found is None else await asyncio.to_thread(self._told, *found)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run exactly what has a verdict, and answer for the rest."""
        found = self._ruled(request)
        return handler(_as_judged(request, found)) if isinstance(found, ToolCall) else found

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """The same."""
        found = await asyncio.to_thread(self._ruled, request)
        return await handler(_as_judged(request, found)) if isinstance(found, ToolCall) else found

    def _learn(self, tools: Sequence[Any]) -> None:
        schemas, descriptions = tool_schemas([t for t in tools if not _provider_side(t)])
        self._schemas, self._descriptions = self._schemas | schemas, self._descriptions | descriptions

    def _judged(self, state: Any) -> tuple[AIMessage, list[Decision], CallContext] | None:  # noqa: ANN401 - any state
        messages = _messages(state)
        message = messages[-1] if messages else None
        if not isinstance(message, AIMessage) or not (message.tool_calls or message.invalid_tool_calls):
            return None
        scene = self._scene(messages[:-1])
        calls = [*asked_calls(message), *invalid_calls(message)]
        return message, self.judge(calls, scene)[: len(message.tool_calls)], scene

    def _told(self, message: AIMessage, decisions: list[Decision], scene: CallContext) -> dict[str, Any]:
        """What goes into the state, once humans have said what is theirs to say."""
        settled = [self._settled(d, scene) if d.outcome == "review" else d for d in decisions]
        table = [
            {"digest": (d.call or d.asked).digest, "runs": d.runs, "outcome": d.outcome, "reason": d.reason}
            for d in settled
        ]
        update: dict[str, Any] = {"sea_verdicts": {str(message.id): table}}
        now = told(message, settled)
        if now.tool_calls != message.tool_calls:
            update["messages"] = [now]
        return update

    def _settled(self, decision: Decision, scene: CallContext) -> Decision:
        """A human says yes, no, or what to call instead, which is judged like any other call."""
        call = decision.asked
        said = interrupt(
            {"review": call.name, "arguments": call.arguments, "reason": decision.reason,
             "answers": ["approve", "reject", {"edit": "the arguments"}]}
        )  # fmt: skip
        if isinstance(said, dict) and isinstance(said.get("edit"), dict):
            (again,) = self.judge([call.with_arguments(said["edit"])], scene)
            return self.judge.settled(again, scene, approved=True) if again.outcome == "review" else again
        return self.judge.settled(
            decision, scene, approved=said == "approve", why=f"a human answered {said!r}"
        )

    def _ruled(self, request: ToolCallRequest) -> ToolCall | ToolMessage:
        """The call that may run, or the answer in its place."""
        given, messages = request.tool_call, _messages(request.state)
        place = _place(messages, given)
        fault = "no message of the model asked for it" if place is None else _fault(messages, place[0], given)
        verdicts = _verdicts(request.state).get(str(messages[place[0]].id)) if place else None
        if fault is None and (verdicts is None or place is None or place[1] >= len(verdicts)):
            fault = "there is no verdict on it"
        if fault is not None or verdicts is None or place is None:
            return blocked(given, "blocked", fault or "")
        at, position = place
        (call,) = calls_of([given])
        call = ToolCall(position, call.id, call.name, call.text, call.faults)
        verdict = verdicts[position]
        if call.digest == verdict["digest"]:
            return call if verdict["runs"] else blocked(given, verdict["outcome"], verdict["reason"])
        return self._changed(request, call, messages[:at])

    def _changed(
        self, request: ToolCallRequest, call: ToolCall, before: Sequence[BaseMessage]
    ) -> ToolCall | ToolMessage:
        """Somebody changed the call since its verdict: it is judged like a new one, without repair or review."""
        if request.tool is not None:
            self._learn([request.tool])
        (decision,) = self.judge([call], self._scene(before))
        if decision.call is not None:
            return decision.call
        outcome = "blocked" if decision.outcome == "review" else decision.outcome
        return blocked(request.tool_call, outcome, decision.reason)

    def _scene(self, messages: Sequence[BaseMessage]) -> CallContext:
        return scene_of(messages, self._schemas, self._descriptions, self.judge.policy)


def _as_judged(request: ToolCallRequest, call: ToolCall) -> ToolCallRequest:
    """The request with a copy of its own: who holds the old one can change nothing any more."""
    return request.override(tool_call={**request.tool_call, "args": call.arguments})


def _messages(state: Any) -> list[BaseMessage]:  # noqa: ANN401 - a dict, a list, or a model
    if isinstance(state, list):
        return state
    found = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", None)
    return list(found or [])


def _verdicts(state: Any) -> Mapping[str, list[dict[str, Any]]]:  # noqa: ANN401 - as above
    found = state.get("sea_verdicts") if isinstance(state, dict) else getattr(state, "sea_verdicts", None)
    return found or {}


def _place(messages: Sequence[BaseMessage], call: Mapping[str, Any]) -> tuple[int, int] | None:
    """The newest message that asked for a call of this id, and the call's position in it."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if isinstance(message, AIMessage):
            ids = [each["id"] for each in message.tool_calls]
            if call["id"] in ids:
                return at, ids.index(call["id"])
    return None


def _fault(messages: Sequence[BaseMessage], at: int, call: Mapping[str, Any]) -> str | None:
    """What speaks against it before any verdict is looked up."""
    message = messages[at]
    if isinstance(message, AIMessage) and [c["id"] for c in message.tool_calls].count(call["id"]) > 1:
        return f"two calls share the id {call['id']!r}"
    if answered(messages[at + 1 :], str(call["id"])):
        return "it was answered before it ran: somebody rejected it"
    return None


def _provider_side(tool: Any) -> bool:  # noqa: ANN401 - a tool, or a provider's dict
    """Whether a provider runs it, where nobody could stop it."""
    return isinstance(tool, dict) and tool.get("type") != "function" and "parameters" not in tool


def _being_built() -> list[Any]:
    """The middlewares of the agent that is being built; none at any other time.

    LangChain tells a middleware nothing of its neighbours, but asks each for its name while it builds.
    """
    frame = sys._getframe(2)  # noqa: SLF001 - there is no other way to know
    for _ in range(3):  # a comprehension is a frame of its own before Python 3.12
        code = frame.f_code
        if code.co_name == "create_agent" and frame.f_globals.get("__name__") == "langchain.agents.factory":
            return list(frame.f_locals.get("middleware") or [])
        if frame.f_back is None:
            break
        frame = frame.f_back
    return []
