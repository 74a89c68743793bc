"""What a user's "yes" agrees to: the part of the agent's message that proposes something, and nothing beside it.

A message can quote a stranger and then ask about something else, so a "yes" is no word for all of it. It endorses the
closing question. Where that question refers back ("Is that right?"), it endorses the text before it as well, without
sentences that warn of a fraud. A question whether to look at something endorses nothing but that. Knows no
conversation.
"""

from __future__ import annotations

import re

from langchain_sea.safety.text.act_words import DISTRUST

__all__ = ["agrees", "find_closing_question", "find_proposal", "refuses"]

_MAX_YES_WORDS = 60
_CLAUSE_END = re.compile(r"[.!?;,:\n]+|\s[-–—]\s")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+|\n+")
_YES = re.compile(
    r"^\W*(?:(?:oh|well|and|so|but|then|thanks|thank you|great|perfect)\s+)*"
    r"(?:yes|yeah|yep|yup|sure|ok|okay|correct|right|agreed?|fine|absolutely|definitely|certainly|of course|exactly"
    r"|ja|oui|sí|si|sim|da|hai|tak)\b"
    r"(?=\W*$|\s+(?:please|thanks?|thank you|go|do|i|let|you can|proceed|we|sir|ma'am)\b)",
    re.IGNORECASE,
)
_STRONG_YES = re.compile(
    r"\b(?:go ahead|proceed|please do|do it|do (?:so|that)|sounds (?:good|great|fine|perfect)|that works|works for me"
    r"|looks? (?:good|right|great|correct)|(?:that|this|it) ?(?:is|'s) (?:correct|right|fine|ok|okay|perfect)"
    r"|i (?:do |can |would like to )?confirm|confirmed|i agree|you have my (?:ok|permission|confirmation))\b",
    re.IGNORECASE,
)
_DISTRUST = re.compile(DISTRUST, re.IGNORECASE)
_REFUSAL = re.compile(
    r"\W*(?:no|nope|nah|rather not|please don't|please do not|don't|do not|nein|stop)\b(?! (?:problem|worries|doubt))",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:no|not|don't|do not|never|stop|wait|cancel that|nein|non)\b", re.IGNORECASE)
_ASKS_TO_CONFIRM = re.compile(
    r"\b(?:please (?:confirm|reply|answer|let me know|say)|let me know (?:if|whether)|confirm (?:if|that|whether|to|by)"
    r"|\(?yes ?/ ?no\)?|reply (?:with )?[\"'“]?yes)",
    re.IGNORECASE,
)
_REFERS_BACK = re.compile(
    r"\b(?:this|that|these|those|it|them|above|following|proceed|go ahead|continue|correct|right|confirm|details?|so"
    r"|summary|options?|one|way|all|both|ok|okay|agree"
    r"|the (?:mail|email|message|draft|payment|transfer|text|post|event|booking))\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"(?<!\bis)(?<!\bdo)(?<!\bdoes)(?<!\bto)(?<!\bwith)(?<!\bof)(?<!\babout)(?<!\blike)(?<!\ball) that"
    r"(?= (?:i|you|he|she|we|they|it|the|an?|is|are|was|were|has|have|had|can|will|[a-z]+(?:s|ed|en))\b)",
    re.IGNORECASE,
)
""""the photos that he sent": a word within its clause that refers to nothing before it."""
_LOOKS = re.compile(
    r"\b(?:would you (?:like|want)(?: me)?|do you (?:want|need)(?: me)?|shall i|should i|may i|can i|could i|want me) (?:to )?"
    r"(?:(?:also|now|first|then|just) )*(?:see|read|hear|know|look|view|show|check|open|list|find|search|summari[sz]e|explain|translate|compare)\b",
    re.IGNORECASE,
)
"""A question whether to look at something."""
_OWN_ACT = re.compile(
    r"\b(?:would you (?:like|want) me to|do you want me to|shall i|should i|may i|can i|could i|want me to)(?: (?:also|now|then|just|first))* [a-z]+ "
    r"(?!ahead\b|so\b|with\b|now\b|it\b|this\b|that\b|them\b|these\b)\w+",
    re.IGNORECASE,
)
"""A question for an act with an object of its own."""
_ACTS_TOO = re.compile(
    r"\b(?:and|or|then|before i)\s+(?:then |also )?(?:pay|send|transfer|book|buy|reply|answer|delete|cancel|do|proceed|go ahead|continue|confirm|order|submit)\b",
    re.IGNORECASE,
)
_LEAVES_OUT = re.compile(
    r"\b(?:ignore|skip|report|block|avoid|refuse|flag|reject|leave (?:it|that|this) out)\b", re.IGNORECASE
)
_WILL = re.compile(
    r"\b(?:i'll|i will|i shall|i can|i could|i would|i'd|i am going to|i'm going to|i propose|i suggest|let me"
    r"|we can|we will)\b",
    re.IGNORECASE,
)


def agrees(text: str) -> bool:
    """Return whether a user's message agrees to what was proposed: a clause of it says yes, and none before says no."""
    first = " ".join(text.split()[:_MAX_YES_WORDS])
    if _DISTRUST.search(first):
        return False
    place = 0
    for clause in _CLAUSE_END.split(first):
        start = first.find(clause, place)
        place = start + len(clause)
        yes = _YES.search(clause) or _STRONG_YES.search(clause)
        if yes is not None:
            no = _NO.search(first)
            return no is None or no.start() > start + yes.start()
    return False


def refuses(text: str) -> bool:
    """Return whether a user's message begins with a no to what was asked."""
    return _REFUSAL.match(text) is not None


def find_closing_question(text: str) -> str:
    """Return the last question of an agent's message; an empty text where it asks nothing."""
    return next(reversed(_list_questions(_split_sentences(text))), "")


def _split_sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def _list_questions(sentences: list[str]) -> list[str]:
    return [part for part in sentences if part.rstrip("\"')]*_ ").endswith("?") or _ASKS_TO_CONFIRM.search(part)]


def find_proposal(text: str) -> str:
    """Return the part of an agent's message that a "yes" endorses; an empty text where it proposes nothing."""
    sentences = _split_sentences(text)
    questions = _list_questions(sentences)
    statements = [part for part in sentences if not _DISTRUST.search(part)]
    if not questions:
        first = next((i for i, part in enumerate(statements) if _WILL.search(part)), None)
        return "" if first is None else "\n".join(statements[first:])
    closing = _RELATIVE.sub(" ", questions[-1])
    if _LOOKS.search(closing) and not _ACTS_TOO.search(closing):
        return questions[-1]
    if _REFERS_BACK.search(closing) and not _LEAVES_OUT.search(closing):
        return "\n".join(statements)
    if _OWN_ACT.search(closing):
        return questions[-1]
    return "\n".join(part for part in statements if part in questions or _WILL.search(part))
