"""Rules on the content of a text: JSON of a schema, and a language. Both need optional packages."""

from __future__ import annotations

import json
import reprlib
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from langchain_sea.errors import ExtraMissingError, RewardUnavailableError
from langchain_sea.rewards.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

__all__ = ["JsonRule", "LanguageRule"]

_FENCE = "```"


class Validator(Protocol):
    """What is used of a validator of jsonschema."""

    def is_valid(self, instance: object) -> bool:
        """Return whether the schema accepts the value."""


class LanguageIdentifier(Protocol):
    """What is used of the identifier of py3langid."""

    def rank(self, text: str) -> list[tuple[str, float]]:
        """Return all languages with their probabilities, the likeliest first."""


@dataclass(frozen=True)
class JsonRule(Rule):
    """1 for JSON that is valid under the schema, 0.5 for other JSON, 0 for text that is not JSON.

    The whole text must be one JSON value. `NaN`, `Infinity` and values nested deeper than Python's recursion limit
    are not JSON. No referenced schema is read from the network. The schema's patterns run without a time limit.

    Attributes:
        schema: a JSON Schema of the draft that its `$schema` names, else 2020-12; with None any JSON scores 1.
        fenced: the value may be inside one Markdown code fence, which models often write.

    Raises:
        ExtraMissingError: there is a schema, and jsonschema is not installed.
        ValueError: the schema is not valid itself.
    """

    schema: Mapping[str, Any] | None = None
    _: KW_ONLY
    fenced: bool = True

    def __post_init__(self) -> None:
        if self.schema is not None:
            _validator(self.schema)

    def score_text(self, prompt: str, text: str) -> float:
        """Return 0, 0.5 or 1."""
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
                f"the schema could not be checked against {reprlib.repr(value)}, {type(error).__name__}: "
                f"{error}. A schema must contain all that it refers to."
            ) from error


def _unfenced(text: str) -> str:
    """Return what is inside a Markdown code fence around the whole text, else the text."""
    first, _, rest = text.strip().partition("\n")
    if first.startswith(_FENCE) and _FENCE not in first[len(_FENCE) :] and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE)
    return text


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON.")


def _validator(schema: Mapping[str, Any]) -> Validator:
    """Check the schema and return its validator; its registry is empty, since the default one uses the network."""
    validators = _optional("jsonschema.validators", "jsonschema")
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except import_module("jsonschema").SchemaError as error:
        raise ValueError(f"schema={reprlib.repr(schema)} is not a JSON Schema: {error.message}.") from error
    validator: Validator = kind(schema, registry=import_module("referencing").Registry())
    return validator


@dataclass(frozen=True)
class LanguageRule(Rule):
    """The probability that a text is in one of some languages, by py3langid; 0 for a text without letters.

    A few words are hard to identify among 139 languages: list the possible ones in `among`.

    Attributes:
        languages: a code such as "en", or several, any of which is right.
        among: the codes to choose from, with or without those of `languages`; empty means all known ones.

    Raises:
        ExtraMissingError: py3langid is not installed.
    """

    languages: str | tuple[str, ...]
    _: KW_ONLY
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self._codes or isinstance(self.among, str):
            raise ValueError(f"languages={self.languages!r} must name a language, and among={self.among!r} be a tuple.")
        _optional("py3langid.langid", "py3langid")

    @property
    def _codes(self) -> frozenset[str]:
        return frozenset([self.languages] if isinstance(self.languages, str) else self.languages) - {""}

    def score_text(self, prompt: str, text: str) -> float:
        """Return Σ P(language | text) over `languages`."""
        if not any(map(str.isalpha, text)):
            return 0.0
        probabilities: dict[str, float] = dict(_identifier().rank(text))
        if unknown := sorted((self._codes | set(self.among)) - set(probabilities)):
            raise RewardUnavailableError(
                f"languages={self.languages!r} and among={self.among!r}: py3langid does not know {unknown}; "
                f"use its codes, mostly ISO 639-1: {sorted(probabilities)}."
            )
        numerator = sum(probabilities[code] for code in self._codes)
        denominator = sum(probabilities[code] for code in self._codes | set(self.among or probabilities))
        return float(numerator / denominator) if denominator else 0.0


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    """Load the model: half a second, and 70 megabytes of memory."""
    langid = _optional("py3langid.langid", "py3langid")
    identifier: LanguageIdentifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    return identifier


def _optional(module: str, package: str) -> ModuleType:
    """Import a module of the extra `rules`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraMissingError(
            f'this rule needs {package}, which is not installed: pip install "langchain-sea[rules]"'
        ) from error
