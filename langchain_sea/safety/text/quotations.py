"""What a user pasted or quoted, apart from the user's own words: a mail, a log, a document, a stranger's sentence.

The user's own words are orders. A pasted text is data: a stranger may have written it. It is known by its marks: code
fences, lines with `>`, headers of mails, long quotations, tags, and what follows words such as "this mail:". Knows no
conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from langchain_sea.safety.text.tool_effects import find_requested_acts

__all__ = ["Pasted", "split_pasted"]

_MIN_WORDS = 8  # of a quotation; shorter ones are names and values
_MAX_TEXT = 200_000  # characters
_MAX_BLOCKS = 50
_MAX_INTRODUCTION = 4_000  # characters in which a text is introduced
_MAX_TAIL = 25  # words of a last paragraph that is the user's own
_THINGS = (
    r"(?:e-?mails?|mails?|messages?|texts?|sms|letters?|notes?|logs?|log ?files?|documents?|articles?|paragraphs?|passages?|posts?|tweets?|reviews?|comments?|chats?|conversations?|transcripts?|threads?|tickets?|reports?|offers?|contracts?|clauses?|invoices?|bills?|pages?|snippets?"
    r"|outputs?|errors?|stack ?traces?|tracebacks?|warnings?|configs?|json|csv|html|data|forms?|notices?|announcements?|dms?|whatsapp|voicemails?|adverts?|ads?|newsletters?|descriptions?|quotes?|statements?|sentences?|poems?|repl(?:y|ies)|answers?|readme|files?|excerpts?|abstracts?|proposals?|memos?|cvs?|resumes?|listings?|job ad)"
)
_INTRODUCTION = re.compile(
    rf"(?:\b(?:this|these|(?:the )?following|below|my (?:boss|landlord|bank|colleague|friend|mother|father|neighbou?r|client|customer|supplier|doctor)'?s?)\s+(?:[\w'-]+\s+){{0,3}}?{_THINGS}\b[^.:!?\n]{{0,80}}"
    r"|\b(?:wrote|writes|says|said|reads|sent me|sent us|got this|received this|got the following|received the following|told me|came in|states)\b[^.:!?\n]{0,60})(?::(?!/)|\?|:?[ \t]*\n)\s*"
    rf"|\bthe\s+(?:[\w'-]+\s+){{0,2}}?{_THINGS}\b[^.:!?\n]{{0,40}}:(?!/)\s*",
    re.IGNORECASE,
)
_FENCE = re.compile(
    r"(?ms)^[ \t]*(?P<mark>```|~~~)[^\n]*\n(?P<text>.*?)(?:^[ \t]*(?P=mark)[ \t]*$|\Z)|```(?P<inline>[^`]+)```|\"\"\"(?P<triple>.*?)(?:\"\"\"|\Z)"
)
_TAG = re.compile(r"<(?P<name>[A-Za-z][\w-]{1,30})>(?P<text>.{20,}?)</(?P=name)>", re.DOTALL)
_CITED = re.compile(r"(?m)(?:^[ \t]*>[^\n]*(?:\n|\Z)){1,}")
_RULE = re.compile(r"(?ms)^[ \t]*(?P<mark>-{3,}|={3,}|\*{3,}|_{3,}|#{3,}|<{3,}|-+ ?(?:begin|start|original|forwarded)[^\n]*-+)[^\n]*\n(?P<text>.*?)(?:^[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,}|>{3,}|-+ ?end)[^\n]*$|\Z)", re.IGNORECASE)  # fmt: skip
_HEADER = re.compile(
    r"(?mi)^[ \t]*(?:from|to|subject|date|sent|cc|bcc|reply-to|re|fwd|von|an|betreff|gesendet|datum|de|objet|asunto)[ \t]*:[^\n]+"
)
_MIN_HEADERS = 2
_QUOTES = (
    re.compile(r"(?<![\w\"])\"([^\"]{1,20000})\""), re.compile(r"“([^”]{1,20000})(?:”|\Z)"), re.compile(r"„([^“”]{1,20000})[“”]"), re.compile(r"«([^»]{1,20000})»"), re.compile(r"»([^«]{1,20000})«"),
    re.compile(r"(?<![\w'])'(?=\S)((?:[^']|(?<=\w)'(?=\w)){1,20000})'(?!\w)"), re.compile(r"‘((?:[^’]|(?<=\w)’(?=\w)){1,20000})’(?!\w)"),
)  # fmt: skip
_REFERS = re.compile(
    r"\b(?:this|that|it|these|those|they|above|he|she|them|the (?:e-?mail|mail|message|text|sender|author|letter|log|document|offer|link|attachment))\b|\?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"://|@\w|\b[A-Z]{2}\d{2}[A-Z0-9 ]{10,}|\d{5,}")
_DOUBTS = re.compile(
    r"\b(?:scams?|fraud\w*|phish\w*|spam|fake|legit\w*|genuine|trustworthy|trust|suspicious|hoax|authentic|malicious|malware|virus|dodgy|fishy|rip-?off|betrug|betrügerisch|arnaque|frauduleux|estafa|fraude|truffa|oszustwo)\b"
    r"|\b(?:is|are|was|does|do|seems?|looks?)\b[^.!?\n]{0,60}\b(?:real|safe|true|serious|dangerous|ok|okay|normal|plausible|official)\b[^.!\n]{0,60}\?",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\?|\b(?:what|who|whom|whose|when|where|which|why|how|summari[sz]e|summary|translate|translation|explain|explanation|check|review|proofread|analy[sz]e|analysis|classify|categori[sz]e|read|describe|rephrase|paraphrase|shorten|tell me|tl;?dr|mean(?:s|ing)?|opinion|think|understand"
    r"|evaluate|assess|judge|count|extract|list|find|identify|detect|compare|spell-?check|grammar|sentiment|tone|show me|look at|have a look|help me understand|key points|main points)\b",
    re.IGNORECASE,
)
_HANDS_OVER = re.compile(
    r"\b(?:do|follow|carry out|execute|act on|complete|perform|handle|implement|apply|process|obey)\b(?: \w+){0,3}? (?:this|that|it|these|them|the following|as|what|instructions?|steps|tasks?|to-?dos?|actions|everything|all|below)\b|\baccordingly\b|\btake care of\b|\bdeal with\b",
    re.IGNORECASE,
)


class Pasted(NamedTuple):
    """A user's message by who wrote it.

    Attributes:
        own: the user's words.
        blocks: what the user pasted or quoted.
        is_data: whether the user only asks about the blocks, so that nothing in them is the user's.
        is_doubted: whether the user asks if a block can be trusted.
    """

    own: str
    blocks: tuple[str, ...] = ()
    is_data: bool = False
    is_doubted: bool = False


@lru_cache(maxsize=512)
def split_pasted(text: str) -> Pasted:
    """Split a user's message; one whose words hand the acts over to what was pasted stays whole."""
    own, blocks = text[:_MAX_TEXT], list[str]()
    for take in (_take_fences, _take_tags, _take_cited, _take_rules, _take_headers, _take_quotes, _take_introduced):
        own, parts = take(own)
        blocks += parts
        if len(blocks) >= _MAX_BLOCKS:
            break
    words = own.strip(" \n\t:-—\"'“”„«»")
    if not blocks or not words or _HANDS_OVER.search(words):
        return Pasted(text)
    acts, is_doubted = find_requested_acts(words), _DOUBTS.search(words) is not None
    is_data = is_doubted or (acts == frozenset() and _ASKS.search(words) is not None)
    return Pasted(f"{own}{text[_MAX_TEXT:]}", tuple(blocks), is_data, is_doubted) if is_data or acts else Pasted(text)


def _is_long(text: str) -> bool:
    return len(text.split()) >= _MIN_WORDS


def _take(text: str, pattern: re.Pattern[str]) -> tuple[str, list[str]]:
    """Take what a pattern matches out of a text; short quotations stay."""
    blocks: list[str] = []

    def take(match: re.Match[str]) -> str:
        groups = [group for name, group in match.groupdict().items() if name not in ("mark", "name") and group] or [
            *match.groups()
        ]
        part = groups[0] if groups and groups[0] else match[0]
        if not _is_long(part):
            return match[0]
        blocks.append(part)
        return "\n"

    return pattern.sub(take, text), blocks


def _take_fences(text: str) -> tuple[str, list[str]]:
    return _take(text, _FENCE) if "```" in text or "~~~" in text or '"""' in text else (text, [])


def _take_tags(text: str) -> tuple[str, list[str]]:
    return _take(text, _TAG) if "</" in text else (text, [])


def _take_cited(text: str) -> tuple[str, list[str]]:
    return _take(text, _CITED) if ">" in text else (text, [])


def _take_rules(text: str) -> tuple[str, list[str]]:
    return _take(text, _RULE) if "\n" in text else (text, [])


def _take_headers(text: str) -> tuple[str, list[str]]:
    """Take a mail with its headers: from the first of two headers that stand together on."""
    matches = list(_HEADER.finditer(text))[:_MAX_BLOCKS]
    first = next((a for a, b in pairwise(matches) if not text[a.end() : b.start()].strip()), None)
    if first is None or len(matches) < _MIN_HEADERS:
        return text, []
    block, tail = _split_tail(text[first.start() :])
    return f"{text[: first.start()]}\n{tail}", [block]


def _take_quotes(text: str) -> tuple[str, list[str]]:
    blocks: list[str] = []
    for pattern in _QUOTES:
        text, parts = _take(text, pattern)
        blocks += parts
    return text, blocks


def _take_introduced(text: str) -> tuple[str, list[str]]:
    """Take what follows "this mail:" up to the user's last words."""
    for match in _INTRODUCTION.finditer(text, 0, _MAX_INTRODUCTION):
        block, tail = _split_tail(text[match.end() :])
        is_paragraph = match[0].rstrip(" \t").endswith("\n") or ":" in match[0]
        if _is_long(block) and (is_paragraph or "\n" in text[match.end() - 1 : match.end() + 1]):
            return f"{text[: match.end()]}\n{tail}", [block]
    first, gap, rest = text.partition("\n\n")
    if gap and first.rstrip().endswith("?") and _REFERS.search(first):
        block, tail = _split_tail(rest)
        if _is_long(block):
            return f"{first}\n{tail}", [block]
    return text, []


def _split_tail(text: str) -> tuple[str, str]:
    """Split what was pasted from a last paragraph that is the user's: short, about the text, and without any address."""
    block, gap, tail = text.rstrip().rpartition("\n\n")
    is_own = gap and len(tail.split()) <= _MAX_TAIL and _REFERS.search(tail) and not _PLACE.search(tail)
    return (block, tail) if is_own and block.strip() else (text, "")
