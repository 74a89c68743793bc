"""From LangChain's messages to the dicts that chat templates read. Knows neither tokenizer nor model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeGuard

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.chat.errors import ContentError
from langchain_sea.chat.reasoning import split_reasoning
from langchain_sea.models.template_fallbacks import CLOSING, OPENING, merge_turns
from langchain_sea.models.template_markers import THOUGHT_TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import InvalidToolCall

__all__ = ["require_unicode", "to_template_messages"]

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (SystemMessage, "system"),
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (ToolMessage, "tool"),
)
# calls come from `tool_calls`, refusals are added behind the words, and thoughts stay out of a conversation
_SILENT = (
    *("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "refusal"),
    *("reasoning", "thinking", "redacted_thinking", "reasoning_content"),
)


def to_template_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return each message as the dict that chat templates read.

    Consecutive messages of one speaker are joined by an empty line, because many templates reject them.

    Raises:
        ValueError: there is no message, or one has no role.
        ContentError: content is not text, or holds a lone surrogate.
    """
    if not messages:
        raise ValueError("there are no messages to answer; pass at least one.")
    converted = [_to_dict(message) for message in messages]
    require_unicode(converted, "a message")
    return merge_turns(converted)


def require_unicode(value: object, label: str) -> None:
    """Check that all text in a value can be encoded, which tokenizers need.

    Args:
        value: a text, or dicts and lists of texts.
        label: what error messages call it.

    Raises:
        ContentError: it holds a lone surrogate.
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContentError(
            f"{label} holds {text[error.start]!a}, a lone surrogate: that is half of a character, which no tokenizer "
            'reads. Repair the text with text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").'
        ) from None


def _to_dict(message: BaseMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": _role(message), "content": _text(message)}
    if isinstance(message, AIMessage):
        converted["content"] = _without_thought(converted["content"], has_calls=bool(message.tool_calls))
    if isinstance(message, AIMessage) and message.tool_calls:
        converted["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        written = [converted["content"], *map(_write_invalid_call, message.invalid_tool_calls)]
        converted["content"] = "\n".join(filter(None, written))
    if isinstance(message, ToolMessage):
        converted["tool_call_id"] = message.tool_call_id
        if message.status == "error":
            converted["content"] = f"Error: {converted['content']}"
    if message.name:
        converted["name"] = message.name
    return converted


def _without_thought(text: str, *, has_calls: bool) -> str:
    """Return an assistant's words without the thought before them; all of them if there would be nothing else."""
    answer = split_reasoning(text).text
    is_whole = any(closing in text for _, closing in THOUGHT_TAGS)
    return answer if is_whole and (answer or has_calls) else text


def _write_invalid_call(call: InvalidToolCall) -> str:
    """Return a call that cannot be read as the model wrote it, so that it may do better: as words."""
    text = str(call["args"] or "")
    name = call["name"]
    is_whole = name is None or name in text
    return f"{OPENING}{text}{CLOSING}" if is_whole else f"{OPENING}{name}: {text}{CLOSING}"


def _role(message: BaseMessage) -> str:
    for message_class, known_role in _ROLES:
        if isinstance(message, message_class):
            return known_role
    if role := getattr(message, "role", None):  # of a ChatMessage
        return str(role)
    known = ", ".join(message_class.__name__ for message_class, _ in _ROLES)
    raise ValueError(f"{type(message).__name__} has no role in a chat template; use {known} or ChatMessage.")


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    words = "".join(_block_text(block) for block in message.content)
    refusals = [str(block["refusal"]) for block in message.content if _is_refusal(block)]
    # an answer of this package holds a refusal as words as well, for readers of either
    return "".join([words, *(refusal for refusal in refusals if refusal not in words)])


def _is_refusal(block: str | dict[str, Any]) -> TypeGuard[dict[str, Any]]:
    return isinstance(block, dict) and block.get("type") == "refusal" and "refusal" in block


def _block_text(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    if block.get("type") in ("text", "text-plain"):
        return str(block.get("text", ""))
    if block.get("type") in _SILENT:
        return ""
    raise ContentError(
        f"a content block of type {block.get('type')!r} is not text, and this model reads text only: "
        "leave it out or describe it in words."
    )
