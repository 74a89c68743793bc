"""The conversation before a call: who wrote which text, and how far it is trusted. Knows no check and no model.

Every text has an origin. The user, the operator (the system prompt and the policy) and what a human approved are
trusted. The text of a tool's result is anybody's, and so are summaries of it, tasks that another agent hands over,
files that the user attached, and documents that a middleware retrieved. What the agent proposed and the user answered
with "yes" is the user's word. Of a tool's result, the values that stand alone in fields are usable where the tool's
rules say so; results of the agent's own writes are the agent's, apart from sentences that tell somebody to act.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.safety.conversation.context_messages import (
    PASTED_ROLES,
    UNTRUSTED_ROLES,
    ContextMessage,
    UntrustedText,
    list_endorsed,
    split_off_pasted,
)
from langchain_sea.safety.conversation.lowest_labels import list_doubted, list_reached, list_unverified
from langchain_sea.safety.conversation.records import (
    leaves_open,
    list_ambiguous,
    list_left_out,
    list_others,
    list_unmeant,
    means_everybody,
)
from langchain_sea.safety.conversation.results import read_result
from langchain_sea.safety.text.doubted_mentions import remove_doubted
from langchain_sea.safety.text.running_text import is_running, list_foreign, split_sentences
from langchain_sea.safety.text.stated_limits import list_held_back_acts, list_refused_acts, remove_limits
from langchain_sea.safety.text.tool_effects import (
    find_requested_acts,
    find_tool_acts,
    guess_effect,
    has_injection_marker,
    is_document,
    is_open_source,
    is_report,
)
from langchain_sea.safety.text.typed_values import index_text, to_compact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.text.typed_values import TextIndex

__all__ = ["TRUSTED_ROLES", "CallContext", "ContextMessage", "UntrustedText"]

TRUSTED_ROLES = ("system", "user", "approval")
"""The operator, the user, and what a human approved or typed when asked."""
_REACHING = frozenset(["send", "pay", "grant"])
_MIN_WORDS = 3  # of a sentence


@dataclass(frozen=True)
class CallContext:
    """The conversation up to the calls, and the tools that can be called.

    Attributes:
        messages: oldest first.
        tools: JSON schemas of the arguments, by tool name.
        policy: the rules of the tools.
        descriptions: of the tools, by name.
        effects: what the tools' own annotations say, by name: `read` or `write`.
        has_read_untrusted: whether the thread has read untrusted text that is no longer among the messages.
        changed_tools: names of tools whose description or schema changed within the conversation.
    """

    messages: tuple[ContextMessage, ...]
    tools: Mapping[str, Mapping[str, Any]]
    policy: GuardConfig
    descriptions: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, Literal["read", "write"]] = field(default_factory=dict)
    has_read_untrusted: bool = False
    changed_tools: frozenset[str] = frozenset()

    def effect_of(self, tool: str) -> Literal["read", "write"]:
        """Return what a tool does: as its rules say, else as its annotations say, else as its name says."""
        return self.policy.rules_for(tool).effect or self.effects.get(tool) or guess_effect(tool)

    def trusted_part_of(self, tool: str) -> Literal["nothing", "fields", "all"]:
        """Return what is trusted of a tool's result: as its rules say, else nothing of pages and files, else fields."""
        if results := self.policy.rules_for(tool).results:
            return results
        return "nothing" if self.effect_of(tool) == "read" and is_open_source(tool) else "fields"

    @cached_property
    def user_texts(self) -> list[str]:
        """The user's messages, newest first."""
        return [message.text for message in reversed(self._spoken) if message.role == "user"]

    @cached_property
    def pasted(self) -> list[str]:
        """Texts that the user pasted, and only asked about."""
        return [message.text for message in self._spoken if message.role in PASTED_ROLES]

    @cached_property
    def _spoken(self) -> list[ContextMessage]:
        """The messages, with what the user pasted split off from the user's own words."""
        return split_off_pasted(self.messages)

    @cached_property
    def _quoted(self) -> list[str]:
        return [message.text for message in self._spoken if message.role == "quoted"]

    def _reaches_beside_request(self, tool: str) -> bool:
        """Return whether a tool reaches somebody by an act that the user's own words do not ask for."""
        acts = find_tool_acts(tool) if self._quoted else frozenset[str]()
        if not acts & {"send", "pay", "grant"} or acts & {"create", "update", "execute"}:
            return False
        return not any(acts & (find_requested_acts(text) or acts) for text in self.user_texts)

    def _list_handed_over(self, tool: str) -> list[str]:
        """List pasted texts after which the user asked for an act of this tool's class, and had no doubt."""
        if not self.pasted:
            return []
        acts, handed = find_tool_acts(tool), list[str]()
        asked = False
        for message in reversed(self._spoken):
            if message.role == "pasted" and asked:
                handed.append(message.text)
            elif message.role == "user":
                asked |= bool(acts & (find_requested_acts(message.text) or frozenset()))
        return handed

    @cached_property
    def request_texts(self) -> list[tuple[str, bool]]:
        """All texts that ask for acts, and of each whether to mention an act in it is to ask for it.

        That is so in a system prompt, which describes an agent's duties. An approval for one tool asks for no other.
        """
        texts = [
            (m.text, m.role != "user")
            for m in self._own_words
            if m.role != "quoted" and (m.role != "approval" or not m.tool)
        ] + [(m.text, True) for m in self.messages if m.role == "prompt"]
        return texts + [(text, True) for text in self.endorsed]

    @cached_property
    def trusted(self) -> list[TextIndex]:
        """Indexes of all texts whose values are trusted for every tool."""
        return [index_text(text) for text in self._trusted_texts]

    @cached_property
    def _trusted_texts(self) -> list[str]:
        texts = [m.text for m in self._own_words if m.role != "approval" or not m.tool]
        texts += [*self.endorsed, *self.policy.trusted]
        return texts + [m.text for m in self._results if self.trusted_part_of(m.tool) == "all"]

    @cached_property
    def approved_tools(self) -> frozenset[str]:
        """Names of the tools of which a human approved a call."""
        return frozenset(m.tool for m in self.messages if m.role == "approval" and m.tool)

    def trusted_for(self, tool: str) -> list[TextIndex]:
        """Return indexes of the texts whose values are trusted for a tool: `trusted`, and what was approved for it."""
        approved = [m.text for m in self.messages if m.role == "approval" and m.tool == tool and tool]
        handed = map(index_text, self._list_handed_over(tool))
        quoted = {index_text(text) for text in self._quoted} if self._reaches_beside_request(tool) else frozenset()
        trusted = self._undoubted if find_tool_acts(tool) & _REACHING and not is_report(tool) else self.trusted
        return [*(index for index in trusted if index not in quoted), *map(index_text, approved), *handed]

    @cached_property
    def _undoubted(self) -> list[TextIndex]:
        """As `trusted`, without what is named under doubt or a prohibition."""
        return [index_text(remove_doubted(text)) for text in self._trusted_texts]

    @cached_property
    def fields(self) -> frozenset[str]:
        """Values that stand alone in results whose fields are trusted, without punctuation.

        Addresses of records that the user's words leave out or doubt do not count, nor do those that running text had.
        """
        named, fields, strange = self._selectors, set[str](), set[str]()
        for message in self._results:
            if self.trusted_part_of(message.tool) == "fields":
                usable = read_result(message.text).fields - strange - list_unverified(message.text)
                if is_document(message.tool):
                    usable -= list_ambiguous(message.text)
                if named:
                    usable -= list_unmeant(message.text, named, is_suspicious=self.has_injection)
                fields |= usable
            strange.update(*map(list_reached, self._list_running(message)))
        return frozenset(fields).difference(*map(list_doubted, self._trusted_texts))

    @cached_property
    def documents(self) -> list[ContextMessage]:
        """Results of tools that read a text which somebody wrote: a page, a file, a mail."""
        return [m for m in self._results if is_document(m.tool)]

    def has_field(self, name: str, value: str) -> bool:
        """Return whether a result already has this value under this name."""
        pattern = re.compile(
            rf"\b{re.escape(name)}[\"']?\s*[:=,]\s*[\"']?{re.escape(value)}(?![\w.]\d|\w)", re.IGNORECASE
        )
        return any(pattern.search(message.text) for message in self.messages if message.role == "tool")

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Ids and files of records that the user left out by naming others beside them, without punctuation.

        Empty where the user's words leave it open how many records are meant.
        """
        texts = [*self.user_texts, *self.endorsed]
        if any(map(leaves_open, texts)):
            return frozenset()
        named = tuple(index_text(text) for text in texts)
        return frozenset().union(*(list_left_out(message.text, named) for message in self._results if named))

    @cached_property
    def others(self) -> frozenset[str]:
        """Names and ids of records that the user's words leave out, without punctuation."""
        results = [m.text for m in self._results if self._selectors and self.trusted_part_of(m.tool) == "fields"]
        return frozenset().union(*(list_others(text, self._selectors) for text in results))

    @cached_property
    def held_back(self) -> frozenset[str]:
        """Classes of acts that the user's words say are to wait, unless later words ask for them."""
        spoken = [(m.role, m.text) for m in self._spoken if m.role in ("user", "assistant") and m.text.strip()]
        return list_held_back_acts(tuple(self.user_texts)) | list_refused_acts(spoken)

    @cached_property
    def _selectors(self) -> list[TextIndex]:
        """Indexes of the texts that select records; none where the user speaks about all of several people."""
        wishes = [*self.user_texts, *self.endorsed]
        wishes = [remove_limits(text) for text in wishes]
        return [] if any(map(means_everybody, wishes)) else [index_text(text) for text in wishes]

    @cached_property
    def untrusted(self) -> list[UntrustedText]:
        """All texts that anybody may have written; fields that are trusted are left out."""
        texts = [
            UntrustedText(UNTRUSTED_ROLES[m.role], m.text, m.arguments)
            for m in self._spoken
            if m.role in UNTRUSTED_ROLES
        ]
        for message in self._results:
            origin = f"a result of {message.tool or 'a tool'}"
            texts += [UntrustedText(origin, text, message.arguments) for text in self._list_running(message)]
        return texts

    def _list_running(self, message: ContextMessage) -> tuple[str, ...]:
        """List the texts of a result that anybody may have written."""
        part = self.trusted_part_of(message.tool)
        if part != "fields":
            return (message.text,) if part == "nothing" else ()
        parts = read_result(message.text).texts
        return tuple(each for text in parts for each in list_foreign(text)) if self._is_own_write(message) else parts

    @cached_property
    def untrusted_texts(self) -> list[str]:
        """The texts of `untrusted`."""
        return [each.text for each in self.untrusted]

    @cached_property
    def untrusted_sentences(self) -> list[str]:
        """Sentences of three words or more in the untrusted texts, each once."""
        sentences = [part.strip() for text in self.untrusted_texts for part in split_sentences(text)]
        return list(dict.fromkeys(text for text in sentences if len(text.split()) >= _MIN_WORDS))

    @cached_property
    def is_tainted(self) -> bool:
        """Whether the thread has read running text that anybody may have written."""
        quoted = frozenset(self._quoted)
        return self.has_read_untrusted or any(is_running(t) for t in self.untrusted_texts if t not in quoted)

    @cached_property
    def has_injection(self) -> bool:
        """Whether an untrusted text speaks to the agent itself."""
        return any(has_injection_marker(text) for text in self.untrusted_texts)

    def is_field(self, value: str) -> bool:
        """Return whether a value stands alone in a result whose fields are trusted."""
        return to_compact(value) in self.fields

    @cached_property
    def _results(self) -> list[ContextMessage]:
        return [message for message in self.messages if message.role == "tool"]

    def _is_own_write(self, message: ContextMessage) -> bool:
        """Return whether a result answers a write of the agent, such as a booking."""
        return self.effect_of(message.tool) == "write" and bool(find_tool_acts(message.tool))

    @cached_property
    def _own_words(self) -> list[ContextMessage]:
        return [message for message in self._spoken if message.role in (*TRUSTED_ROLES, "quoted")]

    @cached_property
    def endorsed(self) -> list[str]:
        """What the agent proposed and the user agreed to: the proposals alone, without the text beside them."""
        return list_endorsed(self._spoken)
