"""LangChain's messages as OpenAI's choices, deltas and usage. Knows no server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage

__all__ = ["deltas_of", "message_of", "usage_of"]


def message_of(reply: AIMessage) -> dict[str, Any]:
    """OpenAI's, from LangChain's."""
    text, refusal = _texts(reply)
    found: dict[str, Any] = {
        "role": "assistant",
        "content": None if refusal or (reply.tool_calls and not text) else text,
        "refusal": refusal,
    }
    calls = [(c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"]) for c in reply.tool_calls]
    calls += [(c["name"] or "", c["args"] or "", c["id"]) for c in reply.invalid_tool_calls]
    if calls:
        found["tool_calls"] = [_call(*call) for call in calls]
    if thought := reply.additional_kwargs.get("reasoning_content"):
        found["reasoning_content"] = thought
    return found


def _texts(reply: AIMessage) -> tuple[str, str | None]:
    """Words, and a refusal's."""
    refused = reply.response_metadata.get("finish_reason") == "content_filter"
    return str(reply.text), str(reply.text) if refused else None


def _call(name: str, arguments: str, call_id: str | None) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def deltas_of(chunk: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - LangChain's chunk
    found: list[dict[str, Any]]
    if isinstance(chunk.content, str):
        found = [{"content": chunk.content}] if chunk.content else []
    else:
        found = [{"refusal": block["refusal"]} for block in chunk.content if block.get("type") == "refusal"]
    for part in chunk.tool_call_chunks:
        call = _call(part["name"], part["args"], part["id"])
        found.append({"tool_calls": [{"index": part["index"], **call}]})
    return found


def usage_of(usages: Sequence[Any]) -> dict[str, int]:
    sums = {name: sum(usage[name] for usage in usages) for name in ("input_tokens", "output_tokens")}
    read = usages[0]["input_tokens"] if usages else 0  # the prompt is read once, whatever n
    return {
        "prompt_tokens": read,
        "completion_tokens": sums["output_tokens"],
        "total_tokens": read + sums["output_tokens"],
    }
