"""`ToolCallSafetyMiddleware`: checks every tool call of an agent before it runs.

Calls are checked twice. After the model's answer, the whole batch is judged, and a human is asked about what is in
doubt. When a call is about to run, it must have the position, name and arguments of a judged one, and the tool that
runs must be the one that was judged. A call that was changed since then is judged again.

The second check sees a call as it reaches this middleware. A middleware behind it in the list runs later, between this
check and the tool, and a call that it rewrites is not judged again. So this middleware must be the last in the list:
`with_guard` puts it there.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import interrupt

from langchain_sea.middleware.opening import GuardOpening, SafetyState, get_given_prompt, note_inputs
from langchain_sea.middleware.run import (
    can_interrupt,
    get_shared_run,
    get_thread,
    is_subagent,
    read_messages,
    supervisor,
    with_call,
    with_update,
)
from langchain_sea.safety.conversation.context import CallContext
from langchain_sea.safety.conversation.prompts import split_prompt
from langchain_sea.safety.conversation.reading import follow_removals, list_added_texts, read_conversation
from langchain_sea.safety.conversation.thread_state import ThreadRecord
from langchain_sea.safety.messages import (
    apply_decisions,
    find_call,
    find_conflict,
    find_newest_answer,
    make_blocked_message,
    read_calls,
    read_executable,
    read_open_calls,
)
from langchain_sea.safety.questions import require_plain_function, resolve_questions
from langchain_sea.safety.tool_call import ToolCall, freeze_calls
from langchain_sea.safety.tools.tool_catalogue import ToolCatalogue
from langchain_sea.safety.verdicts import JudgedBatch, SharedBatches, VerdictStore
from langchain_sea.tool_guard import make_guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain.agents.middleware import ExtendedModelResponse
    from langchain.agents.middleware.types import ModelRequest, ModelResponse
    from langchain_core.messages import BaseMessage
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.policy import GuardConfig

__all__ = ["ToolCallSafetyMiddleware"]


class ToolCallSafetyMiddleware(AgentMiddleware[Any, Any, Any]):
    """Judges every batch of calls, asks a human about doubts, and runs no call without a verdict.

    It must be the last in the agent's list of middlewares: see `with_guard`. A human is asked by an interrupt in the
    format of `HumanInTheLoopMiddleware`, which needs a checkpointer; without one, the policy says what a question
    becomes.

    Examples:
        >>> agent = create_agent(model, tools, middleware=[ToolCallSafetyMiddleware()])  # doctest: +SKIP
    """

    state_schema = SafetyState

    def __init__(
        self,
        policy: GuardConfig | None = None,
        *,
        agent_tools: Sequence[Any] | None = None,
        on_question: Callable[[dict[str, Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        """Build the pipeline of checks.

        Args:
            policy: the rules of the tools; None takes each tool's effect from its annotations and its name.
            agent_tools: the agent's tools. None learns them from what the model gets.
            on_question: asks a human, and is called in place of an interrupt: `HITLRequest` → `HITLResponse`.
            options: as for `langchain_sea.tool_guard.make_guard`.

        Raises:
            PolicyError: the policy names a check, a tool or an argument that does not exist.
            TypeError: `on_question` is async.
        """
        super().__init__()
        self.pipeline = make_guard(policy, **options)
        require_plain_function(on_question)
        self._on_question = on_question
        self._verdicts, self._shared = VerdictStore(), SharedBatches()
        self._catalogue = ToolCatalogue(self.pipeline.policy)
        self._has_opening = False
        if agent_tools:
            self._catalogue.learn(agent_tools)

    def make_opening(self) -> GuardOpening:
        """Return the part that stands first in the agent's list; `with_guard` puts it there."""
        self._has_opening = True
        return GuardOpening(self._catalogue)

    def before_agent(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Note which messages the caller passed in, where no opening did."""
        del runtime
        return None if self._has_opening else note_inputs(state)

    async def abefore_agent(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Note which messages the caller passed in, where no opening did."""
        return self.before_agent(state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Learn the tools and the operator's words that the model gets."""
        return with_update(handler(request), self._learn(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Learn the tools and the operator's words that the model gets."""
        update = await asyncio.to_thread(self._learn, request)
        return with_update(await handler(request), update)

    def after_model(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Judge the whole batch before any of it runs, and ask a human about doubts."""
        del runtime
        batch = self._judge_newest(state)
        return None if batch is None else self._settle(state, *batch)

    async def aafter_model(self, state: object, runtime: object) -> dict[str, Any] | None:
        """Judge the whole batch before any of it runs, in a thread beside the event loop."""
        return await asyncio.to_thread(self.after_model, state, runtime)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the call if it was judged and allowed; else return a message with the reason."""
        call, context = self._find_executable(request)
        if not isinstance(call, ToolCall):
            return call
        token = supervisor.set(context)
        try:
            return handler(with_call(request, call))
        finally:
            supervisor.reset(token)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Run the call if it was judged and allowed; else return a message with the reason."""
        call, context = await asyncio.to_thread(self._find_executable, request)
        if not isinstance(call, ToolCall):
            return call
        token = supervisor.set(context)
        try:
            return await handler(with_call(request, call))
        finally:
            supervisor.reset(token)

    def _learn(self, request: ModelRequest[Any]) -> dict[str, Any]:
        """Learn the tools of a request, and what the model reads; return what changes in the thread's record."""
        names = self._catalogue.learn(request.tools, is_complete=True)
        before, messages = ThreadRecord.read(request.state), read_messages(request.state)
        prompt = split_prompt(get_given_prompt(), str(request.system_message.text) if request.system_message else "")
        retrieved = [prompt.documents, *list_added_texts(request.messages, messages)]
        inputs, user = follow_removals(messages, before.inputs, before.user)
        after = replace(before, inputs=inputs, user=user).note_tools(self._catalogue.describe(names))
        after = after.note_prompt(prompt.operator, prompt.added, [text for text in retrieved if text.strip()])
        # the results may be gone before the next call
        return after.note_context(self._make_context(messages, after)).list_changes(before)

    def _judge_newest(self, state: object) -> tuple[AIMessage, JudgedBatch] | None:
        """Judge the calls of the newest message that have no result yet; None where there are none."""
        messages = read_messages(state)
        index = find_newest_answer(messages)
        message = None if index is None else messages[index]
        if index is None or not isinstance(message, AIMessage) or not (calls := read_open_calls(messages, index)):
            return None
        thread, name = get_thread(), str(message.id)
        if (batch := self._verdicts.get(thread, name, calls)) and not batch.is_final:
            return message, batch  # the node runs again after a human has answered: what was shown is what runs
        batch = self._judge(calls, self._make_context(messages[:index], ThreadRecord.read(state)))
        return message, self._verdicts.put(thread, name, batch)

    def _judge(self, calls: Sequence[ToolCall], context: CallContext) -> JudgedBatch:
        decisions, hashes = self.pipeline.judge(calls, context), dict(self._catalogue.hashes)
        return JudgedBatch(tuple(call.digest for call in calls), decisions, context, tools=hashes)

    def _judge_together(
        self, request: ToolCallRequest, calls: Sequence[ToolCall], before: Sequence[BaseMessage]
    ) -> JudgedBatch:
        """Judge all calls of a message that are about to run side by side, and ask once about them."""
        self._catalogue.learn_new(getattr(request.runtime, "tools", []))
        batch = self._judge(calls, self._make_context(before, ThreadRecord.read(request.state)))
        batch.decisions, _ = self._resolve(batch.decisions, batch.context)
        batch.is_final = True
        return batch

    def _settle(self, state: object, message: AIMessage, batch: JudgedBatch) -> dict[str, Any] | None:
        """Return the state's update, after humans have answered and all decisions are recorded."""
        context, record = batch.context, ThreadRecord.read(state)
        if not batch.is_final:
            batch.decisions, approved = self._resolve(batch.decisions, context)
            batch.is_final = True
            record = record.approve(approved)
        changes = record.note_context(context).list_changes(ThreadRecord.read(state))
        update: dict[str, Any] = {"sea_guard": changes} if changes else {}
        new_message = apply_decisions(message, batch.decisions)
        if new_message.tool_calls != message.tool_calls:
            update["messages"] = [new_message]
            digests = {call.position: call.digest for call in read_calls(new_message)}
            own = [
                digests.get(d.requested.position, old) for d, old in zip(batch.decisions, batch.digests, strict=True)
            ]
            self._verdicts.put(get_thread(), str(message.id), replace(batch, digests=tuple(own)))
        return update or None

    def _resolve(
        self, decisions: Sequence[Decision], context: CallContext
    ) -> tuple[list[Decision], list[tuple[str, str]]]:
        """Ask a human where one can be asked, and record; an interrupt is asked again until its answer can be read."""
        if self._on_question is not None:
            return resolve_questions(self.pipeline, decisions, context, self._on_question)
        ask = interrupt if can_interrupt() else None
        return resolve_questions(self.pipeline, decisions, context, ask, asks_again=True)

    def _find_executable(self, request: ToolCallRequest) -> tuple[ToolCall | ToolMessage, CallContext | None]:
        """Return the call that may run with its conversation, or the message in place of its result."""
        tool_call, messages, thread = request.tool_call, read_messages(request.state), get_thread()
        place = find_call(messages, tool_call)
        if reason := self._find_obstacle(request, messages, place):
            return make_blocked_message(tool_call, "blocked", reason), None
        index, position = place or (0, 0)
        batch = self._verdicts.get(thread, str(messages[index].id))
        if batch is None and (run := get_shared_run()) is not None:
            calls = read_open_calls(messages, index)
            batch = self._shared.share(run, calls, lambda: self._judge_together(request, calls, messages[:index]))
        call = replace(freeze_calls([tool_call])[0], position=position)
        row = None if batch is None else batch.find_row(position)
        if batch is None or not batch.is_final or row is None:
            earlier = {str(message.id) for message in messages[:index]}
            known = self._verdicts.newest(thread, earlier) if thread else None
            context = known.context if known else self._make_context(messages[:index], ThreadRecord.read(request.state))
            return self._judge_again(tool_call, call, context), context
        decision = batch.decisions[row]
        if call.digest not in (batch.digests[row], decision.executable and decision.executable.digest):
            return self._judge_again(tool_call, call, batch.context), batch.context
        return read_executable(decision, tool_call), batch.context

    def _find_obstacle(
        self, request: ToolCallRequest, messages: Sequence[BaseMessage], place: tuple[int, int] | None
    ) -> str | None:
        """Return why a call must not run whatever its verdict is."""
        if request.tool is not None and (reason := self._catalogue.find_swap(request.tool_call["name"], request.tool)):
            return reason
        if place is None:
            return "no message of the model has this call"
        return find_conflict(messages, place[0], request.tool_call)

    def _judge_again(
        self, tool_call: Mapping[str, Any], call: ToolCall, context: CallContext
    ) -> ToolCall | ToolMessage:
        """Judge a call that has no verdict, or that was changed since its verdict."""
        context = replace(context, **self._catalogue.as_fields({}))
        (decision,), _ = self._resolve(self.pipeline.judge([call], context), context)
        return read_executable(decision, tool_call)

    def _make_context(self, messages: Sequence[BaseMessage], record: ThreadRecord) -> CallContext:
        """Build the context of calls; within a tool of another agent, that agent's trusted texts come first."""
        caller, known = supervisor.get(), self._catalogue.as_fields(record.tools)
        read = read_conversation(messages, inputs=record.inputs, user=record.user, is_handed_over=is_subagent())
        before = record.list_words(read)
        earlier = [str(message.id) for message in messages if isinstance(message, AIMessage)]
        changed = self._verdicts.list_changed(get_thread(), earlier, self._catalogue.hashes)
        if caller is not None:
            before = [*(m for m in caller.messages if m.role in ("system", "user", "approval")), *before]
        return CallContext(
            messages=(*before, *read),
            policy=self.pipeline.policy,
            **known,
            has_read_untrusted=record.has_read_untrusted or (caller is not None and caller.is_tainted),
            changed_tools=frozenset((*record.changed_tools, *changed)),
        )
