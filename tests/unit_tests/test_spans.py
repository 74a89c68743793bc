"""Spans for whoever configured OpenTelemetry, and nothing for anybody else."""

import asyncio
from itertools import pairwise

import pytest

from langchain_sea import Budget, SEAChatModel, _spans

MODEL = SEAChatModel(policy="tiny", seed=4, budget=Budget(steps=2, tokens=12, seconds=None))


@pytest.fixture
def spans(monkeypatch):
    """What was told, by a tracer of a provider of its own."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry comes with the extra `ray`")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(_spans, "_tracer", lambda: provider.get_tracer("langchain_sea"))
    return exporter.get_finished_spans


@pytest.mark.parametrize("beside_a_loop", [False, True])
def test_a_call_is_told_in_four_parts(spans, beside_a_loop):
    question = "What is 14 + 23?"
    message = asyncio.run(MODEL.ainvoke(question)) if beside_a_loop else MODEL.invoke(question)
    found = {span.name: span for span in spans()}
    assert set(found) == {"chat tiny", "draft", "refine", "score", "gate"}
    chat, sea = found["chat tiny"], message.response_metadata["sea"]
    assert chat.attributes["gen_ai.usage.output_tokens"] == message.usage_metadata["output_tokens"]
    assert chat.attributes["gen_ai.request.seed"] == 4
    assert chat.attributes["sea.steps"] == sea["steps"]
    assert chat.attributes["sea.gain"] == pytest.approx(sea["score_after"] - sea["score_before"], abs=1e-5)
    parts = [found[name] for name in ("draft", "refine", "score", "gate")]
    assert all(part.parent.span_id == chat.context.span_id for part in parts)
    assert all(a.end_time == b.start_time for a, b in pairwise(parts))
    assert (parts[0].start_time, parts[-1].end_time) == (chat.start_time, chat.end_time)


def test_nobody_configured_it():
    """Then nothing listens, not even to the steps."""
    assert _spans.Spans(None).watch is None
    assert _spans._tracer() is None
