"""Questions to a human about calls, in the format of LangChain's human-in-the-loop middleware, and their answers.

A question is a `HITLRequest`: `action_requests` and `review_configs`. An answer is a `HITLResponse`, with one decision
for each action: `{"decisions": [{"type": "approve"}, {"type": "reject", "message": "…"}]}`. For short answers in code,
one decision, its type alone, `True` and `False` count for every action of the question. Knows no LangChain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["Answer", "make_question", "read_answers"]

_WORDS = {
    **dict.fromkeys(("approve", "approved", "yes", "y", "ok", "accept", "allow"), "approve"),
    **dict.fromkeys(("reject", "rejected", "no", "n", "deny", "decline"), "reject"),
}
_TYPES = ("approve", "edit", "reject")


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
    name, args = action.get("name", decision.requested.name), action.get("args")
    if not isinstance(args, dict):
        raise PolicyError("an edit needs the new arguments: {'type': 'edit', 'edited_action': {'name': …, 'args': {…}}}.")
    return Answer("edit", call=replace(decision.requested, name=str(name)).with_arguments(args))


def _describe(decision: Decision) -> str:
    """Write what is asked: the tool, its arguments, and why."""
    call = decision.requested
    shown = json.dumps(call.arguments, ensure_ascii=False, indent=2)
    return f"The agent wants to call {call.name}.\n\nWhy you are asked: {decision.reason}\n\nArguments:\n{shown}"
