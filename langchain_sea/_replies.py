"""Answers as LangChain's messages: text, calls, chunks. Knows neither policy nor refinement."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_sea._tools import CLOSING, OPENING, read_answer
from langchain_sea.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea._calls import Ask
    from langchain_sea._report import Answer
    from langchain_sea._tools import Calls
    from langchain_sea.chat_models import SEAChatModel

__all__ = ["chunks_of", "result_of"]


def result_of(model: SEAChatModel, answer: Answer, ask: Ask) -> ChatResult:
    """The whole message."""
    said = _said(answer, ask)
    message = AIMessage(
        content=said.content,
        tool_calls=list(said.calls),
        invalid_tool_calls=list(said.invalid),
        usage_metadata=answer.usage(),
        response_metadata=_metadata(model, answer, ask, said),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def chunks_of(model: SEAChatModel, answer: Answer, ask: Ask) -> Iterator[ChatGenerationChunk]:
    """A word a chunk, then the calls, then the numbers, which stand on the last one alone."""
    said = _said(answer, ask)
    for word in re.findall(r"\s*\S+\s*$|\s*\S+", said.content):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    whole = [
        *((c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"]) for c in said.calls),
        *((c["name"], c["args"], c["id"]) for c in said.invalid),
    ]
    for index, (name, args, call_id) in enumerate(whole):
        part = tool_call_chunk(name=name, args=args, id=call_id, index=index)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[part]))
    last = AIMessageChunk(
        content="",
        usage_metadata=answer.usage(),
        response_metadata=_metadata(model, answer, ask, said),
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)


def _said(answer: Answer, ask: Ask) -> Calls:
    """Words and calls of what leaves; a refusal of the gate is words.

    Raises:
        GrammarError: the answer had to be JSON of a schema, and ended before it was whole.
    """
    bounded = (ask.choice.forced or ask.schema is not None) and answer.text == answer.refinement.text
    if bounded and not _whole(answer.text):
        error = GrammarError(
            f"no whole answer of the schema fits into {ask.budget.tokens} tokens; raise max_tokens. As far "
            f"as it was written: {answer.text!r}"
        )
        error.refinement = answer.refinement
        raise error
    return read_answer(answer.text, ask.tool_dicts)


def _whole(text: str) -> bool:
    try:
        json.loads(text.strip().removeprefix(OPENING).removesuffix(CLOSING))
    except ValueError:
        return False
    return True


def _metadata(model: SEAChatModel, answer: Answer, ask: Ask, said: Calls) -> dict[str, Any]:
    reason = answer.finish_reason(ask.budget.tokens)
    return {
        "model_name": ask.model or model._policy_name,  # noqa: SLF001 - one class in several files
        "model_provider": "sea",
        "finish_reason": "tool_calls" if said.calls and reason != "content_filter" else reason,
        "sea": answer.report() | {"seed": ask.seed, "preset": ask.preset.name},
    }
