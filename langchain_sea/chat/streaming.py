"""Answers that leave window by window, each as soon as it stands and the gate lets it.

Every window begins behind text that has left: the best beginning of the next one is chosen among the chains'
and the policy's own, and stands. Knows neither chains nor energy.
"""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from typing import TYPE_CHECKING

from langchain_core.runnables.config import run_in_executor

from langchain_sea.chat.gated_answer import gated
from langchain_sea.chat.generate import apply_gate, executor, prepare_call
from langchain_sea.chat.responses import chunks_of, words_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

    from langchain_sea.chat.generate import PreparedCall
    from langchain_sea.chat.options import CallOptions
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.core.trace import TraceStep

__all__ = ["astream_windows", "by_windows", "stream_windows"]


def by_windows(model: SEAChatModel, ask: CallOptions) -> bool:
    """Whether the answer is words, of more than one window."""
    search_config = ask.preset.search_config
    several = (
        search_config.block_size is not None
        and ask.budget.max_new_tokens > search_config.continuation.stride + search_config.block_size
    )
    return several and ask.free and model.draft_model is None


class StreamState:
    """What of one answer has left."""

    def __init__(self, model: SEAChatModel, asked: PreparedCall) -> None:
        """Nothing yet."""
        from langchain_sea.rewards import registry  # noqa: PLC0415 - as in `_calls`

        self._asked, self._stop = asked, asked.ask.stop
        self._gate = registry.load_gate(model.gate)
        self._threshold = model.gate_threshold
        self._held = max(map(len, self._stop), default=1) - 1
        self.sent = ""

    def more(self, ids: list[int]) -> str:
        """The words that may leave now: none that may begin a stop string, or that the gate blocks."""
        text = self._asked.policy.decode(ids).rstrip("\ufffd")  # a character whose bytes are not all there
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text[: len(text) - self._held]
        text = text[: len(text.rstrip())]
        if not text.startswith(self.sent) or text.lstrip().startswith("<think>") or not self._passes(text):
            return ""
        new, self.sent = text[len(self.sent) :], text
        return new

    def _passes(self, text: str) -> bool:
        if self._gate is None:
            return True
        try:
            (score,), least = gated(self._gate, self._threshold, self._asked.lists[0], [text])
        except Exception:  # noqa: BLE001 - a gate that fails blocks; the whole answer's verdict says why
            return False
        return score >= least


def stream_windows(
    model: SEAChatModel, messages: list[BaseMessage], ask: CallOptions, watch: Callable[[TraceStep], None]
) -> Iterator[ChatGenerationChunk]:
    """The chunks of one answer; whoever stops listening ends its refinement."""
    asked = prepare_call(model, [messages], ask, watch)
    leaving, news = StreamState(model, asked), SimpleQueue[list[int] | None]()
    (run,) = asked.runs
    run.commit = news.put
    leave = asked.queue.begin(asked.runs, lambda: news.put(None))
    try:
        while (ids := news.get()) is not None:
            yield from words_of(leaving.more(ids))
    finally:
        leave("closed")
    ((answer,),) = apply_gate(model, asked, [run.result()])
    yield from chunks_of(model, answer, ask, sent=leaving.sent)


async def astream_windows(
    model: SEAChatModel, messages: list[BaseMessage], ask: CallOptions, watch: Callable[[TraceStep], None]
) -> AsyncIterator[ChatGenerationChunk]:
    """The same, the event loop free meanwhile."""
    loop, news = asyncio.get_running_loop(), asyncio.Queue[list[int] | None]()
    asked = await run_in_executor(executor(), prepare_call, model, [messages], ask, watch)
    leaving = StreamState(model, asked)
    (run,) = asked.runs

    def tell(ids: list[int] | None) -> None:
        loop.call_soon_threadsafe(news.put_nowait, ids)

    run.commit = tell
    leave = asked.queue.begin(asked.runs, lambda: tell(None))
    try:
        while (ids := await news.get()) is not None:
            for chunk in words_of(await run_in_executor(executor(), leaving.more, ids)):
                yield chunk
    finally:
        leave("cancelled")
    ((answer,),) = await run_in_executor(executor(), apply_gate, model, asked, [run.result()])
    for chunk in chunks_of(model, answer, ask, sent=leaving.sent):
        yield chunk
