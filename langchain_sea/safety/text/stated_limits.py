"""Limits that a user states: an act that is to wait, and things that are to be left alone. Knows no conversation."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from langchain_sea.safety.text.endorsement import agrees, find_closing_question, refuses
from langchain_sea.safety.text.tool_effects import find_requested_acts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["leaves_others", "list_held_back_acts", "list_refused_acts", "remove_limits"]

_YET = r"(?:it|them|this|that|anything|something|any of (?:it|them)|the \w+)"
_LATER = (
    (
        frozenset(["send"]),
        re.compile(
            r"\b(?:keep|save|leave|store) (?:\w+ ){0,3}?as (?:an? |my )?drafts?\b|\b(?:only|just) (?:an? |the )?draft\b|\bdraft only\b|\bdo(?:n't| not) send\b"
            rf"|\bwithout sending\b|\bnot? (?:be )?sent yet\b|\b(?:i|we)(?:'ll| will| want| need| would like|'d like| prefer)(?: to)? (?:\w+ )?(?:read|see|check|review|approve|proofread|look at|go over) {_YET} (?:first|before|myself)\b"
            rf"|\b(?:show|let me see|ask|check with|run) (?:\w+ ){{0,2}}?(?:me|by me|past me)? ?(?:first|before (?:you send|sending|it goes))\b",
            re.IGNORECASE,
        ),
    ),
    (
        frozenset(["book", "pay"]),
        re.compile(
            rf"\b(?:i|we)(?:'ll| will| want to| would like to|'d like to)? (?:decide|choose|think about it) (?:\w+ )?(?:later|first|myself|afterwards|tomorrow|tonight)\b"
            rf"|\bdo(?:n't| not) (?:book|buy|order|pay|reserve)\b(?: {_YET})?(?: yet\b| for now\b|[.!,]|$)|\bwithout (?:booking|buying|paying|ordering|reserving)\b",
            re.IGNORECASE,
        ),
    ),
    (
        frozenset(["delete", "update", "create", "pay", "book", "send", "grant"]),
        re.compile(
            r"\b(?:only|just) look(?:ing)?(?: at it)?\b(?=\W*(?:[.!,;]|$))|\blook only\b|\bwithout (?:changing|touching|modifying|editing) (?:anything|it|them)\b"
            r"|\bdo(?:n't| not) (?:change|touch|modify|edit) (?:anything|a thing|it|them)\b|\bchange nothing\b",
            re.IGNORECASE,
        ),
    ),
)
_ONE_MORE = re.compile(r"\b(?:also|as well|too|else|another|additional(?:ly)?|further|instead|other)\b", re.IGNORECASE)
_OTHERS = re.compile(
    r"\b(?:leave|skip|ignore|keep|not|without)(?: alone)?(?: all| any)?(?: of)?(?: the)? (?:others?|rest|remaining(?: ones)?|everything else|anything else)\b[^.!?,;\n]{0,20}"
    r"|\bnothing else\b|\bno others?\b|\band no more\b",
    re.IGNORECASE,
)


def list_held_back_acts(texts: tuple[str, ...]) -> frozenset[str]:
    """Return the classes of acts that a user's texts say are to wait, unless later words ask for them.

    Args:
        texts: of the user, newest first.
    """
    if not texts or agrees(texts[0]):
        return frozenset()
    held, asked_later = frozenset[str](), frozenset[str]()
    for text in texts:
        held |= frozenset().union(*(acts for acts, pattern in _LATER if pattern.search(text))) - asked_later
        asked_later |= find_requested_acts(text) or frozenset()
    return held


def list_refused_acts(spoken: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Return the classes of acts that the agent asked about and the user said no to, unless later words ask for them.

    A question about one more act of a kind ("Shall I also book a seat?") says nothing about the first one.

    Args:
        spoken: (role, text) of what user and agent said, oldest first.
    """
    refused = frozenset[str]()
    for (role, before), (next_role, text) in pairwise((("", ""), *spoken)):
        if next_role != "user":
            continue
        asked = find_requested_acts(text) or frozenset()
        refused -= asked
        question = find_closing_question(before) if role == "assistant" and refuses(text) else ""
        if not _ONE_MORE.search(question):
            refused |= (find_requested_acts(question) or frozenset()) - asked
    return refused


def leaves_others(text: str) -> bool:
    """Return whether a text says that what it does not name is to be left alone."""
    return _OTHERS.search(text) is not None


def remove_limits(text: str) -> str:
    """Return a text without the words about what is to be left alone."""
    return _OTHERS.sub(" ", text)
