"""What leaves for one prompt: the gate's verdict on it, and its numbers as plain JSON. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages.ai import UsageMetadata

from langchain_sea.chat.messages import last_user_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.trace import ScoredText
    from langchain_sea.engine.selection import Refinement

__all__ = ["REFUSAL", "GatedAnswer", "answer_for", "gated"]

REFUSAL = "I can't help with that."


@dataclass(frozen=True, slots=True)
class GatedAnswer:
    """A refinement, the text that may leave, and what is known of it: verdicts, log-probabilities, faults."""

    refinement: Refinement
    text: str
    prompt_tokens: int
    gate: dict[str, Any] | None
    logprobs: list[dict[str, Any]] | None = None
    draft_model_error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether something of the policy's leaves."""
        return self.gate is None or bool(self.gate["passed"])

    def finish_reason(self, longest: int) -> str:
        """`content_filter` where the gate let nothing pass, `length` at the longest answer, else `stop`."""
        if not self.passed:
            return "content_filter"
        return "length" if len(self.refinement.ids) >= longest else "stop"

    def usage(self) -> UsageMetadata:
        """Tokens of prompt and answer, and what drafting and refining read and wrote."""
        found = self.refinement
        details: Any = {"draft": found.draft_tokens, "refine": found.refine_tokens}
        return UsageMetadata(
            input_tokens=self.prompt_tokens,
            output_tokens=len(found.ids),
            total_tokens=self.prompt_tokens + len(found.ids),
            output_token_details=details,
        )

    def report(self) -> dict[str, Any]:
        """The refinement as plain JSON; `accepted` says that the refined text is the one that leaves."""
        found = self.refinement
        return {
            "draft": found.draft,
            "score_before": _number(found.before, "score"),
            "score_after": _number(found.after, "score"),
            "rewards_before": dict(found.before.rewards) if found.before else None,
            "rewards_after": dict(found.after.rewards) if found.after else None,
            "accepted": found.accepted and self.text == found.text,
            "steps": found.steps,
            "seconds": found.seconds,
            "stop_reason": found.stop_reason,
            "nll_before": _number(found.before, "nll"),
            "nll_after": _number(found.after, "nll"),
            "rejected": found.rejected,
            "thresholds_met": None if found.after is None else found.after.met,
            "conflict": found.conflict,
            "evaluations": found.evaluations,
            "failure": None if found.failure is None else str(found.failure),
            "gate": self.gate,
            "draft_model_error": self.draft_model_error,
        }


def gated(
    gate: Callable[..., Any],
    threshold: float | None,
    messages: Sequence[dict[str, Any]],
    texts: Sequence[str],
) -> tuple[list[float], float]:
    """What a gate says of each text as an answer to the last question, and from which value on it may leave."""
    least = getattr(gate, "threshold", 0.5) if threshold is None else threshold
    return [float(score) for score in gate(last_user_text(list(messages)), list(texts))], float(least)


def answer_for(
    refinement: Refinement,
    prompt_tokens: int,
    gate: Callable[..., Any] | None,
    threshold: float | None,
    messages: Sequence[dict[str, Any]],
) -> GatedAnswer:
    """The answer if the gate lets it leave, else the draft, else a refusal; a gate that fails blocks."""
    if gate is None:
        return GatedAnswer(refinement, refinement.text, prompt_tokens, None)
    texts = list(dict.fromkeys([refinement.text, refinement.draft]))
    try:
        scores, threshold = gated(gate, threshold, messages, texts)
    except Exception as error:  # noqa: BLE001 - whatever failed is reported
        verdict: dict[str, Any] = {"passed": False, "scores": [], "error": repr(error)}
        return GatedAnswer(refinement, REFUSAL, prompt_tokens, verdict)
    passing = [text for text, score in zip(texts, scores, strict=False) if score >= threshold]
    verdict = {"passed": bool(passing), "scores": scores, "threshold": threshold}
    return GatedAnswer(refinement, passing[0] if passing else REFUSAL, prompt_tokens, verdict)


def _number(scored: ScoredText | None, name: str) -> float | None:
    return None if scored is None else round(float(getattr(scored, name)), 6)
