"""`ToolCallSafetyMiddleware`: checks every tool call of an agent before it runs.

Calls are checked twice. After the model's answer, the whole batch is judged. When a call is about to run, it must have
the position, name and arguments of a judged one; a call that was changed since then is judged again.

The second check sees a call as it reaches this middleware. A middleware behind it in the list runs later, between this
check and the tool, and a call that it rewrites is not judged again. So this middleware must be the last in the list:
`with_guard` puts it there.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import interrupt

from langchain_sea.safety.messages import (
    apply_decisions,
    find_call,
    find_conflict,
    find_newest_answer,
    make_blocked_message,
    make_context,
    read_calls,
    read_invalid_calls,
    read_tool_schemas,
)
from langchain_sea.safety.tool_call import ToolCall, freeze_calls
from langchain_sea.tool_guard import make_guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain.agents.middleware.types import ModelRequest, ModelResponse
    from langchain_core.messages import BaseMessage
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import GuardConfig

__all__ = ["SafetyState", "ToolCallSafetyMiddleware", "with_guard"]


class SafetyState(AgentState[Any]):
    """The agent's state, with the verdicts on the calls of the newest message, by its id and the calls' positions."""

    sea_verdicts: NotRequired[Annotated[dict[str, dict[str, dict[str, Any]]], PrivateStateAttr]]


class ToolCallSafetyMiddleware(AgentMiddleware[Any, Any, Any]):
    """Judges every batch of calls, repairs what can be repaired, and runs no call without a verdict.

    It must be the last in the agent's list of middlewares: see `with_guard`.

    Examples:
        >>> agent = create_agent(model, tools, middleware=[ToolCallSafetyMiddleware(policy)])  # doctest: +SKIP
    """

    state_schema = SafetyState

    def __init__(
        self, policy: GuardConfig | None = None, *, agent_tools: Sequence[Any] | None = None, **options: Any
    ) -> None:
        """Build the pipeline of checks.

        Args:
            policy: the rules of the tools; None treats all as tools that write.
            agent_tools: the agent's tools. None learns them from what the model gets; pass them where an agent that
                waits for a human continues in another process.
            options: as for `langchain_sea.tool_guard.make_guard`.
        """
        super().__init__()
        self.pipeline = make_guard(policy, **options)
        self._schemas, self._descriptions = read_tool_schemas(agent_tools or [])

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Learn the schemas of the tools that the model gets."""
        self._learn_tools(request.tools)
        return handler(request)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Learn the schemas of the tools that the model gets."""
        self._learn_tools(request.tools)
        return await handler(request)

    def after_model(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Judge the whole batch before any of it runs."""
        del runtime
        decisions = self._judge_newest(state)
        return None if decisions is None else self._update_state(*decisions)

    async def aafter_model(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Judge the whole batch before any of it runs, in a thread beside the event loop."""
        del runtime
        decisions = await asyncio.to_thread(self._judge_newest, state)
        return None if decisions is None else await asyncio.to_thread(self._update_state, *decisions)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the call if it was judged and allowed; else return a message with the reason."""
        call = self._find_executable(request)
        return handler(_with_call(request, call)) if isinstance(call, ToolCall) else call

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Run the call if it was judged and allowed; else return a message with the reason."""
        call = await asyncio.to_thread(self._find_executable, request)
        return await handler(_with_call(request, call)) if isinstance(call, ToolCall) else call

    def _learn_tools(self, tools: Sequence[Any]) -> None:
        schemas, descriptions = read_tool_schemas([t for t in tools if not _runs_at_provider(t)])
        self._schemas, self._descriptions = self._schemas | schemas, self._descriptions | descriptions

    def _judge_newest(self, state: object) -> tuple[AIMessage, list[Decision], CallContext] | None:
        """Judge the calls of the newest message that have no result yet; None where there are none.

        A call that is the answer's form (`ToolStrategy`) has a result before any call runs.
        """
        messages = _read_messages(state)
        index = find_newest_answer(messages)
        message = None if index is None else messages[index]
        if index is None or not isinstance(message, AIMessage):
            return None
        answered = {result.tool_call_id for result in messages[index + 1 :] if isinstance(result, ToolMessage)}
        calls = [call for call in read_calls(message) if call.id not in answered]
        invalid_calls = read_invalid_calls(message)
        if not (calls or invalid_calls):
            return None
        context = self._make_context(messages[:index])
        return message, self.pipeline([*calls, *invalid_calls], context)[: len(calls)], context

    def _update_state(self, message: AIMessage, decisions: list[Decision], context: CallContext) -> dict[str, Any]:
        """Return the state's update with the verdicts, after humans have answered what waits for review."""
        final = [self._ask_human(d, context) if d.outcome == "review" else d for d in decisions]
        verdicts = {str(decision.requested.position): _make_verdict(decision) for decision in final}
        update: dict[str, Any] = {"sea_verdicts": {str(message.id): verdicts}}
        new_message = apply_decisions(message, final)
        if new_message.tool_calls != message.tool_calls:
            update["messages"] = [new_message]
        return update

    def _ask_human(self, decision: Decision, context: CallContext) -> Decision:
        """Let a human approve, reject or edit the call; an edited call is judged like any other."""
        call = decision.requested
        question = {"review": call.name, "arguments": call.arguments, "reason": decision.reason}
        answer = interrupt({**question, "answers": ["approve", "reject", {"edit": "the arguments"}]})
        if isinstance(answer, dict) and isinstance(answer.get("edit"), dict):
            (edited,) = self.pipeline([call.with_arguments(answer["edit"])], context)
            if edited.outcome == "review":
                return self.pipeline.resolve_review(edited, context, is_approved=True)
            return edited
        return self.pipeline.resolve_review(
            decision, context, is_approved=answer == "approve", reason=f"a human answered {answer!r}"
        )

    def _find_executable(self, request: ToolCallRequest) -> ToolCall | ToolMessage:
        """Return the call that may run, or the message in place of its result."""
        tool_call, messages = request.tool_call, _read_messages(request.state)
        place = find_call(messages, tool_call)
        if place is None:
            return make_blocked_message(tool_call, "blocked", "no message of the model has this call")
        index, position = place
        if reason := find_conflict(messages, index, tool_call):
            return make_blocked_message(tool_call, "blocked", reason)
        verdict = _read_verdicts(request.state).get(str(messages[index].id), {}).get(str(position))
        if verdict is None:
            return make_blocked_message(tool_call, "blocked", "there is no verdict on it")
        call = replace(freeze_calls([tool_call])[0], position=position)
        if call.digest != verdict["digest"]:
            return self._judge_again(request, call, messages[:index])
        if verdict["runs"]:
            return call
        return make_blocked_message(tool_call, verdict["outcome"], verdict["reason"])

    def _judge_again(
        self, request: ToolCallRequest, call: ToolCall, before: Sequence[BaseMessage]
    ) -> ToolCall | ToolMessage:
        """Judge a call that was changed since its verdict; nobody can be asked now, so a review blocks it."""
        if request.tool is not None:
            self._learn_tools([request.tool])
        (decision,) = self.pipeline([call], self._make_context(before))
        if decision.executable is not None:
            return decision.executable
        outcome = "blocked" if decision.outcome == "review" else decision.outcome
        return make_blocked_message(request.tool_call, outcome, decision.reason)

    def _make_context(self, messages: Sequence[BaseMessage]) -> CallContext:
        return make_context(messages, self._schemas, self._descriptions, self.pipeline.policy)


def with_guard(
    middleware: Iterable[AgentMiddleware[Any, Any, Any]], guard: ToolCallSafetyMiddleware
) -> list[AgentMiddleware[Any, Any, Any]]:
    """Return the middlewares with the guard as the last one, where it sees each call as it will run.

    A middleware behind the guard could rewrite a call in `wrap_tool_call` after it was judged.

    Args:
        middleware: all others, in their order; the guard may be among them, at any place.
        guard: to be the last.

    Examples:
        >>> agent = create_agent(model, tools, middleware=with_guard([retry], guard))  # doctest: +SKIP
    """
    return [*(each for each in middleware if each is not guard), guard]


def _make_verdict(decision: Decision) -> dict[str, Any]:
    """Return what the agent's state keeps of a decision."""
    return {
        "digest": (decision.executable or decision.requested).digest,
        "runs": decision.is_allowed,
        "outcome": decision.outcome,
        "reason": decision.reason,
    }


def _with_call(request: ToolCallRequest, call: ToolCall) -> ToolCallRequest:
    """Return the request with its own copy of the arguments, which no holder of the old one can change."""
    return request.override(tool_call={**request.tool_call, "args": call.arguments})


def _read_messages(state: object) -> list[BaseMessage]:
    """Return the messages of a state, which may be a list, a dict or a pydantic model."""
    if isinstance(state, list):
        return state
    messages = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", None)
    return list(messages or [])


def _read_verdicts(state: object) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Return the verdicts of a state by message id; none where there are none."""
    verdicts = state.get("sea_verdicts") if isinstance(state, dict) else getattr(state, "sea_verdicts", None)
    return verdicts or {}


def _runs_at_provider(tool: object) -> bool:
    """Return whether the model's provider runs the tool, where nothing here can stop it."""
    return isinstance(tool, dict) and tool.get("type") != "function" and "parameters" not in tool
