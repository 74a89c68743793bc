"""From LangChain's messages to the dicts that chat templates read. Knows neither tokenizer nor model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.chat.errors import ContentError
from langchain_sea.models.template_fallbacks import merge_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["to_template_messages"]

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (SystemMessage, "system"),
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (ToolMessage, "tool"),
)


def to_template_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return each message as the dict that chat templates read.

    Consecutive messages of one speaker are joined by an empty line, because many templates reject them.

    Raises:
        ValueError: there is no message, or one has no role.
        ContentError: content is not text.
    """
    if not messages:
        raise ValueError("there are no messages to answer; pass at least one.")
    return merge_turns([_to_dict(message) for message in messages])


def _to_dict(message: BaseMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": _role(message), "content": _text(message)}
    if isinstance(message, AIMessage) and message.tool_calls:
        converted["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        converted["tool_call_id"] = message.tool_call_id
        if message.status == "error":
            converted["content"] = f"Error: {converted['content']}"
    if message.name:
        converted["name"] = message.name
    return converted


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
    return "".join(_block_text(block) for block in message.content)


def _block_text(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    if block.get("type") in ("text", "text-plain"):
        return str(block.get("text", ""))
    if block.get("type") == "refusal":  # what this model or another one said in place of an answer
        return str(block.get("refusal") or block.get("text") or "")
    if block.get("type") in ("tool_use", "tool_call", "reasoning"):  # calls come from `tool_calls`
        return ""
    raise ContentError(
        f"a content block of type {block.get('type')!r} is not text, and this model reads text only: "
        "leave it out or describe it in words."
    )
