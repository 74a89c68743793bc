"""The conversation before a call: who wrote which text, and how far it is trusted. Knows no check and no model.

Every text has an origin. The user, the operator (the system prompt and the policy) and what a human approved are
trusted. The text of a tool's result is anybody's, and so are summaries of it and tasks that another agent hands over.
A proposal of the agent that the user answered with "yes" is the user's word. Of a tool's result, the values that stand
alone in fields are usable where the tool's rules say so; results of the agent's own writes are the agent's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.safety.results import read_result
from langchain_sea.safety.tool_effects import (
    find_tool_acts,
    guess_effect,
    has_injection_marker,
    is_open_source,
    names_directive,
)
from langchain_sea.safety.typed_values import index_text, to_compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.typed_values import TextIndex

__all__ = ["TRUSTED_ROLES", "CallContext", "ContextMessage", "UntrustedText"]

TRUSTED_ROLES = ("system", "user", "approval")
"""The operator, the user, and what a human approved or typed when asked."""
_UNTRUSTED_ROLES = ("summary", "subagent")
_MIN_WORDS = 3  # of a sentence
_MIN_RUNNING_WORDS = 9  # of running text
_MAX_REPORT_WORDS = 40
_MAX_YES_WORDS = 60
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_YES = re.compile(
    r"\b(?:yes|yeah|yep|yup|sure|ok|okay|confirm(?:ed)?|correct|agreed?|go ahead|proceed|please do|do it|sounds good"
    r"|that works|looks good|absolutely|definitely|fine|ja|oui|sí|sim|da|hai|tak)\b",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:no|not|don't|do not|never|stop|wait|cancel that|nein|non)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """One message of the conversation.

    Attributes:
        role: who wrote it: `system`, `user`, `assistant`, `tool`, `approval` (a human who was asked), `summary` (of
            older messages) or `subagent` (another agent's task or answer).
        text: the message's whole text.
        tool: for a tool's result, the name of the tool.
        arguments: for a tool's result, the arguments of the call as text: they say which page or file it is.
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
        return [message.text for message in reversed(self.messages) if message.role == "user"]

    @cached_property
    def request_texts(self) -> list[tuple[str, bool]]:
        """All trusted texts, and of each whether to mention an act in it is to ask for it, as in a system prompt."""
        texts = [(m.text, m.role != "user") for m in self.messages if m.role in TRUSTED_ROLES]
        return texts + [(text, True) for text in self._endorsed]

    @cached_property
    def trusted(self) -> list[TextIndex]:
        """Indexes of all trusted texts."""
        texts = [*(text for text, _ in self.request_texts), *self.policy.trusted]
        texts += [m.text for m in self._results if self.trusted_part_of(m.tool) == "all"]
        return [index_text(text) for text in texts]

    @cached_property
    def fields(self) -> frozenset[str]:
        """Values that stand alone in results whose fields are trusted, without punctuation."""
        parts = [read_result(m.text).fields for m in self._results if self.trusted_part_of(m.tool) == "fields"]
        return frozenset().union(*parts)

    @cached_property
    def untrusted(self) -> list[UntrustedText]:
        """All texts that anybody may have written; fields that are trusted are left out."""
        texts = [UntrustedText(f"a {m.role}", m.text) for m in self.messages if m.role in _UNTRUSTED_ROLES]
        for message in self._results:
            part, origin = self.trusted_part_of(message.tool), f"a result of {message.tool or 'a tool'}"
            if part == "nothing":
                texts.append(UntrustedText(origin, message.text, message.arguments))
            elif part == "fields":
                own = self._is_own_write(message)
                texts += [
                    UntrustedText(origin, text, message.arguments)
                    for text in read_result(message.text).texts
                    if not (own and _is_report(text))
                ]
        return texts

    @cached_property
    def untrusted_texts(self) -> list[str]:
        """The texts of `untrusted`."""
        return [each.text for each in self.untrusted]

    @cached_property
    def untrusted_sentences(self) -> list[str]:
        """Sentences of three words or more in the untrusted texts, each once."""
        sentences = [part.strip() for text in self.untrusted_texts for part in _split_sentences(text)]
        return list(dict.fromkeys(text for text in sentences if len(text.split()) >= _MIN_WORDS))

    @cached_property
    def is_tainted(self) -> bool:
        """Whether the thread has read running text that anybody may have written."""
        return self.has_read_untrusted or any(_is_running(text) for text in self.untrusted_texts)

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
    def _endorsed(self) -> list[str]:
        """What the agent proposed and the user agreed to."""
        spoken = [m for m in self.messages if m.role in ("user", "assistant") and m.text.strip()]
        pairs = pairwise(spoken)
        return [
            before.text for before, m in pairs if before.role == "assistant" and m.role == "user" and _agrees(m.text)
        ]


def _is_running(text: str) -> bool:
    return len(text.split()) >= _MIN_RUNNING_WORDS or names_directive(text)


def _is_report(text: str) -> bool:
    """Return whether a text is as short as the report of a write, and does not speak to the agent."""
    return len(text.split()) <= _MAX_REPORT_WORDS and not has_injection_marker(text)


def _agrees(text: str) -> bool:
    """Return whether a user's short message agrees to what was proposed."""
    first = " ".join(text.split()[:_MAX_YES_WORDS])
    yes, no = _YES.search(first), _NO.search(first)
    return yes is not None and (no is None or yes.start() < no.start())


def _split_sentences(text: str) -> Iterator[str]:
    return (part for part in _SENTENCE_END.split(text))
