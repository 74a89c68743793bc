"""Answers as LangChain's messages: text, calls, chunks. Knows neither policy nor refinement."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as standard
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_sea.chat.tools import CLOSING, OPENING, read_answer
from langchain_sea.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.chat.gated_answer import GatedAnswer
    from langchain_sea.chat.options import CallOptions
    from langchain_sea.chat.tools import ParsedToolCalls
    from langchain_sea.chat_models import SEAChatModel

__all__ = ["chunks_of", "result_of", "words_of"]


_THOUGHT = re.compile(r"^\s*<think>(.*?)(?:</think>|$)", re.DOTALL)
_REFUSAL_BLOCKS = hasattr(standard, "RefusalContentBlock")  # from langchain-core 1.8 on


def result_of(model: SEAChatModel, answers: Sequence[GatedAnswer], ask: CallOptions) -> ChatResult:
    """The whole messages, and in `llm_output` the tokens of all."""
    found = []
    for answer in answers:
        said, thought = _said(answer, ask)
        message = AIMessage(
            content=_content(answer, said),
            tool_calls=list(said.calls),
            invalid_tool_calls=list(said.invalid),
            additional_kwargs=thought,
            usage_metadata=answer.usage(),
            response_metadata=_metadata(model, answer, ask, said),
        )
        found.append(ChatGeneration(message=message))
    usages = [answer.usage() for answer in answers]
    names = ("input_tokens", "output_tokens", "total_tokens")
    total = {name: sum(usage[name] for usage in usages) for name in names}  # type: ignore[literal-required]
    return ChatResult(generations=found, llm_output={"token_usage": total})


def words_of(text: str) -> Iterator[ChatGenerationChunk]:
    """A word a chunk."""
    for word in re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def chunks_of(
    model: SEAChatModel, answer: GatedAnswer, ask: CallOptions, *, sent: str = ""
) -> Iterator[ChatGenerationChunk]:
    """A word a chunk, then the calls, then the numbers, which stand on the last one alone.

    Args:
        model: whose name stands there.
        answer: what leaves.
        ask: what was asked.
        sent: what of the text has left already; where another text leaves now, it follows below.
    """
    said, thought = _said(answer, ask)
    whole = said.content
    yield from words_of(whole.removeprefix(sent) if whole.startswith(sent) else f"\n\n{whole}")
    if (block := _refusal(answer, said)) is not None:
        yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))
    calls = [
        *((c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"]) for c in said.calls),
        *((c["name"], c["args"], c["id"]) for c in said.invalid),
    ]
    for index, (name, args, call_id) in enumerate(calls):
        part = tool_call_chunk(name=name, args=args, id=call_id, index=index)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[part]))
    last = AIMessageChunk(
        content="",
        additional_kwargs=thought,
        usage_metadata=answer.usage(),
        response_metadata=_metadata(model, answer, ask, said),
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)


def _content(answer: GatedAnswer, said: ParsedToolCalls) -> str | list[Any]:
    """Words; a refusal's, for whoever reads text, and the standard block, for whoever looks for one."""
    block = _refusal(answer, said)
    return said.content if block is None else [{"type": "text", "text": said.content}, block]


def _refusal(answer: GatedAnswer, said: ParsedToolCalls) -> dict[str, Any] | None:
    """The standard block where the gate let nothing pass, and core knows one."""
    if not _REFUSAL_BLOCKS or answer.passed:
        return None
    return {"type": "refusal", "refusal": said.content, "extras": {"category": "gate"}}


def _said(answer: GatedAnswer, ask: CallOptions) -> tuple[ParsedToolCalls, dict[str, Any]]:
    """Words and calls of what leaves, and what the policy thought before; a refusal of the gate is words.

    Raises:
        GrammarError: the answer had to be JSON of a schema, and ended before it was whole.
    """
    bounded = (ask.choice.forced or ask.schema is not None) and answer.text == answer.refinement.text
    if bounded and not _whole(answer.text):
        error = GrammarError(
            f"no whole answer of the schema fits into {ask.budget.max_new_tokens} tokens; raise max_tokens. As far "
            f"as it was written: {answer.text!r}"
        )
        error.refinement = answer.refinement
        raise error
    thought = _THOUGHT.match(answer.text)
    text = answer.text[thought.end() :].lstrip() if thought else answer.text
    kwargs = {"reasoning_content": thought[1].strip()} if thought else {}
    return read_answer(text, ask.visible_tools), kwargs


def _whole(text: str) -> bool:
    try:
        json.loads(text.strip().removeprefix(OPENING).removesuffix(CLOSING))
    except ValueError:
        return False
    return True


def _metadata(
    model: SEAChatModel, answer: GatedAnswer, ask: CallOptions, said: ParsedToolCalls
) -> dict[str, Any]:
    reason = answer.finish_reason(ask.budget.max_new_tokens)
    told = {} if answer.logprobs is None else {"logprobs": {"content": answer.logprobs}}
    return told | {
        "model_name": ask.model or model._policy_name,  # noqa: SLF001 - one class in several files
        "model_provider": "sea",
        "finish_reason": "tool_calls" if said.calls and reason != "content_filter" else reason,
        "sea": answer.report() | {"seed": ask.seed, "preset": ask.preset.name},
    }
