"""OpenAI's chat completions: the request as pydantic models, and LangChain's messages as choices, deltas and usage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

__all__ = ["ChatRequest", "SeaOptions", "StreamOptions", "make_deltas", "make_message", "make_usage"]


def _drop_nulls(values: object) -> object:
    """Return a dict without the keys that are null, since null means that nothing is given."""
    return {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values


class SeaOptions(BaseModel):
    """What a request chooses of the server's own lists, by name."""

    model_config = ConfigDict(extra="forbid")
    reward: str | None = Field(default=None, max_length=100)
    preset: str | None = Field(default=None, max_length=100)
    budget: str | None = Field(default=None, max_length=100)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False

    drop_nulls = model_validator(mode="before")(_drop_nulls)


class ChatRequest(BaseModel):
    """OpenAI's request, as far as this server supports it; other keys are errors unless they are null."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=1, le=1, description="only 1: nothing is cut off")
    top_k: Literal[0, -1] | None = Field(default=None, description="only 0 or -1: nothing is cut off")
    min_p: float | None = Field(default=None, ge=0, le=0, description="only 0: nothing is cut off")
    typical_p: float | None = Field(default=None, ge=1, le=1, description="only 1: nothing is cut off")
    repetition_penalty: float | None = Field(default=None, ge=1, le=1, description="only 1: no penalty")
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0, description="only none")
    modalities: list[Literal["text"]] | None = None
    sea: SeaOptions | None = None
    user: str | None = Field(default=None, max_length=1000, description="accepted, without effect")
    metadata: dict[str, str] | None = Field(default=None, description="accepted, without effect")
    store: bool | None = Field(default=None, description="accepted, without effect")
    extra_body: dict[str, Any] | None = Field(
        default=None, max_length=0, description="only empty, as some clients send it: OpenAI's adds its keys themselves"
    )

    drop_nulls = model_validator(mode="before")(_drop_nulls)

    @property
    def token_limit(self) -> int | None:
        """`max_completion_tokens`, or its older name."""
        return self.max_completion_tokens or self.max_tokens


def make_message(reply: AIMessage) -> dict[str, Any]:
    """Return a LangChain message as the message of a choice."""
    text = str(reply.text)
    refusal = text if _is_refused(reply) else None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refusal or (reply.tool_calls and not text) else text,
        "refusal": refusal,
    }
    calls = [_make_call(c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"]) for c in reply.tool_calls]
    calls += [_make_call(c["name"] or "", c["args"] or "", c["id"]) for c in reply.invalid_tool_calls]
    if calls:
        message["tool_calls"] = calls
    if reasoning := reply.additional_kwargs.get("reasoning_content"):
        message["reasoning_content"] = reasoning
    return message


def make_deltas(chunk: AIMessageChunk) -> list[dict[str, Any]]:
    """Return a chunk of a stream as deltas: its reasoning, its text or refusal, and one delta for each tool call."""
    thought = chunk.additional_kwargs.get("reasoning_content")
    deltas: list[dict[str, Any]] = [{"reasoning_content": thought}] if thought else []
    if text := str(chunk.text):
        deltas.append({"refusal": text.strip()} if _is_refused(chunk) else {"content": text})
    for part in chunk.tool_call_chunks:
        call = _make_call(part["name"], part["args"], part["id"])
        deltas.append({"tool_calls": [{"index": part["index"], **call}]})
    return deltas


def make_usage(usages: Sequence[UsageMetadata]) -> dict[str, int]:
    """Return the tokens of one request's answers; the prompt counts once, whatever `n` is."""
    prompt = usages[0]["input_tokens"] if usages else 0
    completion = sum(usage["output_tokens"] for usage in usages)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _is_refused(reply: AIMessage) -> bool:
    return reply.response_metadata.get("finish_reason") == "content_filter"


def _make_call(name: str | None, arguments: str | None, call_id: str | None) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
