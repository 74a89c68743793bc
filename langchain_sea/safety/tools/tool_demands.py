"""What the text of a tool demands: the content of a file, a credential, or that another tool runs first or always.

Descriptions, titles, defaults and examples are text that anybody may have written. A demand is a doubt about the calls
that would meet it, and about no others. Knows no conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.addresses.paths import find_bad_paths_in_text
from langchain_sea.safety.text.argument_kinds import get_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["asks_for_reasons", "find_argument_demand", "find_order", "list_schema_texts", "names_tool_with_demand"]

_PUTS = r"(?:put|puts|include|includes|pass|passes|paste|insert|attach|add|copy|copies|fill|place|provide|supply|send|append|embed|set|write|give|enter|repeat|quote|report|must|should|needs?|requires?|contains?|expects?|filled|containing)"
_CONTENT = (
    r"(?:contents?|text|value|values|body|output|result|results|copy|dump|data|lines?|list)\s+(?:of|from|in)\s+(?:the\s+|your\s+|any\s+|all\s+|every\s+|each\s+|its\s+|their\s+|a\s+)*(?:[\w'-]+\s+){0,3}?"
    r"(?:env\b|environment\b|config(?:uration)?s?\b|settings\b|credentials?\b|passwords?\b|secrets?\b|tokens?\b|keys?\b|cookies?\b|session\b|wallet\b|clipboard\b|history\b|memory\b|memories\b|inbox\b|mailbox\b|contacts\b|address book\b|system prompt\b|instructions\b|other tools?\b|previous\b|earlier\b|last\b)"
)
_CREDENTIAL = (
    r"(?:user'?s?|your|their|account|admin|current|stored|saved|available|any|all|known)\s+(?:[\w'-]+\s+){0,2}?(?:passwords?|api[ _-]?keys?|access[ _-]?tokens?|auth(?:entication)? tokens?|tokens?|credentials?|secrets?|session cookies?|cookies?|private keys?|ssh keys?|pin\b|one[- ]time codes?|otp|2fa|recovery codes?|seed phrase|card numbers?|cvv|cvc|ssn|social security|passport)"
    r"|\b(?:api[ _-]?keys?|passwords?|credentials?|private keys?|ssh keys?|environment variables?|env(?:ironment)? vars?|\.env\b|id_rsa|secrets?)\s+(?:of|from|found|in|that|which|you|the user|stored|saved|known|available|for (?:the|any|all))\b"
)
_CONVERSATION = (
    r"what (?:the user|they|he or she) (?:has |have )?(?:said|told|wrote|written|asked|typed|mentioned)(?: \w+){0,3} (?:before|so far|earlier|previously|until now|in (?:this|the) (?:chat|conversation|thread))"
    r"|(?:chat|message|conversation|dialog(?:ue)?) (?:log|logs|transcript|content|contents|record|so far|until now|up to now|before this)"
    r"|(?:all|every|each|previous|prior|preceding|earlier|recent)(?: of)?(?: the| your| his| her| their)?(?: user'?s?)? (?:messages|turns|prompts|utterances|questions and answers)|(?:your|the) (?:system (?:prompt|message)|instructions|hidden prompt|chain of thought|internal (?:notes|thoughts|reasoning))\b(?! (?:for|to|on|about))"
    r"|(?:names?|descriptions?|list|results?|outputs?|answers?|schemas?) of (?:all |the |your |every |any |each )*(?:other |available |previous |earlier )+tools?"
    r"|personal (?:data|information|details) (?:of|about) the user|about the user\b.{0,40}\b(?:know|learned|remember)|(?:know|learned|remember)\b.{0,40}\babout the user"
)
_ARGUMENT_DEMANDS = (
    ("the content of a file or of settings", re.compile(rf"\b{_PUTS}\b[^.!?\n]{{0,80}}?\b{_CONTENT}|^\W*(?:the |all |full |raw |complete )*{_CONTENT}", re.IGNORECASE)),
    ("a credential", re.compile(rf"\b{_PUTS}\b[^.!?\n]{{0,80}}?\b(?:{_CREDENTIAL})|^\W*(?:the |all |any |raw )*(?:{_CREDENTIAL})", re.IGNORECASE)),
    ("the conversation", re.compile(_CONVERSATION, re.IGNORECASE)),
)  # fmt: skip
_OWN_CREDENTIALS = frozenset("password passwd token secret key apikey credential credentials auth authorization login otp pin code cvv cvc card session cookie passport ssn user username account".split())  # fmt: skip
"""Words of arguments and tools that a credential belongs into."""
_FILE_TOOLS = frozenset("file files path read write edit open list directory folder fs filesystem ssh shell bash command run terminal env dotenv secret secrets config git grep search find glob cat view upload".split())  # fmt: skip
_PERSON = r"(?:the |this |your |that )?(?:user|person|human|customer|client|caller|people|traveller|traveler|patient|requester|somebody|someone|they|he or she)"
_REASONS = re.compile(
    rf"\b(?:why|for what (?:reason|purpose)|what for|how come) {_PERSON}\b"
    rf"|\b{_PERSON}(?:'s|s'|s)? (?:own |personal |private |current |real )*(?:reasons?|motives?|intentions?|background|situation|circumstances|words|feelings|plans|life)\b"
    rf"|\b(?:reasons?|background|situation|circumstances|motives?|words|intentions?) of {_PERSON}\b",
    re.IGNORECASE,
)
"""What nobody needs to answer a question."""
_ORDER = re.compile(
    r"\b(?:always|must(?: be)?|should(?: always)?(?: be)?|has to be|needs? to be|is (?:to be )?)\s*(?:\w+\s+){0,2}?(?:call|called|use|used|run|invoke|invoked|execute|executed)\b[^.!?\n]{0,40}?\b(?:first|before|prior to|after|at the (?:start|beginning|end)|on|with|for)\b[^.!?\n]{0,20}?(?:\b(?:any|each|every|all|other|the first)\b[^.!?\n]{0,20}?)?(?:tools?|calls?|answer\w*|messages?|requests?|turns?|respon\w+|repl(?:y|ies|ying)|actions?|steps?|questions?|conversations?|tasks?|anything|everything)\b"
    r"|\b(?:call|use|run|invoke|execute) (?:this|it|the tool|this tool)\b[^.!?\n]{0,40}?\b(?:first|before|prior to|after|at the (?:start|beginning|end)|on)\b[^.!?\n]{0,20}?(?:\b(?:any|each|every|all|other)\b[^.!?\n]{0,20}?)(?:tools?|calls?|answer\w*|messages?|requests?|turns?|respon\w+|repl(?:y|ies|ying)|actions?|steps?|questions?|conversations?|tasks?|anything|everything)\b"
    r"|\b(?:before|after|prior to) (?:any|each|every|all)(?: of)?(?: the)? (?:other )?(?:tools?|calls?|answers?|messages?|requests?|turns?|responses?|replies|actions?|steps?)\b"
    r"|\b(?:instead of|in place of|rather than|never use|do not use|don't use) (?:the |any |all )?(?:other|another|different|official|original|built-in|similar)\b[^.!?\n]{0,30}\b(?:tools?|servers?|functions?)\b"
    r"|\bregardless of what the user\b|\beven if (?:the user|nobody|not asked)\b|\bwithout (?:asking|being asked|the user)\b",
    re.IGNORECASE,
)
"""A place in the order of all calls that a tool claims for itself."""
_DEMAND_WORDS = re.compile(
    r"\b(?:must|should|always|needs? to|have to|has to|required?|requires?|first|before|after|only (?:valid|works?|correct|complete)|valid|then|also|next|call|calls|called|calling|run|runs|use|invoke|invoked|execute|without|otherwise|until|unless|once|prior|mandatory|necessary)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MAX_TEXTS = 400  # of one tool
_MAX_TEXT = 4_000  # characters


def list_schema_texts(schema: Mapping[str, Any] | None, path: str = "") -> list[tuple[str, str]]:
    """List (argument, text) of all that a schema says to a reader: titles, descriptions, defaults, enumerated values, examples."""
    texts: list[tuple[str, str]] = []
    stack: list[tuple[str, Any]] = [(path, schema)]
    while stack and len(texts) < _MAX_TEXTS:
        argument, node = stack.pop()
        if isinstance(node, dict):
            for key, entry in node.items():
                if key in ("properties", "$defs", "definitions", "patternProperties") and isinstance(entry, dict):
                    stack += [
                        (argument or (str(name) if key == "properties" else ""), each) for name, each in entry.items()
                    ]
                    texts += [(argument or str(name), str(name)) for name in entry]
                else:
                    stack.append((argument, entry))
        elif isinstance(node, list):
            stack += [(argument, each) for each in node]
        elif isinstance(node, str) and len(node) > 2:  # noqa: PLR2004 - characters
            texts.append((argument, node[:_MAX_TEXT]))
    return texts


@lru_cache(maxsize=2048)
def find_argument_demand(text: str, argument: str, tool: str) -> str | None:
    """Return what a text wants to have in an argument that does not belong there.

    Args:
        text: of a description.
        argument: that it describes; empty where it describes the tool.
        tool: its name.
    """
    words = {*get_words(argument), *get_words(tool)}
    if _FILE_TOOLS.isdisjoint(words) and (danger := next(find_bad_paths_in_text(text[:_MAX_TEXT]), None)):
        return f"a file ({danger.reason})"
    for what, pattern in _ARGUMENT_DEMANDS:
        if what == "a credential" and not _OWN_CREDENTIALS.isdisjoint(get_words(argument) or words):
            continue
        if what != "the conversation" and not _FILE_TOOLS.isdisjoint(get_words(tool)):
            continue
        if match := pattern.search(text[:_MAX_TEXT]):
            return f"{what} ({match[0].strip()[:60]!r})"
    return None


@lru_cache(maxsize=2048)
def asks_for_reasons(text: str) -> bool:
    """Return whether a text wants to know why a person asks, or in which situation they are."""
    return _REASONS.search(text[:_MAX_TEXT]) is not None


@lru_cache(maxsize=2048)
def find_order(text: str) -> str | None:
    """Return the words by which a tool claims a place in the order of all calls."""
    match = _ORDER.search(text[:_MAX_TEXT])
    return match[0].strip()[:80] if match else None


@lru_cache(maxsize=2048)
def names_tool_with_demand(text: str, tool: str) -> bool:
    """Return whether a sentence of a text names a tool and says that it must run."""
    if tool not in text:
        return False
    named = re.compile(rf"(?<![\w-]){re.escape(tool)}(?![\w-])")
    return any(named.search(part) and _DEMAND_WORDS.search(part) for part in _sentences(text[:_MAX_TEXT]))


def _sentences(text: str) -> Iterator[str]:
    yield from _SENTENCE.split(text)
