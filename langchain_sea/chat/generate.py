"""Run one call of the model: refine, wait, apply the gate; with or without an event loop, whole or streamed."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import run_in_executor

from langchain_sea.budget import StopReason
from langchain_sea.chat.options import require_one_answer
from langchain_sea.chat.reasoning import begins_with_thought
from langchain_sea.chat.responses import gate_texts, to_chunks, word_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from concurrent.futures import Future

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

    from langchain_sea.chat.events import AsyncEvents, Progress
    from langchain_sea.chat.options import CallOptions, ModelConfig
    from langchain_sea.chat.prepare import PreparedCall
    from langchain_sea.chat.responses import GatedAnswer
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = [
    "StreamState",
    "agenerate_answers",
    "astream_answer",
    "generate_answers",
    "is_stepped_here",
    "load_policy",
    "prepare_call",
    "stream_answer",
    "wait_for_calls",
]


def prepare_call(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress | None = None
) -> PreparedCall:
    """Load what the call needs and read its prompt; see `chat.prepare`."""
    from langchain_sea.chat import prepare  # noqa: PLC0415 - imports transformers

    return prepare.prepare_call(config, options, messages, progress)


def load_policy(config: ModelConfig) -> CausalLMPolicy:
    """Load the model, once per process."""
    from langchain_sea.chat import prepare  # noqa: PLC0415 - imports transformers

    return prepare.load_policy(config)


def is_stepped_here(config: ModelConfig) -> bool:
    """Return whether this thread steps the engine of the model, so that it must wait for no other thread."""
    from langchain_sea.chat import prepare  # noqa: PLC0415 - imports transformers

    return prepare.get_engine(prepare.load_policy(config)).is_stepped_here


def wait_for_calls(config: ModelConfig, calls: Sequence[Future[Any]]) -> None:
    """Wait for calls of other threads; see `engine.queue`."""
    from langchain_sea.chat import prepare  # noqa: PLC0415 - imports transformers

    prepare.wait_for_calls(prepare.get_engine(prepare.load_policy(config)), calls)


def generate_answers(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress | None = None
) -> list[GatedAnswer]:
    """Return `options.n` answers, refined together with the requests of all other threads.

    Args:
        config: the model's settings.
        options: the call's.
        messages: the conversation.
        progress: called with the plan and with every step of every answer.
    """
    call = prepare_call(config, options, messages, progress)
    error = None
    if config.draft_model is not None:
        error = call.use_external_draft(_write_draft(config.draft_model, messages))
    return call.apply_gate(call.engine.refine(call.requests), error)


async def agenerate_answers(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress | None = None
) -> list[GatedAnswer]:
    """Do what `generate_answers` does without blocking the event loop; cancelling ends the refinement."""
    call = await run_in_executor(_executor(), prepare_call, config, options, messages, progress)
    error = None
    if config.draft_model is not None:
        error = call.use_external_draft(await _awrite_draft(config.draft_model, messages))
    refinements = await call.engine.arefine(call.requests)
    return await run_in_executor(_executor(), call.apply_gate, refinements, error)


def _write_draft(draft_model: BaseChatModel, messages: Sequence[BaseMessage]) -> AIMessage | Exception:
    try:
        return draft_model.invoke(list(messages))
    except Exception as error:  # noqa: BLE001 - `use_external_draft` raises or reports it
        return error


async def _awrite_draft(draft_model: BaseChatModel, messages: Sequence[BaseMessage]) -> AIMessage | Exception:
    try:
        return await draft_model.ainvoke(list(messages))
    except Exception as error:  # noqa: BLE001 - `use_external_draft` raises or reports it
        return error


def stream_answer(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress
) -> Iterator[ChatGenerationChunk]:
    """Yield the chunks of one answer: each block as soon as it is final, or the whole answer at its end.

    Raises:
        ValueError: the call asks for several answers.
    """
    require_one_answer(options)
    if _is_streamed_in_blocks(config, options):
        yield from _stream_blocks(config, options, messages, progress)
        return
    (answer,) = generate_answers(config, options, messages, progress)
    yield from to_chunks(answer, options, config.model_name)


async def astream_answer(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], events: AsyncEvents
) -> AsyncIterator[ChatGenerationChunk]:
    """Do what `stream_answer` does without blocking the event loop; all events are handled before it ends."""
    require_one_answer(options)
    if _is_streamed_in_blocks(config, options):
        async for chunk in _astream_blocks(config, options, messages, events):
            yield chunk
        await events.wait()
        return
    (answer,) = await agenerate_answers(config, options, messages, events)
    await events.wait()
    for chunk in to_chunks(answer, options, config.model_name):
        yield chunk


def _is_streamed_in_blocks(config: ModelConfig, options: CallOptions) -> bool:
    """Whether the answer is plain text of more than one block, so that finished blocks are streamed early."""
    search = options.preset.search_config
    has_blocks = search.block_size is not None and options.max_tokens > search.continuation.stride + search.block_size
    return has_blocks and options.is_plain_text and config.draft_model is None


class StreamState:
    """What has been streamed of one answer.

    A block that was streamed is final: the next block is chosen among continuations of it.

    Attributes:
        sent: the text so far.
    """

    def __init__(self, call: PreparedCall) -> None:
        """Begin with no text."""
        self._call = call
        self._num_withheld = max(map(len, call.options.stop), default=1) - 1  # a stop string may begin there
        self.sent = ""

    def next_text(self, ids: list[int]) -> str:
        """Return the new text that may be streamed.

        Text is withheld while it may be the beginning of a stop string, where it is reasoning, and where the
        gate rejects it.

        Args:
            ids: the tokens of all finished blocks.
        """
        text = self._call.policy.decode(ids).rstrip("\ufffd")  # a character whose bytes are incomplete
        positions = [at for stop in self._call.options.stop if (at := text.find(stop)) >= 0]
        text = text[: min(positions)] if positions else text[: len(text) - self._num_withheld]
        text = text.rstrip()
        is_thought = self._call.policy.opens_thought(self._call.prompt.ids) or begins_with_thought(text)
        if is_thought or not text.startswith(self.sent) or not self._passes(text):
            return ""
        new_text, self.sent = text[len(self.sent) :], text
        return new_text

    def _passes(self, text: str) -> bool:
        call = self._call
        if call.gate is None:
            return True
        passing, _ = gate_texts(call.gate, call.config.gate_threshold, call.messages, [text])
        return bool(passing)


def _stream_blocks(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress
) -> Iterator[ChatGenerationChunk]:
    """Yield the chunks of one answer, each block as soon as it is final; closing ends the refinement."""
    call = prepare_call(config, options, messages, progress)
    state, blocks = StreamState(call), SimpleQueue[list[int] | None]()
    (request,) = call.requests
    request.commit = blocks.put
    (future,) = call.engine.submit(call.requests)
    future.add_done_callback(lambda _: blocks.put(None))
    try:
        while (ids := blocks.get()) is not None:
            yield from word_chunks(state.next_text(ids))
    finally:
        call.engine.cancel(call.requests, StopReason.CLOSED)
    (answer,) = call.apply_gate([future.result()])
    yield from to_chunks(answer, options, config.model_name, sent=state.sent)


async def _astream_blocks(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress
) -> AsyncIterator[ChatGenerationChunk]:
    """Do what `_stream_blocks` does without blocking the event loop; cancelling ends the refinement."""
    loop, blocks = asyncio.get_running_loop(), asyncio.Queue[list[int] | None]()
    call = await run_in_executor(_executor(), prepare_call, config, options, messages, progress)
    state = StreamState(call)
    (request,) = call.requests

    def put(ids: list[int] | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the caller has gone
            loop.call_soon_threadsafe(blocks.put_nowait, ids)

    request.commit = put
    (future,) = call.engine.submit(call.requests)
    future.add_done_callback(lambda _: put(None))
    try:
        while (ids := await blocks.get()) is not None:
            for chunk in word_chunks(await run_in_executor(_executor(), state.next_text, ids)):
                yield chunk
    finally:
        call.engine.cancel(call.requests, StopReason.CANCELLED)
    (answer,) = await run_in_executor(_executor(), call.apply_gate, [future.result()])
    for chunk in to_chunks(answer, options, config.model_name, sent=state.sent):
        yield chunk


@cache
def _executor() -> ThreadPoolExecutor:
    """Return the threads that read prompts and call gates for event loops: few, as each uses all processors."""
    return ThreadPoolExecutor(4, thread_name_prefix="langchain-sea-calls")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_executor.cache_clear)  # threads do not survive a fork
