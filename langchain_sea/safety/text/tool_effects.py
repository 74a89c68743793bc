"""What a tool does, by its name, and what a text asks to be done: verbs of English in a few classes.

A tool whose policy and annotations say nothing reads or writes as the verbs in its name say. Whether somebody asked
for a write is judged by the same classes of verbs. Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from langchain_sea.safety.text.act_words import (
    ACTS,
    CERTAIN,
    DETERMINERS,
    ENGLISH,
    HELPERS,
    KEEPS,
    MEMORY,
    MONEY,
    MOVES,
    OFTEN_NOUNS,
    OPEN_SOURCES,
    READABLE,
    READS,
    REMEMBERS,
    REPORTS,
)
from langchain_sea.safety.text.deobfuscation import decode_forms

__all__ = [
    "find_certain_acts",
    "find_name_acts",
    "find_requested_acts",
    "find_tool_acts",
    "guess_effect",
    "has_injection_marker",
    "is_document",
    "is_open_source",
    "is_report",
    "list_words",
    "names_directive",
]

_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z]+")
_CLASS_OF = {verb: {name for name, verbs in ACTS.items() if verb in verbs} for verbs in ACTS.values() for verb in verbs}
_MARKERS = re.compile(
    r"ignore (?:all |any |the )?(?:previous|prior|above|earlier)|disregard (?:all|any|the|your|previous)"
    r"|<\s?/?\s?(?:information|important|system|instructions?|admin)\s?>|\[\s?(?:system|inst|important)\b"
    r"|important message (?:from|to|for)|before you (?:can|do|answer|use|solve|continue|proceed)"
    r"|new (?:task|instructions?) (?:is|are|for)|(?:^|\n)[ \t]*(?:system|assistant|developer|todo)\s*:"
    r"|do the following (?:first|task|steps|things)|instead of (?:the|what|your)"
    r"|(?:ai|llm|gpt|language model|assistants?|agents?|chatbot)s?[,:]? (?:must|should|please|need)"
    r"|as an? (?:ai|assistant|agent)",
    re.IGNORECASE,
)
_TO_ANSWER = re.compile(
    r"\b(?:tell|give|show|get|bring|fetch|return|let|read|write|draft|send back)(?:s|ing)? (?:me|us)\b"
    r"(?! (?:access|rights|permission|the right))"
    r"|\b(?:return|give|report|output|answer|state)\b (?:back )?(?:only |just )?(?:the |a |all |an |each |every )*"
    r"(?:\w+ ){0,2}?(?:names?|numbers?|lists?|results?|values?|contents?|texts?"
    r"|summar(?:y|ies)|details?|answers?|json|titles?|ids?|counts?"
    r"|sums?|totals?|averages?|dates?|emails?|addresses|rows?|figures?|output|data|information|info|files)\b",
    re.IGNORECASE,
)
"""Words that ask for an answer, and for no act: "give me", "return the names"."""
_ABOUT = re.compile(
    r"\b(?:how (?:do|does|would|should|could|to)|what happens (?:if|when|after)|is it possible to|what would happen"
    r"|what is the (?:fee|fine|penalty) (?:for|if)"
    r"|(?:am i|are we) (?:able|allowed) to|(?:do|would|must) (?:i|we) (?:have|need) to)\b[^.?!\n]*",
    re.IGNORECASE,
)
"""Questions about an act, which ask for none."""
_ASKS_FOR_FACTS = re.compile(
    r"(?:^|(?<=[.!?\n]))\s*(?:which|how (?:many|much|long|often|large|big|old)|who|when|where|why)\b"
    r"(?:(?!,|;|:|\band\b|\bthen\b)[^.?!\n])*\?",
    re.IGNORECASE,
)
"""Questions for a fact, whose verbs ask for no act: "Which orders are still open?"."""
_SUM = re.compile(
    r"[$€£¥]\s?\d|\d\s?(?:[$€£¥]|(?:usd|eur|gbp|chf|dollars?|euros?|pounds?|bucks)\b)"
    r"|\b(?:money|amount|difference|fees?|costs?|price|bills?|invoices?|iban|rent|debts?|salary|share|\d+\.\d\d)\b",
    re.IGNORECASE,
)
_SENDS = frozenset(["send", "give", "move", "put", "return", "settle"])
_ACTS_OF_NOUNS = {
    **dict.fromkeys(("deletion", "deletions", "removal", "cancellation", "cancelation"), ("delete",)),
    **dict.fromkeys(("modification", "adjustment", "correction", "replacement"), ("update",)),
    **dict.fromkeys(("creation", "addition"), ("create",)),
    **dict.fromkeys(("approval", "acceptance"), ("approve",)),
}
_PHRASES = (
    (
        re.compile(
            r"\b(?:want|like|need|request|get|give|make|ask for|claim|due)\b[^.?!]{0,20}"
            r"\b(?:refunds?|reimbursements?|payouts?|donations?|payments?|purchases?|withdrawals?)\b",
            re.IGNORECASE,
        ),
        "pay",
    ),
    (re.compile(r"\b(?:money|refund|payment) back\b|\bpay\w* back\b|\btop(?:ping)? up\b", re.IGNORECASE), "pay"),
    (
        re.compile(
            r"\b(?:don't|do not|no longer) (?:need|want)\b|\b(?:need|want) \w+(?: \w+)? (?:any ?more|any longer)\b"
            r"|\bget rid of\b|\bcall(?:ed)? off\b|\bopt out\b|\btake \w+(?: \w+)? (?:out|off)\b|\bthrow (?:away|out)\b",
            re.IGNORECASE,
        ),
        "delete",
    ),
    (
        re.compile(r"\bmake \w+(?: \w+)? (?:an?|the) (?:admin\w*|owner|editor|member|moderator)\b", re.IGNORECASE),
        "grant",
    ),
)
_BEFORE_VERBS = frozenset(
    ("", "please", "must", "should", "and", "then", "to", "also", "now", "first", "just", "can", "could")
)
_REPORTING = frozenset(["did", "does", "has", "had", "was", "were"])
"""Words before what somebody does, or has done, which is no request."""
_ENDINGS = (("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("s", ""), ("es", ""), ("ies", "y"))
_MIN_DOUBLED = 6  # letters of a verb whose last consonant is doubled, as in "cancelling"


@lru_cache(maxsize=4096)
def list_words(name: str) -> list[str]:
    """Split a name such as `sendEmail_now` into its words in lower case."""
    return [word.lower() for word in _CAMEL.split(name) if word]


@lru_cache(maxsize=4096)
def guess_effect(name: str) -> Literal["read", "write"]:
    """Return whether a tool of this name reads only: it has a verb of reading, and no verb of writing beside it."""
    words = list_words(name)
    if find_certain_acts(name):  # `convert_funds`
        return "write"
    if words[:1] == ["open"] and not READABLE.isdisjoint(words[1:]):  # `open_page`, and not `open_account`
        return "read"
    first = next((i for i, word in enumerate(words) if word in READS or word in _CLASS_OF), None)
    if first is None or words[first] not in READS:
        return "write"
    others = [
        word for word in words[first + 1 :] if word in _CLASS_OF and word not in OFTEN_NOUNS and word not in READS
    ]
    return "write" if others else "read"


@lru_cache(maxsize=4096)
def find_tool_acts(name: str) -> frozenset[str]:
    """Return the classes of a writing tool's name; none where it has no known verb, or asks a human for help."""
    words = list_words(name)
    if not HELPERS.isdisjoint(words):
        return frozenset()
    return frozenset(act for word in words for act in _CLASS_OF.get(word, ()))


@lru_cache(maxsize=4096)
def find_certain_acts(name: str) -> frozenset[str]:
    """Return the classes of a name whose verb can mean nothing else: what deletes, pays, grants or is remembered.

    The first verb counts, or a verb that moves and a noun of money: `cancel_order`, `send_money`, `save_memory`.
    """
    words = list_words(name)
    if not HELPERS.isdisjoint(words):
        return frozenset()
    verb = next((word for word in words if word in READS or word in MOVES or word in _CLASS_OF), "")
    acts = {act for act, verbs in CERTAIN.items() if verb in verbs}
    if verb in MOVES and not (MONEY - {verb}).isdisjoint(words):
        acts.add("pay")
    if verb in ACTS["remember"] or (verb in KEEPS and not MEMORY.isdisjoint(words)):
        acts.add("remember")
    return frozenset(acts)


def find_name_acts(name: str) -> frozenset[str]:
    """Return all classes of a writing tool's name, the certain ones among them."""
    return find_tool_acts(name) | find_certain_acts(name)


@lru_cache(maxsize=1024)
def find_requested_acts(text: str, *, with_nouns: bool = False) -> frozenset[str] | None:
    """Return the classes of acts that a text asks for; None where it is not English, and so cannot be judged.

    Args:
        text: of somebody who is trusted.
        with_nouns: whether to mention an act is to ask for it, as in an operator's description of the agent's duties.
    """
    if not with_nouns:
        text = _TO_ANSWER.sub(" ", _ABOUT.sub(" ", _ASKS_FOR_FACTS.sub(" ", text)))
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return frozenset()
    acts = {"remember"} if not REMEMBERS.isdisjoint(words) else set()
    acts |= {"pay"} if _SUM.search(text) and not _SENDS.isdisjoint(words) else set()
    acts |= {act for word in words for act in _ACTS_OF_NOUNS.get(word, ())}
    acts |= {act for pattern, act in _PHRASES if pattern.search(text)}
    for place, word in enumerate(words):
        previous, stem = words[place - 1] if place else "", _find_verb(word)
        if not with_nouns and not _REPORTING.isdisjoint(words[max(0, place - 3) : place]):
            continue  # "What did Eve write?"
        is_noun = stem in OFTEN_NOUNS and (previous in DETERMINERS or word.endswith("s"))
        if stem is None or (is_noun and not with_nouns):
            continue
        acts |= _CLASS_OF[stem]
    is_english = any(word in ENGLISH or word in READS for word in words)
    return frozenset(acts) if acts or is_english else None


@lru_cache(maxsize=1024)
def has_injection_marker(text: str) -> bool:
    """Return whether a text speaks to the agent itself: the marks of a prompt injection."""
    return any(_MARKERS.search(form) for form in decode_forms(text, only_disguises=True))


@lru_cache(maxsize=4096)
def names_directive(sentence: str, *, is_report: bool = False) -> bool:
    """Return whether a sentence of somebody's text tells its reader to act.

    Args:
        sentence: of a text.
        is_report: whether it stands in the answer of a write, where "Payment failed" is no order.
    """
    if has_injection_marker(sentence):
        return True
    words = [word.lower() for word in _WORD.findall(sentence)]
    for place, word in enumerate(words):
        verb = _find_verb(word)
        if verb is None and word not in READS:
            continue
        if is_report and (verb is None or verb in OFTEN_NOUNS or word != verb):
            continue
        previous = words[place - 1] if place else ""
        if previous in _BEFORE_VERBS:
            return True
    return False


@lru_cache(maxsize=4096)
def is_document(name: str) -> bool:
    """Return whether a tool of this name reads a text which somebody wrote: a page, a file, a mail."""
    return not READABLE.isdisjoint(list_words(name))


def is_open_source(name: str) -> bool:
    """Return whether a tool of this name brings pages of the web, which strangers write as they like."""
    return not OPEN_SOURCES.isdisjoint(list_words(name))


def is_report(name: str) -> bool:
    """Return whether a tool of this name reports somebody, or keeps them out: `report_fraud`, `block_sender`."""
    return not REPORTS.isdisjoint(list_words(name)[:1])


def _find_verb(word: str) -> str | None:
    """Return the verb of which a word is a form."""
    if word in _CLASS_OF:
        return word
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and (stem := word.removesuffix(ending) + replacement) in _CLASS_OF:
            return stem
    if len(word) >= _MIN_DOUBLED and word[-4:] in ("ting", "ping", "ling"):
        stem = word[:-4]
        return stem if stem in _CLASS_OF else None
    return None
