"""What a server counts, in Prometheus' words. Of one replica; Prometheus adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["Metrics"]


class Metrics:
    """Counters of a registry of their own, so that two applications in one process do not mix."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._registry = registry = CollectorRegistry()
        self.under_way = Gauge("sea_requests_under_way", "requests being answered", registry=registry)
        self.seconds = Histogram(
            "sea_request_seconds", "from admission to the reply's end", registry=registry
        )
        self._answers = Counter(
            "sea_answers", "answers that left", ["accepted", "finish_reason"], registry=registry
        )
        self._failures = Counter(
            "sea_failures", "requests that were refused or failed", ["status"], registry=registry
        )
        self._tokens = Counter("sea_tokens", "tokens of prompts and answers", ["kind"], registry=registry)
        self._steps = Counter("sea_steps", "steps of refinement", registry=registry)
        self._gain = Counter("sea_gain", "score of answers less their drafts'", registry=registry)
        self._refining = Counter("sea_refining_seconds", "seconds of refinement", registry=registry)

    def answered(self, reply: AIMessage) -> None:
        """One answer left."""
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

    def failed(self, status: int) -> None:
        """One request did not get what it asked for."""
        self._failures.labels(status=str(status)).inc()

    def text(self) -> bytes:
        """All of it."""
        return bytes(generate_latest(self._registry))
