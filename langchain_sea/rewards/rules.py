"""Rules on the form of a text: its length, its parts, a pattern, forbidden words. They use no model.

Each is a frozen dataclass that is called as `rule(prompt, completions)` and returns scores in [0, 1]. A text gets
the same score whatever texts are scored with it. A rule can be pickled if its fields can.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

import regex  # type: ignore[import-untyped] # a dependency of transformers

from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ForbiddenWords", "FormatRule", "LengthRule", "PatternRule", "Rule"]


class Rule(ABC):
    """A reward that scores one text at a time, without a gradient.

    Pass it to `SEAChatModel(rewards=[…])` as it is. A rule of your own is a frozen dataclass with the method
    `score_text`.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class EndsWithPeriod(Rule):
        ...     def score_text(self, prompt: str, text: str) -> float:
        ...         return float(text.endswith("."))
        >>> EndsWithPeriod()("", ["Yes.", "Yes"])
        [1.0, 0.0]
    """

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return a score in [0, 1] for each completion.

        Args:
            prompt: the text of the last user message.
            completions: answers to it.

        Raises:
            RewardUnavailableError: a completion cannot be scored.
        """
        return [self.score_text(prompt, text) for text in completions]

    @abstractmethod
    def score_text(self, prompt: str, text: str) -> float:
        """Return the score of one completion, in [0, 1]."""


@dataclass(frozen=True)
class LengthRule(Rule):
    """1 within a range of lengths; outside it the score falls linearly to 0 over a shoulder.

    Attributes:
        least: the shortest length that scores 1.
        most: the longest; None means that no text is too long.
        unit: `words` are separated by spaces, which Chinese and Thai do not write; `characters` are code points
            after NFC; or a function from a text to its length, e.g. `lambda text: len(tokenizer.encode(text))`.
        shoulder: how far outside the range the score reaches 0, in the same unit; 0 means at once.

    Examples:
        >>> LengthRule(1, 5, shoulder=5)("", ["two words", "one two three four five six"])
        [1.0, 0.8]
    """

    least: int = 0
    most: int | None = None
    _: KW_ONLY
    unit: Literal["words", "characters"] | Callable[[str], int] = "words"
    shoulder: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= (self.least if self.most is None else self.most) or not self.shoulder >= 0:
            raise ValueError(
                f"least={self.least}, most={self.most} and shoulder={self.shoulder} must not be negative, "
                "and most not below least."
            )
        if not (callable(self.unit) or self.unit in {"words", "characters"}):
            raise ValueError(f"unit={self.unit!r} must be 'words', 'characters' or a function of the text.")

    def score_text(self, prompt: str, text: str) -> float:
        """Return 1 − distance to the range / shoulder, at least 0."""
        length = self._length(text)
        over = 0 if self.most is None else length - self.most
        outside = max(self.least - length, over, 0)
        if not outside:
            return 1.0
        return max(0.0, 1 - outside / self.shoulder) if self.shoulder else 0.0

    def _length(self, text: str) -> int:
        if self.unit == "words":
            return len(text.split())
        if self.unit == "characters":
            return len(unicodedata.normalize("NFC", text))
        assert callable(self.unit)  # see `__post_init__`
        try:
            return int(self.unit(text))
        except Exception as error:
            raise RewardUnavailableError(
                f"unit= failed on {reprlib.repr(text)}, {type(error).__name__}: {error}; "
                "it must return a number for every text."
            ) from error


@dataclass(frozen=True)
class FormatRule(Rule):
    """The share of required parts that occur in their order, counted up to the first that is missing.

    Attributes:
        parts: literal texts, e.g. ("<think>", "</think>", "<answer>", "</answer>") or ("## Why", "## How").
        whole_lines: each part must be a line of its own, apart from spaces at its ends. Then "## Why" does not
            match "### Why not".
        once: a part that occurs more often than in `parts` counts as missing, so that repeating it gains nothing.

    Examples:
        >>> FormatRule(("<think>", "</think>"))("", ["<think>2 + 2</think> 4", "<think>2 + 2"])
        [1.0, 0.5]
    """

    parts: tuple[str, ...]
    _: KW_ONLY
    whole_lines: bool = False
    once: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts or not all(map(str.strip, self.parts)):
            raise ValueError(f"parts={self.parts!r} must be one or more texts that are not blank.")

    def score_text(self, prompt: str, text: str) -> float:
        """Return the number of parts in order, divided by the number of parts."""
        start = 0
        for place, part in enumerate(self.parts):
            match = self._pattern(part).search(text, start)
            if match is None or (self.once and self._count(part, text) > self.parts.count(part)):
                return place / len(self.parts)
            start = match.end()
        return 1.0

    def _pattern(self, part: str) -> re.Pattern[str]:
        literal = re.escape(part.strip() if self.whole_lines else part)
        return re.compile(rf"(?m)^[^\S\n]*{literal}[^\S\n]*$" if self.whole_lines else literal)

    def _count(self, part: str, text: str) -> int:
        return sum(1 for _ in self._pattern(part).finditer(text))


@dataclass(frozen=True)
class PatternRule(Rule):
    """1 where a regular expression matches, or, with `must=False`, where it does not; else 0.

    Attributes:
        pattern: in the syntax of the `regex` package, an extension of `re`; flags are written inside, e.g.
            "(?i)yes".
        must: whether a match is required or forbidden.
        whole: only a match of the whole text counts.
        timeout: seconds for one text. Some patterns take a time exponential in the length of the text; after
            this time the reward is unavailable.
    """

    pattern: str
    _: KW_ONLY
    must: bool = True
    whole: bool = False
    timeout: float = 1.0

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout} must be a positive number of seconds.")
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern={self.pattern!r} is not a regular expression: {error}.") from error

    def score_text(self, prompt: str, text: str) -> float:
        """Return 1 or 0."""
        search = regex.fullmatch if self.whole else regex.search
        try:
            match = search(self.pattern, text, timeout=self.timeout)
        except TimeoutError:
            raise RewardUnavailableError(
                f"the pattern {self.pattern!r} was not matched within {self.timeout} seconds against "
                f"{len(text)} characters, {reprlib.repr(text)}; write it without nested repetition, or increase "
                "timeout=."
            ) from None
        return float((match is not None) == self.must)


@dataclass(frozen=True)
class ForbiddenWords(Rule):
    """1 if the text contains none of the words, else 0.

    Only whole words match. Their boundaries are those of Unicode (UAX 29), which are between any two Chinese
    characters. Case, width and compatibility forms are ignored (NFKC, casefolded), and so are invisible characters.

    Attributes:
        words: words or phrases; between the words of a phrase there may be any white space.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not self.words or not all(_folded(word).strip() for word in self.words):
            raise ValueError(f"words={self.words!r} must be one or more texts that are not blank.")

    def score_text(self, prompt: str, text: str) -> float:
        """Return 1 or 0."""
        phrases = (r"\s+".join(map(regex.escape, _folded(word).split())) for word in self.words)
        return float(regex.search(rf"(?w)\b(?:{'|'.join(phrases)})\b", _folded(text)) is None)


def _folded(text: str) -> str:
    """Return the NFKC_Casefold of Unicode."""
    visible = regex.sub(r"\p{Default_Ignorable_Code_Point}+", "", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFKC", visible)
