"""Messages of a conversation as the checks see them, and texts that anybody may have written. Knows no policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from langchain_sea.safety.text.endorsement import agrees, find_proposal
from langchain_sea.safety.text.quotations import split_pasted

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PASTED_ROLES", "UNTRUSTED_ROLES", "ContextMessage", "UntrustedText", "list_endorsed", "split_off_pasted"]

PASTED_ROLES = ("pasted", "doubted")
"""Of texts that a user pasted and only asked about."""
UNTRUSTED_ROLES = {
    "summary": "a summary",
    "subagent": "another agent's text",
    "attachment": "an attached file",
    "retrieved": "a text that a tool or a middleware added",
    **dict.fromkeys(PASTED_ROLES, "a text that the user pasted and asked about"),
    "quoted": "a text that the user quoted",
}
"""What each role is in words whose texts anybody may have written."""


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """One message of the conversation.

    Attributes:
        role: who wrote it: `system`, `user`, `assistant`, `tool`, `approval` (a human who was asked), `prompt` (what a
            middleware added to the system prompt), `summary` (of older messages), `subagent` (another agent's task or
            answer), `attachment` (a file of the user's) or `retrieved` (documents that a middleware added). What a
            user pasted is split off within the context: `pasted` is only asked about, `doubted` is asked about because
            it may be a fraud, and `quoted` is what an order is about.
        text: the message's whole text.
        tool: for a tool's result, the name of the tool. For an approval, the only tool whose values it endorses;
            empty for what counts for all tools.
        arguments: for a tool's result, the arguments of the call as text: they say which page or file it is. For an
            attachment, its name.
    """

    role: str
    text: str
    tool: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class UntrustedText:
    """A text that anybody may have written.

    Attributes:
        origin: where it comes from, in words: the tool, a summary, a subagent.
        text: the whole of it.
        source: the arguments of the call that brought it.
    """

    origin: str
    text: str
    source: str = ""


def split_off_pasted(messages: Iterable[ContextMessage]) -> list[ContextMessage]:
    """Return the messages, with what the user pasted as messages behind the user's own words."""
    separate: list[ContextMessage] = []
    for message in messages:
        parts = split_pasted(message.text) if message.role == "user" else None
        if parts is None or not parts.blocks:
            separate.append(message)
            continue
        role = "doubted" if parts.is_doubted else "pasted" if parts.is_data else "quoted"
        separate += [replace(message, text=parts.own), *(ContextMessage(role, block) for block in parts.blocks)]
    return separate


def list_endorsed(messages: Iterable[ContextMessage]) -> list[str]:
    """List what the agent proposed and the user agreed to."""
    spoken = [m for m in messages if m.role in ("user", "assistant") and m.text.strip()]
    proposals = [
        find_proposal(before.text)
        for before, m in pairwise(spoken)
        if before.role == "assistant" and m.role == "user" and agrees(m.text)
    ]
    return [text for text in proposals if text]
