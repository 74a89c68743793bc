"""Which texts may replace the draft, besides the limit on nats per token: they must read as well as the draft does."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.trace import ScoredText

__all__ = ["TextLimits", "repeated_share"]

_NGRAM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLimits:
    """Limits on a text that is to replace the draft. Surprise is −log π of one token, in nats.

    Attributes:
        max_surprise_rise: the most surprising token may exceed the draft's by so many nats.
        max_first_surprise: the first token must be at least this likely under the policy, or as likely as the
            draft's: 6.9 nats are one in a thousand.
        max_repeat_rise: the share of repeated 4-grams of words may exceed the draft's by this.
        min_gain_spreads: the score must rise by so many standard deviations of the scores of plain drafts, where the
            rewards' own noise is not known; see `RewardTerm.min_gain`.
    """

    max_surprise_rise: float = 4.5
    max_first_surprise: float = 6.9
    max_repeat_rise: float = 0.02
    min_gain_spreads: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_surprise_rise", "max_first_surprise", "max_repeat_rise", "min_gain_spreads"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value} must be zero or a positive finite number.")

    def excess(self, text: ScoredText, draft: ScoredText) -> float:
        """Return by how much a text exceeds what the draft allows, in nats of surprise and tenths of repetition.

        A text may replace the draft if this is 0.
        """
        repeated = repeated_share(text.text.split()) - repeated_share(draft.text.split())
        return (
            max(0.0, text.max_surprise - draft.max_surprise - self.max_surprise_rise)
            + max(0.0, text.first_surprise - max(self.max_first_surprise, draft.first_surprise))
            + 10 * max(0.0, repeated - self.max_repeat_rise)
        )


def repeated_share(words: Sequence[str]) -> float:
    """Return the share of 4-grams that have occurred before in the text."""
    ngrams = Counter(zip(*(words[i:] for i in range(_NGRAM)), strict=False))
    total = sum(ngrams.values())
    return 0.0 if total == 0 else (total - len(ngrams)) / total
