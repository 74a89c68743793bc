"""What the description of a reading tool says that a call changes: "With `hold`, the seat is booked".

A tool can be named `search_flights`, be annotated as one that only reads, and buy a ticket. The worst of what is said
about a tool counts. A sentence that names an argument is about the calls that give it. Knows no conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["list_described_acts"]

_ACTS = {
    "delete": "deletes?|deleted|removes?|removed|cancels?|cancell?ed|erases?|erased|purges?|purged|wipes?|wiped|destroys?|destroyed"
    "|truncates?|truncated|uninstalls?|uninstalled|revokes?|revoked",
    "pay": "pays?|paid|buys?|bought|purchases?|purchased|refunds?|refunded|donates?|donated|transfers? (?:the )?money|charged?",
    "book": "books|booked|reserves?|reserved",
    "send": "publishes|publish|published|tweets?|tweeted|(?:e-?mails?|sends?|forwards?) (?:an? |the |your |all )?(?:copy|copies|e-?mails?|mails?|messages?"
    "|notifications?|invitations?|contents?|data)|(?:is|are|gets?|be) (?:e-?mailed|sent|forwarded) to",
}  # fmt: skip
_LOST = re.compile(
    r"\b(?:leaves?|disappears? from|vanish(?:es)? from|drops? out of|(?:is|are) (?:gone|lost|dropped|taken) from|no longer (?:in|part of))"
    r" (?:the|your|our|its) (?:[\w-]+ ){0,2}?(?:database|list|table|account|system|store|inbox|mailbox|calendar|index|folder|record|book|bucket|disk)",
    re.IGNORECASE,
)
_VERBS = {act: rf"(?P<verb>{words})\b" for act, words in _ACTS.items()}
_STATED = {
    act: re.compile(
        rf"(?:^\W*(?:(?:it|this|this tool|the tool|the call|also|then) ){{0,2}}|(?:,|\band|\bthen) (?:also |then |it )?"
        rf"|\b(?<!that )(?<!which )(?<!who )(?:is|are|gets?|will|be) (?:be )?(?:then |also |automatically |at once )?){verb}",
        re.IGNORECASE,
    )
    for act, verb in _VERBS.items()
}
"""A sentence whose verb it is: at its beginning, after "and", or in the passive; no "orders that are cancelled"."""
_NEGATED = re.compile(
    r"\b(?:not|never|no|nothing|nobody|neither|doesn't|don't|won't|cannot|can't)\s+(?:(?:is|are|be|been|gets?|will|ever|also|then)\s+){0,3}$",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"\b(?:deletes?|removes?|removed|erases?|drops?)\s+(?:the |all |any |out )?(?:[\w-]+ ){0,2}?(?:tags?|html|markup|words?|white ?space|blanks?|spaces?"
    r"|duplicates?|noise|formatting|accents?|punctuation|characters?|boilerplate|ads|outliers|comments?|prefix|suffix|lines?|stop ?words)\b",
    re.IGNORECASE,
)
"""What a tool leaves out of its answer."""
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_MAX_TEXT = 4_000  # characters


def list_described_acts(
    description: str, schema: Mapping[str, Any], arguments: Mapping[str, object]
) -> list[frozenset[str]]:
    """List the classes of acts that a reading tool's own texts say of a call.

    Args:
        description: of the tool.
        schema: of its arguments.
        arguments: of the call.
    """
    properties = schema.get("properties")
    fields: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
    given = {name for name, value in arguments.items() if value not in (None, False, "", [], {}, "false", "no")}
    acts = [act for part, act in _read_description(description[:_MAX_TEXT]) if _is_about(part, fields, given)]
    for name in given & fields.keys():
        text = str(fields[name].get("description") or "") if isinstance(fields[name], dict) else ""
        if arguments[name] is True:  # a flag's own text says what the flag does
            acts += [act for _, act in _read_description(re.sub(r"^\W*(?:whether to|if true,?|also)\s+", "", text))]
    return [frozenset({act}) for act in dict.fromkeys(acts)]


@lru_cache(maxsize=2048)
def _read_description(text: str) -> tuple[tuple[str, str], ...]:
    """Return (sentence, act) of each sentence that says that something is changed."""
    stated = []
    for part in _SENTENCE.split(text[:_MAX_TEXT]):
        if _FORM.search(part):
            continue
        matches = [(act, match) for act, pattern in _STATED.items() for match in pattern.finditer(part)]
        matches += [("delete", match) for match in _LOST.finditer(part)]
        stated += [(part, act) for act, match in matches if not _is_negated(part, match)]
    return tuple(stated)


def _is_negated(sentence: str, match: re.Match[str]) -> bool:
    """Return whether a "not" or "nothing" comes right before the verb."""
    start = match.start("verb") if "verb" in match.groupdict() else match.start()
    return _NEGATED.search(sentence[:start]) is not None


def _is_about(sentence: str, fields: Mapping[str, Any], given: set[str]) -> bool:
    """Return whether a sentence is about a call: it names no argument, or one that is given."""
    named = {name for name in fields if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence, re.IGNORECASE)}
    return not named or bool(named & given)
