"""Rules on what a text holds: JSON of a schema, a language, citations. Know no model.

As those of `rules.py`: frozen, `rule(prompt, completions) -> scores` in [0, 1].
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import ExtraMissingError, RewardUnavailableError
from langchain_sea.rewards.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CitationRule", "JsonRule", "LanguageRule"]

_FENCE = "```"
_MARK = re.compile(r"\[([0-9]{1,9}(?:\s?[,;–-]\s?[0-9]{1,9})*)\](?!\()")  # [text](address) is a link
_SPAN = re.compile(r"([0-9]+)(?:\s?[–-]\s?([0-9]+))?")


@dataclass(frozen=True)
class JsonRule(Rule):
    """0 for what is no JSON, 0.5 for JSON that a schema refuses, 1 for JSON that it takes.

    The whole text must be one JSON value: `NaN` and `Infinity` are none, nor is one nested deeper than
    Python's recursion allows. A schema reads no other schema from the network, and its own patterns run
    without a limit of time.

    Attributes:
        schema: JSON Schema, of the draft that its `$schema` names, else 2020-12; None: any JSON scores 1.
        fenced: the value may stand in one Markdown code fence, as models like to write it.

    Raises:
        ExtraMissingError: there is a schema, and jsonschema is not installed.
    """

    schema: Mapping[str, Any] | None = None
    _: KW_ONLY
    fenced: bool = True

    def __post_init__(self) -> None:
        if self.schema is not None:
            _validator(self.schema)

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """0, 0.5 or 1."""
        try:
            value = json.loads(_unfenced(text) if self.fenced else text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return 0.0
        if self.schema is None:
            return 1.0
        try:
            return 1.0 if _validator(self.schema).is_valid(value) else 0.5
        except RecursionError:
            return 0.5
        except Exception as error:
            raise RewardUnavailableError(
                f"the schema could not be held against {reprlib.repr(value)}, {type(error).__name__}: "
                f"{error}. A schema must hold all that it refers to."
            ) from error


def _unfenced(text: str) -> str:
    """What stands in a Markdown code fence around the whole text, else the text."""
    first, _, rest = text.strip().partition("\n")
    if first.startswith(_FENCE) and _FENCE not in first[len(_FENCE) :] and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE)
    return text


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON.")


def _validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of an optional package
    """Refuses a schema that is none; an empty registry, because the default one asks the network."""
    validators = _optional("jsonschema.validators", "jsonschema")
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except import_module("jsonschema").SchemaError as error:
        raise ValueError(f"schema={reprlib.repr(schema)} is no JSON Schema: {error.message}.") from error
    return kind(schema, registry=import_module("referencing").Registry())


@dataclass(frozen=True)
class LanguageRule(Rule):
    """The probability that a text is in one of some languages, by py3langid; 0 where it has no letters.

    A few words are hard to tell among 139 languages: name in `among` those that can occur at all.

    Attributes:
        languages: a code as "en", or several, any of which is right.
        among: the codes to choose from, those of `languages` with them or not; empty: all that are known.

    Raises:
        ExtraMissingError: py3langid is not installed.
    """

    languages: str | tuple[str, ...]
    _: KW_ONLY
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self._wanted or isinstance(self.among, str):
            raise ValueError(
                f"languages={self.languages!r} must name a language, and among={self.among!r} be a tuple."
            )
        _optional("py3langid.langid", "py3langid")

    @property
    def _wanted(self) -> frozenset[str]:
        return frozenset([self.languages] if isinstance(self.languages, str) else self.languages) - {""}

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """Σ P(language | text) over the wanted ones."""
        if not any(map(str.isalpha, text)):
            return 0.0
        likely = dict(_identifier().rank(text))
        if unknown := sorted((self._wanted | set(self.among)) - set(likely)):
            raise RewardUnavailableError(
                f"languages={self.languages!r} and among={self.among!r}: py3langid does not know {unknown}; "
                f"use its codes, mostly ISO 639-1: {sorted(likely)}."
            )
        wanted = sum(likely[language] for language in self._wanted)
        possible = sum(likely[language] for language in self._wanted | set(self.among or likely))
        return float(wanted / possible) if possible else 0.0


@lru_cache(maxsize=1)
def _identifier() -> Any:  # noqa: ANN401 - of an optional package
    """The model, loaded once: half a second, and 70 megabytes."""
    langid = _optional("py3langid.langid", "py3langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


@dataclass(frozen=True)
class CitationRule(Rule):
    """Share of citation marks that name a source there is, times the share of required sources cited.

    Marks are numbers from 1 in brackets: [2], [1, 3], [2–4]; a number or range that reaches beyond the
    sources names none. A text without marks scores 0.

    Attributes:
        sources: how many there are, or a function that says so for the prompt.
        required: numbers of those that must be cited.
    """

    sources: int | Callable[[str], int]
    _: KW_ONLY
    required: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.sources):
            self._checked(self.sources, ValueError)

    def score(self, prompt: str, text: str) -> float:
        """Marks that resolve / marks × required sources cited / required sources."""
        count = self._count(prompt)
        marks = [span for mark in _MARK.findall(text) for span in _SPAN.findall(mark)]
        spans = [(int(first), int(last or first)) for first, last in marks]
        good = [(first, last) for first, last in spans if 1 <= first <= last <= count]
        if not good:
            return 0.0
        cited = [any(first <= number <= last for first, last in good) for number in self.required]
        return len(good) / len(spans) * (sum(cited) / len(cited) if cited else 1.0)

    def _count(self, prompt: str) -> int:
        if not callable(self.sources):
            return self.sources
        try:
            count = self.sources(prompt)
        except Exception as error:
            raise RewardUnavailableError(
                f"sources= could not say how many there are for {reprlib.repr(prompt)}, "
                f"{type(error).__name__}: {error}."
            ) from error
        return self._checked(count, RewardUnavailableError)

    def _checked(self, count: object, error: type[Exception]) -> int:
        """The count, if the required sources are among so many."""
        if not isinstance(count, int) or count < 1 or not all(1 <= n <= count for n in self.required):
            raise error(
                f"sources={count!r} must be at least 1, and required={self.required} numbers from 1 to it."
            )
        return count


def _optional(module: str, package: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraMissingError(
            f'this rule needs {package}, which is not installed: pip install "langchain-sea[rules]"'
        ) from error
