"""What the guard remembers of a thread in the agent's state, so that it holds over resumes, processes and trimming.

The record is a dict of JSON values: the operator's words, the user's words, what a human approved, whether the thread
has read untrusted text, and the hashes of the tools.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.context import ContextMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.context import CallContext

__all__ = ["ThreadRecord", "merge_records"]

_MAX_TEXTS = 100
_MAX_CHARACTERS = 20_000  # of one text


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """What outlives the messages of a thread.

    Attributes:
        operator: the system prompt that the model got.
        user: the user's messages.
        approved: calls that a human approved or edited, as text.
        has_read_untrusted: whether the agent has read text that anybody may have written.
        tools: each tool's `parameters`, `description`, `effect` and `hash`, as first seen; another process needs them.
        changed_tools: tools whose hash changed.
    """

    operator: str = ""
    user: tuple[str, ...] = ()
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

    def note_tools(self, tools: Mapping[str, Mapping[str, Any]], operator: str) -> ThreadRecord:
        """Return the record after a request to the model with these tools."""
        changed = {name for name, tool in tools.items() if self.tools.get(name, tool)["hash"] != tool["hash"]}
        changed_tools = tuple(sorted({*self.changed_tools, *changed}))
        return replace(self, tools={**tools, **self.tools}, operator=operator, changed_tools=changed_tools)

    def note_context(self, context: CallContext) -> ThreadRecord:
        """Return the record after a batch was judged."""
        own = [m.text[:_MAX_CHARACTERS] for m in context.messages if m.role == "user"]
        user = tuple(dict.fromkeys((*self.user, *own)))[-_MAX_TEXTS:]
        return replace(self, user=user, has_read_untrusted=self.has_read_untrusted or context.is_tainted)

    def approve(self, texts: Sequence[str]) -> ThreadRecord:
        """Return the record with what a human approved."""
        return replace(self, approved=(*self.approved, *texts)[-_MAX_TEXTS:])

    def list_words(self, messages: Sequence[Any]) -> list[ContextMessage]:
        """List the trusted texts of the record that are not among the messages."""
        present = {str(message.content) for message in messages}
        words = [ContextMessage("system", self.operator)] if self.operator else []
        words += [ContextMessage("user", text) for text in self.user if text not in present]
        return words + [ContextMessage("approval", text) for text in self.approved]

    def list_changes(self, before: ThreadRecord) -> dict[str, Any]:
        """Return what differs from a record before, as JSON values."""
        old, new = asdict(before), asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in new.items() if v != old[name]}


def merge_records(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Merge two updates of a record: the newer one's fields win."""
    return {**(old or {}), **(new or {})}
