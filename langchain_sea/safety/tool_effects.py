"""What a tool does, by its name, and what a text asks to be done: verbs of English in a few classes.

A tool whose policy and annotations say nothing is a tool that reads or one that writes by the verbs in its name. Whether
somebody asked for a write is judged by the same classes of verbs. Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

__all__ = ["find_requested_acts", "has_injection_marker", "find_tool_acts", "guess_effect", "is_open_source", "list_words", "names_directive"]

_READS = frozenset(
    "get search read list find look lookup view show fetch query check count describe calculate compute think plan"
    " retrieve browse visit summarize summarise translate convert compare analyze analyse verify validate estimate"
    " inspect select is has preview note remember recall rank filter filtered parse detect identify explain predict"
    " recommend monitor track see tell".split()
)
_ACTS: dict[str, frozenset[str]] = {
    "send": frozenset(
        "send sends email mail message text dm notify notification forward reply respond response tell inform write post"
        " publish tweet announce contact call share invite let submit ask say comment congratulate thank greet answer"
        " message dispatch deliver attach feedback broadcast ping remind".split()
    ),
    "pay": frozenset(
        "pay payment transfer wire refund donate donation purchase buy order spend money transaction funds charge"
        " checkout reimburse bill invoice trade sell bid deposit withdraw insure insurance certificate compensate"
        " compensation settle owe split".split()
    ),
    "book": frozenset("book reserve reservation booking register enroll subscribe schedule appointment rent hire".split()),
    "create": frozenset(
        "create add make new insert schedule set setup plan book append write upload save record build generate open"
        " draft start put log store download export import invite reserve arrange organize organise copy prepare collect compile document".split()
    ),
    "delete": frozenset(
        "delete remove cancel drop erase clear purge uninstall wipe close revoke unsubscribe destroy discard return"
        " kick clean reject dismiss terminate stop end".split()
    ),
    "update": frozenset(
        "update change modify edit set reset adjust move reschedule rename replace increase decrease enable disable"
        " switch turn upgrade downgrade correct apply fix mark assign exchange swap postpone shift extend sort merge"
        " append add reduce restore redeem toggle sync configure control manage handle operate lock unlock pause resume".split()
    ),
    "grant": frozenset("grant share invite add allow give authorize authorise permit access unlock role promote".split()),
    "execute": frozenset("run execute exec eval install deploy start launch restart kill shutdown compile test".split()),
}
_HELPERS = frozenset("human humans escalate handoff supervisor operator".split())
_OFTEN_NOUNS = frozenset(
    "email mail message text call note order book post record change share schedule appointment notification response"
    " comment plan payment transfer transaction money funds charge bill invoice reservation booking donation deposit"
    " insurance certificate document log draft store copy test access role agent agents human trade purchase refund"
    " return exchange report answer update set start open end contact feedback split new build compensation bid".split()
)
_DETERMINERS = frozenset(
    "the a an my your our his her their its this that these those any all each every some no unread new newest latest"
    " last first next recent of in from which what same largest smallest many sent received draft".split()
)
_OPEN_SOURCES = frozenset("web webpage page pages website url browser browse http https fetch scrape crawl rss news".split())
_ENGLISH = frozenset("the a is are to of and what when where who how my me i you please can for in on do does it".split())
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z]+")
_CLASS_OF = {verb: {name for name, verbs in _ACTS.items() if verb in verbs} for verbs in _ACTS.values() for verb in verbs}
_MARKERS = re.compile(
    r"ignore (?:all |any |the )?(?:previous|prior|above|earlier)|disregard (?:all|any|the|your|previous)"
    r"|<\s*/?\s*(?:information|important|system|instructions?|admin)\s*>|\[\s*(?:system|inst|important)\b"
    r"|important message (?:from|to|for)|before you (?:can|do|answer|use|solve|continue|proceed)|new (?:task|instructions?) (?:is|are|for)"
    r"|(?:^|\n)\s*(?:system|assistant|developer|todo)\s*:|do the following (?:first|task|steps|things)|instead of (?:the|what|your)"
    r"|(?:ai|llm|gpt|language model|assistants?|agents?|chatbot)s?[,:]? (?:must|should|please|need)|as an? (?:ai|assistant|agent)",
    re.IGNORECASE,
)


def list_words(name: str) -> list[str]:
    """Split a name such as `sendEmail_now` into its words in lower case."""
    return [word.lower() for word in _CAMEL.split(name) if word]


@lru_cache(maxsize=4096)
def guess_effect(name: str) -> Literal["read", "write"]:
    """Return whether a tool of this name reads only: it has a verb of reading, and no verb of writing beside it."""
    words = list_words(name)
    first = next((i for i, word in enumerate(words) if word in _READS or word in _CLASS_OF), None)
    if first is None or words[first] not in _READS:
        return "write"
    others = [word for word in words[first + 1 :] if word in _CLASS_OF and word not in _OFTEN_NOUNS and word not in _READS]
    return "write" if others else "read"


@lru_cache(maxsize=4096)
def find_tool_acts(name: str) -> frozenset[str]:
    """Return the classes of a writing tool's name; none where it has no known verb, or asks a human for help."""
    words = list_words(name)
    if not _HELPERS.isdisjoint(words):
        return frozenset()
    return frozenset(act for word in words for act in _CLASS_OF.get(word, ()))


@lru_cache(maxsize=1024)
def find_requested_acts(text: str, *, with_nouns: bool = False) -> frozenset[str] | None:
    """Return the classes of acts that a text asks for; None where it is not English, and so cannot be judged.

    Args:
        text: of somebody who is trusted.
        with_nouns: whether to mention an act is to ask for it, as in an operator's description of the agent's duties.
    """
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return frozenset()
    acts: set[str] = set()
    for previous, word in zip(["", *words], words, strict=False):
        stem = _find_verb(word)
        is_noun = stem in _OFTEN_NOUNS and (previous in _DETERMINERS or word.endswith("s"))
        if stem is None or (is_noun and not with_nouns):
            continue
        acts |= _CLASS_OF[stem]
    is_english = any(word in _ENGLISH or word in _READS for word in words)
    return frozenset(acts) if acts or is_english else None


@lru_cache(maxsize=1024)
def has_injection_marker(text: str) -> bool:
    """Return whether a text speaks to the agent itself: the marks of a prompt injection."""
    return _MARKERS.search(text) is not None


@lru_cache(maxsize=4096)
def names_directive(sentence: str) -> bool:
    """Return whether a sentence of somebody's text tells its reader to act."""
    if _MARKERS.search(sentence):
        return True
    words = [word.lower() for word in _WORD.findall(sentence)]
    for place, word in enumerate(words):
        if _find_verb(word) is None and word not in _READS:
            continue
        previous = words[place - 1] if place else ""
        if previous in ("", "please", "must", "should", "and", "then", "to", "also", "now", "first", "just", "can", "could"):
            return True
    return False


@lru_cache(maxsize=4096)
def is_open_source(name: str) -> bool:
    """Return whether a tool of this name brings pages of the web, which strangers write as they like."""
    return not _OPEN_SOURCES.isdisjoint(list_words(name))


def _find_verb(word: str) -> str | None:
    """Return the verb of which a word is a form."""
    if word in _CLASS_OF:
        return word
    for ending, replacement in (("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending) and (stem := word.removesuffix(ending) + replacement) in _CLASS_OF:
            return stem
    if len(word) > 5 and word[-4:] in ("ting", "ping", "ling"):  # cancelling, stopping
        stem = word[:-4]
        return stem if stem in _CLASS_OF else None
    return None
