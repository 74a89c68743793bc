"""LangChain messages → the template's dicts. Knows neither tokenizer nor model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.chat.errors import ContentError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (SystemMessage, "system"),
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (ToolMessage, "tool"),
)


def to_template_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Each message as the dict that chat templates read.

    Raises:
        ValueError: there is no message, or one has a role no template knows.
        ContentError: content is not text.
    """
    if not messages:
        raise ValueError("there are no messages to answer; pass at least one.")
    return _merged([_template_dict(message) for message in messages])


def last_user_text(messages: Sequence[dict[str, Any]]) -> str:
    """What the user asked last, or nothing."""
    return next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")


def _merged(dicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Words of one speaker in a row as one message: many templates want speakers to take turns."""
    found: list[dict[str, Any]] = []
    for each in dicts:
        last = found[-1] if found else None
        plain = last is not None and each.keys() == last.keys() == {"role", "content"}
        if plain and last is not None and last["role"] == each["role"]:
            texts = [text for text in (last["content"], each["content"]) if text]
            found[-1] = {**last, "content": "\n\n".join(texts)}
        else:
            found.append(each)
    return found


def _template_dict(message: BaseMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"role": _role(message), "content": _text(message)}
    if isinstance(message, AIMessage) and message.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call["id"],
                "function": {"name": call["name"], "arguments": call["args"]},
            }
            for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        found["tool_call_id"] = message.tool_call_id
        if message.status == "error":
            found["content"] = f"Error: {found['content']}"
    if message.name:
        found["name"] = message.name
    return found


def _role(message: BaseMessage) -> str:
    for kind, role in _ROLES:
        if isinstance(message, kind):
            return role
    if own := getattr(message, "role", None):  # ChatMessage names its own
        return str(own)
    known = ", ".join(kind.__name__ for kind, _ in _ROLES)
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
    if block.get("type") in ("tool_use", "tool_call", "reasoning"):  # calls are read from `tool_calls`
        return ""
    raise ContentError(
        f"a content block of type {block.get('type')!r} is not text, and this policy reads text only; "
        "leave it out or describe it in words."
    )
