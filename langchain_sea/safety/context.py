"""What a call is judged in: who said what, and whose word counts. Knows no layer and no model.

Trusted is what the system and the user said, what the policy names, and of tools' results what the policy says:
fields are values that stand alone in a structured result. Everything else that a tool brought is prose: anybody
may have written it.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_sea.safety.policy import GuardConfig

__all__ = ["CallContext", "ContextMessage"]

_FIELD = 120  # characters: longer values are running text
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """One message, as far as it tells where values come from.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        text: all of it.
        tool: whose result it is.
    """

    role: str
    text: str
    tool: str = ""


@dataclass(frozen=True)
class CallContext:
    """A conversation up to the calls, with the tools that there are.

    Attributes:
        sources: oldest first.
        tools: JSON schemas of the arguments, by name.
        descriptions: of the tools, by name.
        policy: of the tools.
    """

    sources: tuple[ContextMessage, ...]
    tools: Mapping[str, Mapping[str, Any]]
    policy: GuardConfig
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def asked(self) -> list[str]:
        """What the user said, newest first."""
        return [source.text for source in reversed(self.sources) if source.role == "user"]

    @cached_property
    def trusted(self) -> str:
        """All running text whose word counts, folded."""
        texts = [source.text for source in self.sources if source.role in ("system", "user")]
        texts += [s.text for s in self._results if self.policy.of(s.tool).results == "all"]
        return folded("\n".join([*texts, *self.policy.trusted]))

    @cached_property
    def fields(self) -> frozenset[str]:
        """Values that stand alone in results whose fields count, folded."""
        found: set[str] = set()
        for source in self._results:
            if self.policy.of(source.tool).results == "fields":
                found |= {
                    folded(value) for value in _scalars(structured(source.text)) if len(value) <= _FIELD
                }
        return frozenset(found)

    @cached_property
    def prose(self) -> str:
        """What tools brought and nobody answers for, folded."""
        return folded("\n".join(self.untrusted))

    @cached_property
    def untrusted(self) -> list[str]:
        """The same as texts: of results whose fields count, only the running text."""
        found = []
        for source in self._results:
            kind = self.policy.of(source.tool).results
            if kind == "nothing":
                found.append(source.text)
            elif kind == "fields":
                value = structured(source.text)
                found += [v for v in _scalars(value) if len(v) > _FIELD or " " in v.strip()]
        return found

    @cached_property
    def sentences(self) -> list[str]:
        """Of what nobody answers for."""
        found = [part.strip() for text in self.untrusted for part in _sentences(text)]
        return list(dict.fromkeys(part for part in found if len(part.split()) > 2))  # noqa: PLR2004 - a sentence

    @cached_property
    def _results(self) -> list[ContextMessage]:
        return [source for source in self.sources if source.role == "tool"]


def folded(text: str) -> str:
    """For comparison: no case, one blank where there are several."""
    return " ".join(text.casefold().split())


def structured(text: str) -> Any:  # noqa: ANN401 - whatever it holds
    """A result as values, if it is JSON or a Python literal; else the text itself."""
    for _ in range(2):  # some tools write a string that holds the literal
        try:
            found = json.loads(text)
        except ValueError:
            try:
                found = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return text
        except RecursionError:
            return text
        if not isinstance(found, str):
            return found
        text = found
    return text


def _sentences(text: str) -> Iterable[str]:
    value = structured(text)
    return (part for scalar in _scalars(value) for part in _SENTENCE.split(scalar))


def _scalars(value: Any) -> list[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return [found for key, entry in value.items() for found in (*_scalars(entry), str(key))]
    if isinstance(value, (list, tuple, set)):
        return [found for entry in value for found in _scalars(entry)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


def strings_in(value: Any, path: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON
    """Every string of arguments with the place it stands in; keys, too, which a caller may choose."""
    if isinstance(value, dict):
        keys = [(path, key) for key in value]
        return keys + [
            f for key, entry in value.items() for f in strings_in(entry, f"{path}.{key}".lstrip("."))
        ]
    if isinstance(value, (list, tuple)):
        return [found for i, entry in enumerate(value) for found in strings_in(entry, f"{path}[{i}]")]
    return [(path, value)] if isinstance(value, str) else []


def numbers_in(value: Any, path: str = "") -> list[tuple[str, float]]:  # noqa: ANN401 - any JSON
    """Every number of arguments with the place it stands in."""
    if isinstance(value, dict):
        entries: Sequence[tuple[str, Any]] = [
            (f"{path}.{key}".lstrip("."), entry) for key, entry in value.items()
        ]
        return [found for where, entry in entries for found in numbers_in(entry, where)]
    if isinstance(value, (list, tuple)):
        return [found for i, entry in enumerate(value) for found in numbers_in(entry, f"{path}[{i}]")]
    return [(path, value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def top(path: str) -> str:
    """The argument that a place belongs to."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]
