"""OpenTelemetry spans of a call, where somebody has configured OpenTelemetry; else nothing happens. Knows no model.

    chat ─┬─ draft    until the chains start
          ├─ refine   their steps
          ├─ score    writing on, and scoring of texts
          └─ gate     what may leave

Names of attributes are the GenAI conventions', and `sea.*`.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea._report import Answer
    from langchain_sea.trace import TraceStep

__all__ = ["Spans"]


class Spans:
    """Of one call; made at its start."""

    def __init__(self, watch: Callable[[TraceStep], None] | None) -> None:
        """Listen to the steps if there is anybody to tell, and let the caller listen as before."""
        self._tracer = _tracer()
        self._watch, self._began = watch, time.time_ns()
        self._first = self._last = self._refined = 0

    @property
    def watch(self) -> Callable[[TraceStep], None] | None:
        """What is called after each step."""
        return self._watch if self._tracer is None else self._seen

    def refined(self) -> None:
        """Refinement is over; the gate comes next."""
        self._refined = time.time_ns()

    def ended(self, model: str, seed: int, answers: Sequence[Answer]) -> None:
        """Tell of the whole call."""
        if self._tracer is None:
            return
        end = time.time_ns()
        refined = self._refined or end
        usages = [answer.usage() for answer in answers]
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "sea",
            "gen_ai.request.model": model,
            "gen_ai.request.seed": seed,
            "gen_ai.usage.input_tokens": sum(u["input_tokens"] for u in usages[:1]),
            "gen_ai.usage.output_tokens": sum(u["output_tokens"] for u in usages),
            "sea.accepted": sum(answer.report()["accepted"] for answer in answers),
            "sea.steps": sum(answer.refinement.steps for answer in answers),
            "sea.gain": sum(_gain(answer) for answer in answers),
            "sea.stop_reason": answers[0].refinement.stop_reason if answers else "",
            "sea.failures": sum(answer.refinement.failure is not None for answer in answers),
        }
        chat = self._tracer.start_span(f"chat {model}", start_time=self._began, attributes=attributes)
        first, last = self._first or refined, self._last or refined
        for name, start, stop in (
            ("draft", self._began, first),
            ("refine", first, last),
            ("score", last, refined),
            ("gate", refined, end),
        ):
            part = self._tracer.start_span(name, context=_under(chat), start_time=start)
            part.end(end_time=max(start, stop))
        chat.end(end_time=end)

    def _seen(self, step: TraceStep) -> None:
        self._last = time.time_ns()
        self._first = self._first or self._last
        if self._watch is not None:
            self._watch(step)


def _gain(answer: Answer) -> float:
    found = answer.refinement
    return 0.0 if found.before is None or found.after is None else found.after.score - found.before.score


def _tracer() -> Any:  # noqa: ANN401 - OpenTelemetry's, which is no dependency
    """One, if a provider was set; a library that nobody configured is not even imported."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider":
        return None
    return trace.get_tracer("langchain_sea")


def _under(span: Any) -> Any:  # noqa: ANN401 - as above
    return sys.modules["opentelemetry.trace"].set_span_in_context(span)
