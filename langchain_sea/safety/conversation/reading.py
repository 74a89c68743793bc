"""Reads LangChain's messages as a conversation: who wrote each of them, and so how far it is trusted.

A message of the class `HumanMessage` is the user's only if the caller passed it in, without the name of another agent.
Tools, middlewares and nodes write messages of that class, too: pages, summaries, answers of other agents.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.safety.conversation.context import CallContext, ContextMessage
from langchain_sea.safety.conversation.own_words import compute_text_digest, find_text, split_own_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.policy import GuardConfig

__all__ = ["find_inputs", "follow_removals", "list_added_texts", "make_context", "read_conversation", "read_text"]

_ROLE_OF_CLASS = ((SystemMessage, "system"), (HumanMessage, "user"), (ToolMessage, "tool"), (AIMessage, "assistant"))
_OWN_NAMES = ("", "user", "human", "example_user")
"""Names of a `HumanMessage` that say no more than that it is the user's."""
_SUMMARY = re.compile(
    r"\W*(?:here is |this is |below is )?(?:a |the )?(?:brief |short )?"
    r"(?:summary of (?:the|our|this|previous|earlier)\b"
    r"|(?:conversation|chat|dialog(?:ue)?|discussion) (?:so far|history|summary)\b"
    r"|(?:previous|earlier) (?:conversation|chat|dialog(?:ue)?|discussion|messages)\b)",
    re.IGNORECASE,
)
_NARRATED_USER = re.compile(
    r"\bthe (?:user|human) (?:has |had |was |is |then |also )?"
    r"(?:asked|ask|said|wanted|wants|requested|told|mentioned|inquired|confirmed|agreed|provided)\b",
    re.IGNORECASE,
)
_NARRATED_AGENT = re.compile(r"\bthe (?:assistant|agent|ai|bot|model)\b", re.IGNORECASE)
_MIN_ADDED = 3  # words: a date before a message is no document
_MAX_INPUTS = 500  # messages of one thread


def make_context(
    messages: Sequence[BaseMessage],
    schemas: Mapping[str, Mapping[str, Any]],
    descriptions: Mapping[str, str],
    policy: GuardConfig,
    *,
    is_handed_over: bool = False,
    **known: Any,
) -> CallContext:
    """Build the context of calls from the messages before them.

    Args:
        messages: oldest first.
        schemas: of the tools' arguments, by name.
        descriptions: of the tools, by name.
        policy: the rules of the tools.
        is_handed_over: whether another agent wrote the messages of the class `HumanMessage`.
        known: further fields of the context.
    """
    read = read_conversation(messages, is_handed_over=is_handed_over)
    return CallContext(tuple(read), schemas, policy, descriptions, **known)


def read_conversation(
    messages: Sequence[BaseMessage],
    *,
    inputs: Mapping[str, str] | None = None,
    user: Sequence[str] = (),
    is_handed_over: bool = False,
) -> list[ContextMessage]:
    """Read messages, oldest first.

    Args:
        messages: of a thread.
        inputs: digests of the messages that the caller passed in, by id; None or empty where that is not known, and
            the place of a message decides.
        user: what the user wrote, to know the user's words in messages that a middleware changed.
        is_handed_over: whether another agent wrote the messages of the class `HumanMessage`.
    """
    calls: dict[str, tuple[str, str]] = {}
    read: list[ContextMessage] = []
    for index, message in enumerate(messages):  # in order, since some providers number the calls of every message anew
        role = _find_role(messages, index, inputs or {}, is_handed_over=is_handed_over)
        text, attachments = _split_content(message)
        if role == "retrieved" and (own := _find_own(message, inputs or {}, user)) is not None:
            own, is_longer = split_own_words(text, own)
            read.append(ContextMessage("user", own))
            if not is_longer and not attachments:
                continue
        tool = arguments = ""
        if role == "tool":
            tool, arguments = calls.get(getattr(message, "tool_call_id", ""), (message.name or "", ""))
        if role in ("user", "system"):
            read += attachments
        elif attachments:
            text = "\n".join([text, *(each.text for each in attachments)])
        if text.strip() or role not in ("user", "system") or not attachments:
            read.append(ContextMessage(role, text, tool, arguments))
        if isinstance(message, AIMessage):
            calls |= {str(c["id"]): (c["name"], json.dumps(c["args"], default=str)) for c in message.tool_calls}
    return read


def find_inputs(messages: Sequence[BaseMessage], known: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of all messages that callers passed in, by id, as a run begins.

    Args:
        messages: of the thread, with those of this run's input, which stand behind the model's last one.
        known: those of the runs before.
    """
    last = max((i for i, message in enumerate(messages) if isinstance(message, AIMessage)), default=-1)
    inputs = dict(known)
    for index, message in enumerate(messages):
        if not isinstance(message, (HumanMessage, SystemMessage)) or message.id is None or message.id in known:
            continue
        if index > last or (not known and not _follows_result(messages, index)):
            inputs[message.id] = _compute_digest(message)
    return dict(list(inputs.items())[-_MAX_INPUTS:])


def follow_removals(
    messages: Sequence[BaseMessage], inputs: Mapping[str, str], user: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return `inputs` and `user` without what a middleware removed from messages, such as private data."""
    new_inputs, new_user = dict(inputs), list(user)
    for message in messages:
        if message.id is None or (own := _find_own(message, inputs, user)) is None:
            continue
        left, is_longer = split_own_words(read_text(message), own)
        if not is_longer:
            new_inputs[message.id] = compute_text_digest(left)
            new_user = [left if text == own else text for text in new_user]
    return new_inputs, tuple(new_user)


def list_added_texts(shown: Sequence[BaseMessage], kept: Sequence[BaseMessage]) -> list[str]:
    """List the texts that a middleware shows to the model and that are not among the thread's messages.

    Args:
        shown: what the model gets.
        kept: the thread's messages.
    """
    texts = sorted({read_text(message) for message in kept}, key=len, reverse=True)
    added = []
    for message in shown:
        text = read_text(message) if isinstance(message, (HumanMessage, SystemMessage)) else ""
        for own in filter(str.strip, texts):
            text = text.replace(own, " ")
        added += [text] if len(text.split()) >= _MIN_ADDED else []
    return added


def read_text(message: BaseMessage) -> str:
    """Return the whole text of a message, attached files included."""
    if isinstance(message.content, str):
        return message.content
    parts = [block if isinstance(block, str) else str(block.get("text", block)) for block in message.content]
    return "\n".join(parts)


def _find_role(messages: Sequence[BaseMessage], index: int, inputs: Mapping[str, str], *, is_handed_over: bool) -> str:
    """Return who wrote a message; one of an unknown class counts as a tool's result, which is trusted least."""
    message = messages[index]
    role = next((role for kind, role in _ROLE_OF_CLASS if isinstance(message, kind)), "tool")
    if role not in ("user", "system"):
        return role
    if message.additional_kwargs.get("lc_source") or _is_summary(
        read_text(message), is_last=index == len(messages) - 1
    ):
        return "summary"
    if role == "user" and (is_handed_over or (message.name or "").casefold() not in _OWN_NAMES):
        return "subagent"
    if inputs and message.id is not None:
        return role if inputs.get(message.id) == _compute_digest(message) else "retrieved"
    return "retrieved" if _follows_result(messages, index) else role


def _is_summary(text: str, *, is_last: bool) -> bool:
    """Return whether a message tells what was said before: by its heading, or since it speaks about both sides."""
    if _SUMMARY.match(text):
        return True
    return not is_last and bool(_NARRATED_USER.search(text) and _NARRATED_AGENT.search(text))


def _follows_result(messages: Sequence[BaseMessage], index: int) -> bool:
    """Return whether a tool's result stands right before a message: a tool or a node wrote it then, not the user."""
    while index > 0 and isinstance(messages[index - 1], (HumanMessage, SystemMessage)):
        index -= 1
    return index > 0 and isinstance(messages[index - 1], ToolMessage)


def _compute_digest(message: BaseMessage) -> str:
    return compute_text_digest(read_text(message))


def _find_own(message: BaseMessage, inputs: Mapping[str, str], user: Sequence[str]) -> str | None:
    """Return what the user wrote in a message that a middleware changed; None where that is not known."""
    digest = inputs.get(message.id or "")
    is_changed = digest is not None and digest != _compute_digest(message) and isinstance(message, HumanMessage)
    return find_text(user, str(digest)) if is_changed else None


def _split_content(message: BaseMessage) -> tuple[str, list[ContextMessage]]:
    """Return the words of a message, and the files that are attached to it."""
    if isinstance(message.content, str):
        return message.content, []
    words: list[str] = []
    attachments = []
    for block in message.content:
        if isinstance(block, str):
            words.append(block)
        elif block.get("type", "text") in ("text", "input_text", "output_text"):
            words.append(str(block.get("text", block)))
        else:
            name = next((str(block[key]) for key in ("title", "filename", "name", "file_id") if block.get(key)), "")
            attachments.append(ContextMessage("attachment", _read_block(block), arguments=name))
    return "\n".join(words), attachments


def _read_block(block: Mapping[str, Any]) -> str:
    """Return the text of an attached file: that of its block, or of the source within it."""
    source = block.get("source")
    for place in (block, source if isinstance(source, dict) else {}):
        for key in ("text", "content", "data"):
            if isinstance(place.get(key), str):
                return str(place[key])
    return str({key: value for key, value in block.items() if key != "type"})
