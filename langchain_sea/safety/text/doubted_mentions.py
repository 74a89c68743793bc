"""What a trusted text names under doubt or a prohibition: an account that "is a scam", a person not to write to.

To name a value so is no word for paying or writing to it. An order keeps its values: "Forward this scam to
help@bank.example" is a word for that address. Knows no conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache

from langchain_sea.safety.text.act_words import ACTS, DISTRUST, READS

__all__ = ["remove_doubted"]

_DISTRUST = re.compile(
    rf"{DISTRUST}|\b(?:thie(?:f|ves)|stolen|criminals?|black-?list(?:ed)?|block-?list(?:ed)?)\b", re.IGNORECASE
)
_PROHIBITED = re.compile(
    r"\b(?:do not|don't|never|must not|mustn't|should not|shouldn't|may not|cannot|can't|not|no longer)\s+(?:ever |to |be |again |any |anything |money )*"
    r"(?:pay|paid|transfer|transferred|send|sent|wire|write|written|reply|answer|e-?mail(?:ed)?|forward|contact(?:ed)?|call|text|message|share|give|given|grant|invite|use|used|to)\b"
    r"(?P<rest>[^;!?\n]*?)(?=[;!?\n]|\.(?:\s|$)|,\s|\bbut\b|\binstead\b|$)",
    re.IGNORECASE,
)
_LIMITED = re.compile(
    r"\b(?:more|less|over|above|before|until|unless|without|except|other than|only|later|yet|twice|again|late|else|anyone but|just|than)\b",
    re.IGNORECASE,
)
"""Words by which a prohibition is one of how much, when or to whom else, and not of the value."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CLAUSE = re.compile(r"(?<=[,;:])\s+|\s+(?=[-–—]\s)|\s+(?=(?:and|so|but|then)\s)", re.IGNORECASE)
_ORDER = re.compile(
    r"\W*(?:(?:and|so|but|then|please|also|just|now|can you|could you|would you|i want you to|i would like (?:you )?to|i want to|i'd like to|let's|kindly)\s+)*([a-z]+)",
    re.IGNORECASE,
)
_VERBS = frozenset().union(*ACTS.values()) | READS | frozenset("report block lock freeze flag ignore reply".split())
_REFERS_BACK = re.compile(
    r"\W*(?:this|that|it|they|these|those|he|she|both|the (?:account|address|mail|number|sender))\b", re.IGNORECASE
)
_MAX_TEXT = 20_000  # characters


@lru_cache(maxsize=256)
def remove_doubted(text: str) -> str:
    """Return a trusted text without what it names under doubt, or forbids to pay or to write to."""
    if len(text) > _MAX_TEXT or not (_DISTRUST.search(text) or _PROHIBITED.search(text)):
        return text
    kept: list[str] = []
    for sentence in _SENTENCE.split(text):
        plain = _PROHIBITED.sub(lambda m: m[0] if _LIMITED.search(m["rest"]) else " ", sentence)
        if not _DISTRUST.search(sentence):
            kept.append(plain)
            continue
        if kept and _REFERS_BACK.match(sentence):  # "Mia sent me an account. It is a scam."
            kept[-1] = _keep_orders(kept[-1])
        kept.append(_keep_orders(plain))
    return "\n".join(kept)


def _keep_orders(sentence: str) -> str:
    """Return the clauses of a sentence from the first that is an order."""
    clauses = _CLAUSE.split(sentence)
    first = next((place for place, clause in enumerate(clauses) if _is_order(clause)), len(clauses))
    return " ".join(clauses[first:])


def _is_order(clause: str) -> bool:
    word = _ORDER.match(clause)
    return word is not None and word[1].lower() in _VERBS
