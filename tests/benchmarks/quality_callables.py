"""Plain Python functions as rewards, on everyday questions: four that grade a text, ours against best-of-N.

None of them has a gradient or sees more than text. The gain of a method is its mean value above that of a draft.
"""

from __future__ import annotations

import math
import re
import statistics
from typing import TYPE_CHECKING, Any

from comparison_figures import bootstrap, mean_of, median_of, ratio
from text_figures import words

from langchain_sea.evaluation import LEAD, Case, Table
from langchain_sea.evaluation.cases import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = dict[str, Any]

SET = "callable"
SEARCH = "best_of_n"
METHODS = (LEAD, "draft", SEARCH)
MOST = 1e6  # stands for infinity, which JSON lacks

CHEERFUL = frozenset(
    words(
        "good great happy joy love wonderful beautiful best enjoy delightful lovely nice warm bright fun perfect amazing excellent kind friend"
    )
)
SENSES = frozenset(
    words(
        "red blue green yellow golden white black dark light shiny colorful loud quiet soft rough smooth sharp hard sweet sour salty bitter "
        "spicy fresh crisp fragrant smoky hot warm cool cold icy wet dry dusty bright pale deep silent crunchy creamy fluffy sticky heavy tiny huge round"
    )
)
QUESTIONS = (
    "How do I make a cup of tea?", "What is a good way to start the day?", "Why do cats purr?", "Tell me about the sea.",
    "How can I sleep better?", "What should I cook for a birthday dinner?", "Describe a walk in the forest.", "How do bicycles stay upright?",
    "What is a good gift for my grandmother?", "Why do leaves change color in autumn?", "How do I write a thank you note?", "Describe a busy market.",
    "What do bees do all day?", "How can I learn to draw?", "Tell me about life on a farm.", "What should I see in a big city?",
    "How do I make new friends?", "Why is exercise good for me?", "Describe a rainy afternoon.", "How do I bake bread?",
    "What is music good for?", "How do birds find their way?", "Give me ideas for a picnic.", "How do I take care of a dog?",
    "What is snow?", "How can I save money on food?", "Describe your favorite season.", "How do I start a small garden?",
    "What makes a story interesting?", "How do airplanes fly?", "What should I do on a day off?", "Tell me about the desert.",
    "How do I clean a kitchen?", "Why do people travel?", "Describe a good teacher.", "What is chocolate made of?",
)  # fmt: skip
"""For reports: the questions of the trials, on which settings were chosen, are not among them."""


def cheerful(_prompt: str, completions: Sequence[str]) -> list[float]:
    """The number of cheerful words."""
    return [float(sum(word in CHEERFUL for word in words(text))) for text in completions]


def alliteration(_prompt: str, completions: Sequence[str]) -> list[float]:
    """The share of words that begin with s."""
    found = [re.findall(r"[a-z]+", text.lower()) for text in completions]
    return [sum(word.startswith("s") for word in text) / max(1, len(text)) for text in found]


def senses(_prompt: str, completions: Sequence[str]) -> list[float]:
    """The number of different words for what can be seen, heard, tasted or felt."""
    return [float(len(SENSES & set(words(text)))) for text in completions]


def short_sentences(_prompt: str, completions: Sequence[str]) -> list[float]:
    """Minus the mean number of words in a sentence; an empty text counts as one long sentence."""
    return [-_sentence_length(text) for text in completions]


def _sentence_length(text: str) -> float:
    lengths = [len(re.findall(r"[a-z]+", part.lower())) for part in re.split(r"[.!?]+(?:\s|$)", text)]
    return statistics.fmean([n for n in lengths if n] or [40])


CALLABLES: dict[str, Callable[[str, Sequence[str]], list[float]]] = {
    "cheerful": cheerful, "alliteration": alliteration,  # of the trials
    "senses": senses, "short_sentences": short_sentences,  # not of the trials
}  # fmt: skip


def cases(name: str, count: int, seed: int) -> list[Case]:
    """Questions for one callable, a seeded choice."""
    return [Case(set=SET, tier=name, question=question) for question in sample(QUESTIONS, count, name, seed)]


def callable_gain(rows: Sequence[Row]) -> dict[str, Any]:
    """Gain over the draft ÷ best-of-N's gain over the same draft.

    `value` takes all answers together, with each callable in units of the spread of its plain draws, so that one
    whose best-of-N gains nothing does not decide alone. `by_callable` has the ratio of each, in its own units.
    """
    pairs: list[tuple[float, float]] = []
    by_callable: dict[str, Any] = {}
    for name in CALLABLES:
        gains, unit = _gains(rows, name)
        if not gains:
            continue
        pairs += [(ours / unit, theirs / unit) for ours, theirs in gains]
        by_callable[name] = _ratio_figure(gains) | {"unit": round(unit, 4)}
    return _ratio_figure(pairs) | {"by_callable": by_callable}


def _gains(rows: Sequence[Row], name: str) -> tuple[list[tuple[float, float]], float]:
    """(ours, best-of-N's) above the draft, for each question, and the mean spread of the callable among plain draws."""
    table = Table([row for row in rows if (row["set"], row["tier"]) == (SET, name)], METHODS)

    def values(method: str) -> list[float]:
        return CALLABLES[name]("", [row["text"] for row in table.rows[method]])

    drafts, ours, theirs = values("draft"), values(LEAD), values(SEARCH)
    gains = [(a - d, b - d) for d, a, b in zip(drafts, ours, theirs, strict=True)]
    spreads = [row["spread"][name] for row in table.rows[SEARCH]]
    return gains, (statistics.fmean(spreads) if any(spreads) else 1.0)


def _ratio_figure(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    value = ratio(ours, theirs)
    return {
        "value": None if math.isnan(value) else round(max(-MOST, min(MOST, value)), 4),
        "interval": bootstrap(lambda rows: ratio([ours[i] for i in rows], [theirs[i] for i in rows]), len(pairs)),
        "ours": mean_of(ours)["value"],
        SEARCH: mean_of(theirs)["value"],
        "answers": len(pairs),
    }


def callable_outside_nats(rows: Sequence[Row]) -> dict[str, Any]:
    """The outside reader's nats per token, ours − its draft's: the median of all, and of each callable."""
    mine = [row for row in rows if row["set"] == SET and row["method"] == LEAD]
    by_callable = {name: median_of([_rise(row) for row in mine if row["tier"] == name]) for name in CALLABLES}
    return median_of([_rise(row) for row in mine]) | {"by_callable": by_callable}


def _rise(row: Row) -> float:
    rise: float = row["outside_nats"] - row["draft_outside_nats"]
    return rise
