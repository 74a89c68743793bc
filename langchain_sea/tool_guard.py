"""`ToolCallGuard`: the checks of tool calls as a Runnable, for chains without an agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

from langchain_sea.safety.conversation.reading import make_context
from langchain_sea.safety.guard import RULES_ONLY, GuardPipeline
from langchain_sea.safety.messages import (
    apply_decisions,
    read_calls,
    read_effects,
    read_invalid_calls,
    read_tool_schemas,
    send_stop_event,
)
from langchain_sea.safety.policy import GuardConfig
from langchain_sea.safety.questions import require_plain_function, resolve_questions
from langchain_sea.safety.tools.tool_identity import check_policy_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.checks import Check, Decision
    from langchain_sea.safety.guard import AuditSink, Repairer

__all__ = ["ToolCallGuard", "make_guard"]


class ToolCallGuard(Runnable[Any, AIMessage]):
    """`AIMessage → AIMessage`: keeps the calls that may run, repaired where needed, and makes the others invalid calls.

    Examples:
        >>> chain = model.bind_tools(tools) | ToolCallGuard(tools)  # doctest: +SKIP
    """

    def __init__(
        self,
        tools: Sequence[Any],
        policy: GuardConfig | None = None,
        *,
        on_question: Callable[[dict[str, Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        """Build the pipeline of checks.

        Args:
            tools: that may be called.
            policy: the rules of the tools; None takes each tool's effect from its annotations and its name.
            on_question: asks a human: `HITLRequest` → `HITLResponse`. None leaves questions to the policy's
                `unanswered`.
            options: as for `make_guard`.

        Raises:
            PolicyError: two tools have one name, or the policy names a check, tool or argument that does not exist.
            TypeError: `on_question` is async.
        """
        self.pipeline = make_guard(policy, **options)
        self.schemas, self.descriptions = read_tool_schemas(tools)
        self.effects = read_effects(tools)
        check_policy_names(self.pipeline.policy, self.schemas)
        require_plain_function(on_question)
        self._on_question = on_question

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002 - LangChain's
        """Return the message with its calls checked.

        Args:
            input: the message, or the conversation that ends with it; only a conversation tells where values come
                from.
            config: as for any Runnable.
            kwargs: none.
        """
        return self._call_with_config(self._guard, input, config, **kwargs)

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002 - LangChain's
        """Return the message with its calls checked, in a thread beside the event loop."""

        async def guard(conversation: object) -> AIMessage:
            return await run_in_executor(None, self._guard, conversation)

        return await self._acall_with_config(guard, input, config, **kwargs)

    def _guard(self, conversation: object) -> AIMessage:
        before, message = _split_conversation(conversation)
        policy = self.pipeline.policy
        context = make_context(before, self.schemas, self.descriptions, policy, effects=self.effects)
        calls = [*read_calls(message), *read_invalid_calls(message)]
        decisions, _ = resolve_questions(self.pipeline, self.pipeline.judge(calls, context), context, self._on_question)
        return _remove_blocked(message, decisions)


def make_guard(
    policy: GuardConfig | None = None,
    *,
    checks: Sequence[Check] | str = "rules",
    repairer: Repairer | None = None,
    verifier: Check | str | None = "embedded",
    audit: AuditSink | None = None,
) -> GuardPipeline:
    """Build a pipeline of checks.

    Args:
        policy: the rules of the tools; None takes each tool's effect from its annotations and its name.
        checks: `rules` are all checks without a model; `embedded` adds harm and intent on the models that ship, whose
            doubts ask a human; or your own checks, in their order.
        repairer: of calls to which all objections ask for a repair.
        verifier: checks repaired calls. `embedded` is the second classifier that ships; your own must not be one of
            `checks`.
        audit: where decisions are recorded.

    Raises:
        ValueError: `checks` or `verifier` is an unknown name.
        PolicyError: the policy names a check that does not exist.
    """
    if isinstance(checks, str) and checks not in ("embedded", "rules"):
        raise ValueError(f"checks={checks!r} must be 'embedded', 'rules', or a sequence of checks.")
    if isinstance(verifier, str) and verifier != "embedded":
        raise ValueError(f"verifier={verifier!r} must be 'embedded', None, or a check.")
    if checks == "rules":
        checks = RULES_ONLY
    elif isinstance(checks, str):
        checks = (*RULES_ONLY, *_make_embedded()[0])
    if isinstance(verifier, str):
        verifier = _make_embedded()[1] if repairer is not None else None
    return GuardPipeline(
        policy=policy or GuardConfig(),
        checks=tuple(checks),
        repairer=repairer,
        verifier=verifier,
        audit=audit,
        on_stop=send_stop_event,
    )


def _make_embedded() -> tuple[tuple[Check, ...], Check]:
    """Return the checks and the verifier on the models that ship; their weights are read at the first call."""
    from langchain_sea.safety.defaults import make_embedded_checks, make_verifier  # noqa: PLC0415 - imports torch

    return make_embedded_checks(), make_verifier()


def _split_conversation(conversation: object) -> tuple[list[BaseMessage], AIMessage]:
    """Return the messages before the last one, and the last one.

    Raises:
        TypeError: the last one is not an `AIMessage`.
    """
    value = conversation.get("messages") if isinstance(conversation, dict) else conversation
    if isinstance(value, BaseMessage):
        value = [value]
    messages = list(value) if isinstance(value, Iterable) else []
    if messages and isinstance(messages[-1], AIMessageChunk):  # its pieces would bring a stopped call back
        messages[-1] = message_chunk_to_message(messages[-1])
    if not messages or not isinstance(messages[-1], AIMessage):
        raise TypeError(f"{type(conversation).__name__}: pass an AIMessage, or a conversation that ends with one.")
    return messages[:-1], messages[-1]


def _remove_blocked(message: AIMessage, decisions: Sequence[Decision]) -> AIMessage:
    """Return the message without the calls that may not run, which become invalid calls with the reason."""
    new_message = apply_decisions(message, decisions)
    allowed = {d.requested.position for d in decisions if d.is_allowed}
    invalid = [
        invalid_tool_call(
            name=d.requested.name, args=d.requested.text, id=d.requested.id, error=f"{d.outcome}: {d.reason}"
        )
        for d in decisions
        if not d.is_allowed
    ]
    report = [
        {"position": d.requested.position, "name": d.requested.name, "outcome": d.outcome, "reason": d.reason}
        for d in decisions
    ]
    return new_message.model_copy(
        update={
            "tool_calls": [call for i, call in enumerate(new_message.tool_calls) if i in allowed],
            "invalid_tool_calls": invalid,
            "response_metadata": {**message.response_metadata, "sea_safety": report},
        }
    )
