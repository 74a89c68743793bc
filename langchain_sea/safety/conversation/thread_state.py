"""What the guard remembers of a thread in the agent's state, so that it holds over resumes, processes and trimming.

The record is a dict of JSON values: the operator's words, the user's words, which messages the caller passed in, what a
human approved, whether the thread has read untrusted text, and the hashes of the tools.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.conversation.context import ContextMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.conversation.context import CallContext

__all__ = ["ThreadRecord", "merge_records"]

_MAX_TEXTS = 100
_MAX_RETRIEVED = 20
_MAX_CHARACTERS = 20_000  # of one text


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """What outlives the messages of a thread.

    Attributes:
        operator: the system prompt that the agent was made with.
        prompt: what middlewares added to it, apart from documents.
        retrieved: documents that middlewares added to what the model reads.
        user: the user's messages.
        inputs: the digest of each message that the caller passed in, by the message's id.
        approved: calls that a human approved or edited: JSON of the tool's name and of the values.
        has_read_untrusted: whether the agent has read text that anybody may have written.
        tools: each tool's `parameters`, `description`, `effect` and `hash`, as first seen; another process needs them.
        changed_tools: tools whose hash changed.
    """

    operator: str = ""
    prompt: str = ""
    retrieved: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    approved: tuple[str, ...] = ()
    has_read_untrusted: bool = False
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changed_tools: tuple[str, ...] = ()

    @classmethod
    def read(cls, state: object) -> ThreadRecord:
        """Read the record of a state; an empty one where there is none."""
        record = state.get("sea_guard") if isinstance(state, dict) else getattr(state, "sea_guard", None)
        names = {each.name for each in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in (record or {}).items() if name in names}
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)

    def note_tools(self, tools: Mapping[str, Mapping[str, Any]]) -> ThreadRecord:
        """Return the record after a request to the model with these tools."""
        changed = {name for name, tool in tools.items() if self.tools.get(name, tool)["hash"] != tool["hash"]}
        changed_tools = tuple(sorted({*self.changed_tools, *changed}))
        return replace(self, tools={**tools, **self.tools}, changed_tools=changed_tools)

    def note_prompt(self, operator: str, prompt: str, retrieved: Sequence[str]) -> ThreadRecord:
        """Return the record after a request to the model with this system prompt and these documents."""
        texts = [text[:_MAX_CHARACTERS] for text in retrieved]
        kept = tuple(dict.fromkeys((*self.retrieved, *texts)))[-_MAX_RETRIEVED:]
        return replace(self, operator=operator, prompt=prompt[:_MAX_CHARACTERS], retrieved=kept)

    def note_context(self, context: CallContext) -> ThreadRecord:
        """Return the record after the conversation was read: before each request to the model, and with each batch."""
        record = self.note_user(context.messages)
        return replace(record, has_read_untrusted=self.has_read_untrusted or context.is_tainted)

    def note_user(self, messages: Sequence[ContextMessage]) -> ThreadRecord:
        """Return the record with what the user wrote in these messages."""
        own = [m.text[:_MAX_CHARACTERS] for m in messages if m.role == "user"]
        return replace(self, user=tuple(dict.fromkeys((*self.user, *own)))[-_MAX_TEXTS:])

    def approve(self, calls: Sequence[tuple[str, str]]) -> ThreadRecord:
        """Return the record with what a human approved: pairs of a tool and the values, as text."""
        texts = [json.dumps({"tool": tool, "values": values}) for tool, values in calls]
        return replace(self, approved=(*self.approved, *texts)[-_MAX_TEXTS:])

    def list_words(self, present: Sequence[ContextMessage]) -> list[ContextMessage]:
        """List the texts of the record that are not among the messages."""
        texts = {message.text for message in present if message.role == "user"}
        words = [ContextMessage("system", self.operator)] if self.operator else []
        words += [ContextMessage("prompt", self.prompt)] if self.prompt else []
        words += [ContextMessage("user", text) for text in self.user if text not in texts]
        words += [ContextMessage("retrieved", text) for text in self.retrieved]
        return words + [_read_approval(text) for text in self.approved]

    def list_changes(self, before: ThreadRecord) -> dict[str, Any]:
        """Return what differs from a record before, as JSON values."""
        old, new = asdict(before), asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in new.items() if v != old[name]}


def _read_approval(text: str) -> ContextMessage:
    """Read an approval of the record; one that cannot be read endorses nothing."""
    try:
        approval = json.loads(text)
        return ContextMessage("approval", str(approval["values"]), str(approval["tool"]))
    except (ValueError, KeyError, TypeError):
        return ContextMessage("approval", "")


def merge_records(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Merge two updates of a record: the newer one's fields win."""
    return {**(old or {}), **(new or {})}
