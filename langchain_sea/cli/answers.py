"""Answers of the commands: as JSON, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_sea.budget import StopReason
from langchain_sea.plans import find_no_plan_reason

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from langchain_sea.engine.selection import Refinement

__all__ = ["explain_draft", "format_scores", "refinement_to_json", "to_json"]


def refinement_to_json(question: str, refinement: Refinement) -> dict[str, Any]:
    """Return question and best answer so far of a refinement that was interrupted, as one JSON object."""
    names = ("draft", "accepted", "steps", "seconds", "stop_reason", "plan")
    sea = {name: getattr(refinement, name) for name in names}
    return {"question": question, "answer": refinement.text, "sea": sea}


def to_json(question: str, message: AIMessage) -> dict[str, Any]:
    """Return question, answer, usage and metadata as one JSON object."""
    usage = dict(message.usage_metadata or {})
    return {"question": question, "answer": str(message.text), "usage": usage, **message.response_metadata}


def format_scores(sea: dict[str, Any]) -> str:
    """Return one line with the scores of draft and answer, their fluency and the seconds.

    Args:
        sea: of the answer, as in `response_metadata["sea"]`.
    """
    if sea["score_before"] is None:
        return f"no score: {sea['failure']}"
    if not sea["accepted"]:
        values = (f"{name} {value:+.2f}" for name, value in sea["rewards_before"].items())
        return (
            f"score {sea['score_before']:+.2f} ({', '.join(values)}); {sea['nll_before']:.2f} nats per token; "
            f"{sea['seconds']:.1f} s"
        )
    changes = (
        f"{name} {before:+.2f} → {sea['rewards_after'][name]:+.2f}" for name, before in sea["rewards_before"].items()
    )
    fluency = f"{sea['nll_before']:.2f} → {sea['nll_after']:.2f} nats per token (lower is more fluent)"
    score = f"score {sea['score_before']:+.2f} → {sea['score_after']:+.2f}"
    return f"{score} ({', '.join(changes)}); {fluency}; {sea['seconds']:.1f} s"


def explain_draft(sea: dict[str, Any]) -> str:
    """Return why the answer is the draft or a refusal, in words; an empty string if it is neither.

    Args:
        sea: of the answer, as in `response_metadata["sea"]`.
    """
    if sea["accepted"]:
        return ""
    if not (sea.get("gate") or {"passed": True})["passed"]:
        return "a refusal: the gate rejected the refined text and the draft"
    if sea.get("failure"):
        return "the draft is kept: it could not be scored"
    has_plan = find_no_plan_reason(sea.get("plan")) is None
    if sea["stop_reason"] == StopReason.SECONDS and sea["steps"] == 0 and not has_plan:
        return "the draft is kept: there was no time for a search, and no answer written beside it was better"
    if sea["rejected"]:
        return "the draft is kept: what scored better gained too little, or broke a limit on fluency"
    return "the draft is kept: nothing was better by more than the reward's noise"
