"""The conversation before a call: who wrote which text, and which of it is trusted. Knows no check and no model.

Trusted are the messages of the system and of the user, and what the policy names. What is trusted of a tool's result
depends on the tool's rules: nothing, all of it, or its fields, which are values that stand alone in a structured
result. All other text of results is untrusted: anybody may have written it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.values import list_scalars, normalize, parse_structured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_sea.safety.policy import GuardConfig

__all__ = ["CallContext", "ContextMessage"]

_MAX_FIELD = 120  # characters: longer values are running text
_MIN_WORDS = 3  # of a sentence
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """One message of the conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        text: the message's whole text.
        tool: for a tool's result, the name of the tool.
    """

    role: str
    text: str
    tool: str = ""


@dataclass(frozen=True)
class CallContext:
    """The conversation up to the calls, and the tools that can be called.

    Attributes:
        messages: oldest first.
        tools: JSON schemas of the arguments, by tool name.
        descriptions: of the tools, by name.
        policy: the rules of the tools.
    """

    messages: tuple[ContextMessage, ...]
    tools: Mapping[str, Mapping[str, Any]]
    policy: GuardConfig
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def user_texts(self) -> list[str]:
        """The user's messages, newest first."""
        return [message.text for message in reversed(self.messages) if message.role == "user"]

    @cached_property
    def trusted_text(self) -> str:
        """All trusted running text, normalized."""
        texts = [message.text for message in self.messages if message.role in ("system", "user")]
        texts += [m.text for m in self._results if self._trusted_part(m) == "all"]
        return normalize("\n".join([*texts, *self.policy.trusted]))

    @cached_property
    def trusted_values(self) -> frozenset[str]:
        """Values that stand alone in results whose fields are trusted, normalized."""
        return frozenset(
            normalize(value)
            for message in self._results
            if self._trusted_part(message) == "fields"
            for value in list_scalars(parse_structured(message.text))
            if len(value) <= _MAX_FIELD
        )

    @cached_property
    def untrusted_text(self) -> str:
        """All untrusted text of tools' results, normalized."""
        return normalize("\n".join(self.untrusted_texts))

    @cached_property
    def untrusted_texts(self) -> list[str]:
        """Untrusted texts of tools' results; of a result whose fields are trusted, its values of running text."""
        texts: list[str] = []
        for message in self._results:
            trusted_part = self._trusted_part(message)
            if trusted_part == "nothing":
                texts.append(message.text)
            elif trusted_part == "fields":
                values = list_scalars(parse_structured(message.text))
                texts += [value for value in values if len(value) > _MAX_FIELD or " " in value.strip()]
        return texts

    @cached_property
    def untrusted_sentences(self) -> list[str]:
        """Sentences of three words or more in the untrusted texts, each once."""
        sentences = [part.strip() for text in self.untrusted_texts for part in _split_sentences(text)]
        return list(dict.fromkeys(text for text in sentences if len(text.split()) >= _MIN_WORDS))

    @cached_property
    def _results(self) -> list[ContextMessage]:
        return [message for message in self.messages if message.role == "tool"]

    def _trusted_part(self, message: ContextMessage) -> str:
        return self.policy.rules_for(message.tool).results


def _split_sentences(text: str) -> Iterator[str]:
    return (part for value in list_scalars(parse_structured(text)) for part in _SENTENCE_END.split(value))
