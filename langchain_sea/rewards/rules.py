"""Rules on the letters of a text: its length, its parts, a pattern, forbidden words. Know no model.

Each is a frozen dataclass, `rule(prompt, completions) -> scores` in [0, 1], for `FunctionReward`: equal texts
score alike, whatever stands beside them, and pickling keeps it if it keeps the fields.
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
    """A reward that looks at one text at a time."""

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """A score in [0, 1] for each completion.

        Raises:
            RewardUnavailableError: a completion could not be judged.
        """
        return [self.score(prompt, text) for text in completions]

    @abstractmethod
    def score(self, prompt: str, text: str) -> float:
        """The score of one completion."""


@dataclass(frozen=True)
class LengthRule(Rule):
    """1 within a range of lengths, falling straight to 0 over a shoulder on both sides.

    Attributes:
        least: the shortest length that scores 1.
        most: the longest; None: no text is too long.
        unit: `words`, between spaces, which Chinese or Thai does not have; `characters`, code points after
            NFC; or a function from a text to its length, as `lambda text: len(tokenizer.encode(text))`.
        shoulder: how far outside the score reaches 0, in the same unit; 0: at once.
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

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """1 − distance to the range / shoulder, at least 0."""
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
                f"the length of {reprlib.repr(text)} could not be told, {type(error).__name__}: {error}; "
                "unit= must give a number for every text."
            ) from error


@dataclass(frozen=True)
class FormatRule(Rule):
    """The share of required parts that stand in their order, up to the first that is missing.

    Attributes:
        parts: literal texts, as ("<think>", "</think>", "<answer>", "</answer>") or ("## Why", "## How").
        whole_lines: each is a line of its own, spaces at its ends apart; so "## Why" is not in "### Why not".
        once: a part that comes oftener than `parts` says is missing, so that repeating it gains nothing.
    """

    parts: tuple[str, ...]
    _: KW_ONLY
    whole_lines: bool = False
    once: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts or not all(map(str.strip, self.parts)):
            raise ValueError(f"parts={self.parts!r} must be one or more texts that are not blank.")

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """Parts found in order / parts."""
        begin = 0
        for place, part in enumerate(self.parts):
            found = self._pattern(part).search(text, begin)
            if found is None or (self.once and self._count(part, text) > self.parts.count(part)):
                return place / len(self.parts)
            begin = found.end()
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
        pattern: in the syntax of the `regex` package, which is that of `re` and more; flags stand inside, as
            in "(?i)yes".
        must: whether a match is wanted or forbidden.
        whole: only a match of the whole text counts, not of a part.
        timeout: seconds for one text, after which the reward is unavailable: some patterns take a time
            exponential in the text's length.
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
            raise ValueError(f"pattern={self.pattern!r} is no regular expression: {error}.") from error

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """1 or 0."""
        match = regex.fullmatch if self.whole else regex.search
        try:
            found = match(self.pattern, text, timeout=self.timeout)
        except TimeoutError:
            raise RewardUnavailableError(
                f"the pattern {self.pattern!r} was not matched within {self.timeout} seconds against "
                f"{len(text)} characters, {reprlib.repr(text)}; write it without nested repetition, or raise "
                "timeout=."
            ) from None
        return float((found is not None) == self.must)


@dataclass(frozen=True)
class ForbiddenWords(Rule):
    """1 if none of the words stands in the text, else 0.

    Whole words, by the boundaries of Unicode (UAX 29), which lie between any two Chinese characters; case,
    width and compatible forms are one (NFKC, casefolded), and invisible characters are none.

    Attributes:
        words: words or phrases; between the words of a phrase there may be any white space.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if (
            isinstance(self.words, str)
            or not self.words
            or not all(_folded(word).strip() for word in self.words)
        ):
            raise ValueError(f"words={self.words!r} must be one or more texts that are not blank.")

    def score(self, prompt: str, text: str) -> float:  # noqa: ARG002 - of the text alone
        """1 or 0."""
        phrases = (r"\s+".join(map(regex.escape, _folded(word).split())) for word in self.words)
        return float(regex.search(rf"(?w)\b(?:{'|'.join(phrases)})\b", _folded(text)) is None)


def _folded(text: str) -> str:
    """In one form for all that look or sound alike, after the NFKC_Casefold of Unicode."""
    seen = regex.sub(r"\p{Default_Ignorable_Code_Point}+", "", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFKC", seen)
