"""Questions to a human about calls, in the format of LangChain's human-in-the-loop middleware, and their answers.

A question is a `HITLRequest`: `action_requests` and `review_configs`. An answer is a `HITLResponse`, with one decision
for each action: `{"decisions": [{"type": "approve"}, {"type": "reject", "message": "…"}]}`. For short answers in code,
one decision, its type alone, `True` and `False` count for every action of the question. Knows no LangChain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import PolicyError
from langchain_sea.safety.conversation.context import ContextMessage
from langchain_sea.safety.guard import answer_question
from langchain_sea.safety.text.name_patterns import TEXT_NAME
from langchain_sea.safety.text.values import get_field, list_numbers, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.guard import GuardPipeline
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["Answer", "list_endorsed", "make_question", "read_answers", "require_plain_function", "resolve_questions"]

_WORDS = {
    **dict.fromkeys(("approve", "approved", "yes", "y", "ok", "accept", "allow"), "approve"),
    **dict.fromkeys(("reject", "rejected", "no", "n", "deny", "decline"), "reject"),
}
_TYPES = ("approve", "edit", "reject")
_MAX_ENDORSED = 500  # characters of one value


@dataclass(frozen=True, slots=True)
class Answer:
    """What a human decided about one call.

    Attributes:
        type: `approve`, `edit` or `reject`.
        call: the call as edited; None where nothing was.
        message: why it was rejected, for the agent.
    """

    type: str
    call: ToolCall | None = None
    message: str = ""


def require_plain_function(on_question: object) -> None:
    """Refuse a function whose answer would have to be awaited: the guard would read the coroutine as the answer.

    Raises:
        TypeError: it is a coroutine function.
    """
    if iscoroutinefunction(on_question) or iscoroutinefunction(vars(type(on_question)).get("__call__")):
        raise TypeError(
            f"on_question={on_question!r} is async, and the guard does not await it. Pass a plain function, which runs"
            " in a thread beside the event loop, or leave it out and give the agent a checkpointer, so that it is asked"
            " by an interrupt."
        )


def make_question(decisions: Sequence[Decision], error: str = "") -> dict[str, Any]:
    """Build the request about the calls that wait for a human.

    Args:
        decisions: of the calls.
        error: what was wrong with the answer before, where the question is asked again.
    """
    request: dict[str, Any] = {
        "action_requests": [
            {"name": d.requested.name, "args": d.requested.arguments, "description": _describe(d)} for d in decisions
        ],
        "review_configs": [
            {"action_name": name, "allowed_decisions": list(_TYPES)}
            for name in dict.fromkeys(d.requested.name for d in decisions)
        ],
    }
    if len(decisions) == 1:  # for front ends that show one call
        request |= {"arguments": decisions[0].requested.arguments, "reason": decisions[0].reason}
    return request | ({"error": error} if error else {})


def read_answers(answer: object, decisions: Sequence[Decision]) -> list[Answer]:
    """Return what a human answered about each call.

    Raises:
        PolicyError: it is no answer to this question.
    """
    if isinstance(answer, dict) and "decisions" in answer:
        answer = answer["decisions"]
    if isinstance(answer, (list, tuple)):
        if len(answer) != len(decisions):
            raise PolicyError(f"{len(answer)} decisions were given for {len(decisions)} calls; give one for each.")
        return [_read_answer(each, d) for each, d in zip(answer, decisions, strict=True)]
    return [_read_answer(answer, decision) for decision in decisions]


def resolve_questions(
    pipeline: GuardPipeline,
    decisions: Sequence[Decision],
    context: CallContext,
    ask: Callable[[dict[str, Any]], Any] | None,
    *,
    asks_again: bool = False,
) -> tuple[list[Decision], list[tuple[str, str]]]:
    """Ask about the decisions that wait for a human, apply the answers, and record all decisions.

    Args:
        pipeline: judges what a human edited, and records.
        decisions: of one batch.
        context: of its calls.
        ask: question → answer; None where nobody can be asked, and the policy says what a question becomes.
        asks_again: whether an answer that cannot be read leads to another question; else it raises.

    Returns:
        The decisions, and of each call that a human approved, the tool and the values that are thereby endorsed.

    Raises:
        PolicyError: an answer cannot be read.
    """
    waiting = [i for i, d in enumerate(decisions) if d.outcome == "review" and d.executable is None]
    answered, approved = list(decisions), list[tuple[str, str]]()
    if ask is not None and waiting:
        answers = _ask_until_read(ask, [decisions[i] for i in waiting], asks_again=asks_again)
        for row, answer in zip(waiting, answers, strict=True):
            answered[row] = _apply_answer(pipeline, decisions[row], answer, context)
            if (executable := answered[row].executable) is not None:
                approved.append((executable.name, list_endorsed(executable)))
    final = [
        pipeline.settle_unanswered(d, context)
        if d.outcome == "review" and d.executable is None
        else pipeline.record(d, context)
        for d in answered
    ]
    return final, approved


def list_endorsed(call: ToolCall) -> str:
    """Return the values that a human's approval of a call endorses, as text: all but its long texts.

    Whoever approves a mail approves its recipient, and no account that the mail's body quotes.
    """
    arguments = call.arguments
    values = [(path, value) for path, value in list_strings(arguments) if path]
    values += [
        (path, f"{value:g}" if isinstance(value, float) else str(value)) for path, value in list_numbers(arguments)
    ]
    return "\n".join(
        value
        for path, value in values
        if len(value) <= _MAX_ENDORSED and not TEXT_NAME.search(to_snake_case(get_field(path)))
    )


def _ask_until_read(
    ask: Callable[[dict[str, Any]], Any], decisions: Sequence[Decision], *, asks_again: bool
) -> list[Answer]:
    error = ""
    while True:
        answer = ask(make_question(decisions, error))
        try:
            return read_answers(answer, decisions)
        except PolicyError as wrong:
            if not asks_again:
                raise
            error = str(wrong)


def _apply_answer(pipeline: GuardPipeline, decision: Decision, answer: Answer, context: CallContext) -> Decision:
    """Return the decision after one answer; what a human typed is trusted, and still must be of the tool's schema."""
    if answer.type == "reject":
        return answer_question(decision, is_approved=False, reason=answer.message or "a human rejected it")
    if answer.call is None:
        return answer_question(decision, is_approved=True, reason="a human approved it")
    typed = ContextMessage("approval", answer.call.text, answer.call.name)
    (edited,) = pipeline.judge([answer.call], replace(context, messages=(*context.messages, typed)))
    if edited.outcome in ("allowed", "review"):
        return answer_question(replace(edited, requested=answer.call), is_approved=True, reason="a human edited it")
    return edited


def _read_answer(answer: object, decision: Decision) -> Answer:
    if isinstance(answer, bool):
        return Answer("approve" if answer else "reject")
    if isinstance(answer, str) and (word := _WORDS.get(answer.strip().casefold())):
        return Answer(word)
    if isinstance(answer, dict):
        kind = answer.get("type") or ("edit" if "edit" in answer else None)
        if kind == "edit":
            return _read_edit(answer, decision)
        if kind in _TYPES:
            return Answer(str(kind), message=str(answer.get("message") or ""))
    raise PolicyError(
        f"{str(answer)[:80]!r} is no answer; resume with {{'decisions': [{{'type': 'approve'}}]}}, where a type is"
        f" {', '.join(_TYPES)}."
    )


def _read_edit(answer: dict[str, Any], decision: Decision) -> Answer:
    action = answer.get("edited_action") or {"args": answer.get("edit", answer.get("args"))}
    args = action.get("args") if isinstance(action, dict) else None
    if not isinstance(args, dict):
        raise PolicyError(
            "an edit needs the new arguments: {'type': 'edit', 'edited_action': {'name': …, 'args': {…}}}."
        )
    name = str(action.get("name") or decision.requested.name)
    try:
        return Answer("edit", call=replace(decision.requested, name=name).with_arguments(args))
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError(
            f"the arguments of the edit are not JSON: {error}; give texts, finite numbers, lists and objects."
        ) from error


def _describe(decision: Decision) -> str:
    """Write what is asked: the tool, its arguments, and why."""
    call = decision.requested
    shown = json.dumps(call.arguments, ensure_ascii=False, indent=2)
    return f"The agent wants to call {call.name}.\n\nWhy you are asked: {decision.reason}\n\nArguments:\n{shown}"
