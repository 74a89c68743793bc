"""How a text reads, without a judge: what it repeats, what surprises in it, and whether it ends. Loads no model.

A word here is a run of letters and digits in lower case, or one mark of punctuation: so "????" are four words.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

import torch

from langchain_sea.core.protocols import LOGITS, AnswerBatch

if TYPE_CHECKING:
    from langchain_sea.core.protocols import Policy, Prompt

NGRAM = 4  # words
ODD = 1e-3
"""A first token of a lower probability under the policy is odd: a person would not begin like this."""
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_END = re.compile(r"[.!?…:][\"'”’)\]*_`]*$")


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text.lower())


def repeated_share(text: str) -> float:
    """The share of 4-grams of words that the text has had before, in [0, 1]; 0 below four words."""
    found = words(text)
    ngrams = [tuple(found[i : i + NGRAM]) for i in range(len(found) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def ends_a_sentence(text: str) -> bool:
    """Whether the last sentence is complete: it ends with a mark, and quotes or brackets after it."""
    return _END.search(text.rstrip()) is not None


class Surprise(NamedTuple):
    """How probable the tokens of a text are under the policy.

    Attributes:
        first: the probability of the first token; NaN for an empty text.
        most: −log probability of the least likely token, in nats; NaN for an empty text.
        mean: nats per token; NaN for an empty text.
    """

    first: float
    most: float
    mean: float

    @property
    def is_odd(self) -> bool:
        """Whether the text begins as hardly any text of the policy does."""
        return self.first < ODD


def surprise(policy: Policy, prompt: Prompt, text: str) -> Surprise:
    """How the policy would have written this text after the prompt, without an end token."""
    ids = policy.encode(text)
    if not ids:
        return Surprise(math.nan, math.nan, math.nan)
    with torch.no_grad():
        batch = AnswerBatch.from_ids(policy, prompt, [ids], LOGITS)
        nats = (-batch.output.log_probs(batch.tokens))[0].double()
    return Surprise(float((-nats[0]).exp()), float(nats.max()), float(nats.mean()))


def begins_oddly(policy: Policy, prompt: Prompt, text: str) -> bool:
    """Whether the first token has a probability below `ODD` under the policy, for example "Scit." or "Welter,"."""
    return surprise(policy, prompt, text).is_odd
