"""`ToolCallGuard`: the safety layers as a Runnable, for chains without agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

from langchain_sea.safety.guard import RULES_ONLY, GuardPipeline
from langchain_sea.safety.messages import asked_calls, invalid_calls, scene_of, told, tool_schemas
from langchain_sea.safety.policy import GuardConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.checks import Check, Decision
    from langchain_sea.safety.guard import AuditSink, Repairer

__all__ = ["ToolCallGuard", "make_guard"]


class ToolCallGuard(Runnable[Any, AIMessage]):
    """`AIMessage → AIMessage`: calls that may run stay, repaired where they were; the others become invalid ones.

    Example:
        >>> chain = model.bind_tools(tools) | ToolCallGuard(tools)  # doctest: +SKIP
    """

    def __init__(self, tools: Sequence[Any], policy: GuardConfig | None = None, **options: Any) -> None:
        """Hold the layers.

        Args:
            tools: that may be called.
            policy: of the tools; None guards all as tools that write.
            options: as for `make_guard`.
        """
        self.judge = make_guard(policy, **options)
        self.schemas, self.descriptions = tool_schemas(tools)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002, ANN401
        """The message, judged.

        Args:
            input: the message, or the conversation with it at the end, without which nobody can tell where values
                come from.
            config: as for any Runnable.
            kwargs: none.
        """
        return self._call_with_config(self._guarded, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002, ANN401
        """The same beside an event loop."""

        async def guarded(given: Any) -> AIMessage:  # noqa: ANN401 - as `invoke`
            return await run_in_executor(None, self._guarded, given)

        return await self._acall_with_config(guarded, input, config, **kwargs)

    def _guarded(self, given: Any) -> AIMessage:  # noqa: ANN401 - as `invoke`
        before, message = _sides(given)
        scene = scene_of(before, self.schemas, self.descriptions, self.judge.policy)
        decisions = self.judge([*asked_calls(message), *invalid_calls(message)], scene)
        return _judged(message, decisions)


def make_guard(
    policy: GuardConfig | None = None,
    *,
    layers: Sequence[Check] | str = "embedded",
    repairer: Repairer | None = None,
    verifier: Check | str | None = "embedded",
    audit: AuditSink | None = None,
) -> GuardPipeline:
    """All that judges, put together.

    Args:
        policy: of the tools; None guards all as tools that write.
        layers: `embedded` has rules, provenance, and the learned layers on the models that ship; `rules` has no
            model; or your own, in their order.
        repairer: of calls to which there are only objections that ask for it.
        verifier: `embedded` is the second gate that ships; one of your own must be another than any layer.
        audit: where decisions are kept.

    Raises:
        ValueError: unknown names.
    """
    if isinstance(layers, str):
        if layers not in ("embedded", "rules"):
            raise ValueError(f"layers={layers!r} must be 'embedded', 'rules', or layers.")
        found = RULES_ONLY
        if layers == "embedded":
            from langchain_sea.safety.defaults import embedded_layers  # noqa: PLC0415 - imports torch

            found = (*RULES_ONLY, *embedded_layers())
    else:
        found = tuple(layers)
    if isinstance(verifier, str):
        if verifier != "embedded":
            raise ValueError(f"verifier={verifier!r} must be 'embedded', None, or a layer.")
        from langchain_sea.safety import defaults  # noqa: PLC0415 - as above

        verifier = defaults.verifier() if repairer is not None else None
    return GuardPipeline(
        policy=policy or GuardConfig(), layers=found, repairer=repairer, verifier=verifier, audit=audit
    )


def _sides(given: Any) -> tuple[list[BaseMessage], AIMessage]:  # noqa: ANN401 - as `invoke`
    messages = given.get("messages") if isinstance(given, dict) else given
    listed = [messages] if isinstance(messages, BaseMessage) else list(messages or [])
    if not listed or not isinstance(listed[-1], AIMessage):
        raise TypeError(f"{type(given).__name__}: pass an AIMessage, or a conversation that ends with one.")
    return listed[:-1], listed[-1]


def _judged(message: AIMessage, decisions: Sequence[Decision]) -> AIMessage:
    new = told(message, decisions)
    runs = {d.asked.position for d in decisions if d.runs}
    stopped = [d for d in decisions if not d.runs]
    invalid = [
        invalid_tool_call(
            name=d.asked.name, args=d.asked.text, id=d.asked.id, error=f"{d.outcome}: {d.reason}"
        )
        for d in stopped
    ]
    report = [
        {"position": d.asked.position, "name": d.asked.name, "outcome": d.outcome, "reason": d.reason}
        for d in decisions
    ]
    return new.model_copy(
        update={
            "tool_calls": [call for i, call in enumerate(new.tool_calls) if i in runs],
            "invalid_tool_calls": invalid,
            "response_metadata": {**message.response_metadata, "sea_safety": report},
        }
    )
