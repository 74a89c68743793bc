"""Prometheus metrics of one replica; Prometheus adds up those of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["Metrics"]


class Metrics:
    """Counters in a registry of their own, so that two applications in one process are counted apart."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests_in_progress = Gauge("sea_requests_under_way", "requests being answered", registry=registry)
        self.seconds = Histogram("sea_request_seconds", "from admission to the end of the response", registry=registry)
        self._answers = Counter("sea_answers", "answers returned", ["accepted", "finish_reason"], registry=registry)
        self._failures = Counter("sea_failures", "requests that were refused or failed", ["status"], registry=registry)
        self._tokens = Counter("sea_tokens", "tokens of prompts and answers", ["kind"], registry=registry)
        self._steps = Counter("sea_steps", "steps of refinement", registry=registry)
        self._gain = Counter("sea_gain", "score of answers minus their drafts'", registry=registry)
        self._refining = Counter("sea_refining_seconds", "seconds of refinement", registry=registry)

    def count_answer(self, reply: AIMessage) -> None:
        """Count one answer with its tokens, steps and gain."""
        sea, usage = reply.response_metadata["sea"], reply.usage_metadata
        reason = reply.response_metadata["finish_reason"]
        self._answers.labels(accepted=str(sea["accepted"]).lower(), finish_reason=reason).inc()
        self._steps.inc(sea["steps"])
        self._refining.inc(sea["seconds"])
        if sea["score_before"] is not None:
            self._gain.inc(max(0.0, sea["score_after"] - sea["score_before"]))
        if usage:
            self._tokens.labels(kind="prompt").inc(usage["input_tokens"])
            self._tokens.labels(kind="answer").inc(usage["output_tokens"])

    def count_failure(self, status: int) -> None:
        """Count one request that was refused or failed."""
        self._failures.labels(status=str(status)).inc()

    def to_text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
