"""Names of tools and servers that look like another's: `githud__create_issue`, `send_emali`, `github-official__push`.

Letters that look alike, letters that are exchanged, left out or doubled, and words that only decorate. Plurals, numbers
and pairs of real words are no likeness.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.text.act_words import ACTS, ENGLISH, OFTEN_NOUNS, READABLE, READS
from langchain_sea.safety.text.deobfuscation import fold_letters
from langchain_sea.safety.text.lookalikes import has_few_edits

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_twin", "make_skeleton"]

_WORD = re.compile(r"[^\W_]+")
_LOOKALIKES = str.maketrans("10|i", "loll")
_SERVER_END = re.compile(r"__|[./:]")
_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_MIN_WORD = 6  # letters of a word whose misspelt form is looked for
_MIN_SERVER = 4
_DECOR = frozenset("official mcp server new v2 v3 secure safe pro app io com org net plus beta verified helper api client hub real true original trusted my the fast cloud online prod tool tools service ai agent proxy mirror backup".split())  # fmt: skip
"""Words that make a server's name look like a better one."""
_REAL_WORDS = frozenset(
    "contact contract customer costumer policy police charge change message massage status statue state states patient patent attach attack assess access expand expend extend extent affect effect detail detain remove remote device devise"
    " advice advise weather whether insert invert invite invoice import export product products account accounts resource source course record section session station launch lunch version filter filler reserve reverse region legion series"
    " deploy employ market marker center centre colour color catalog catalogue program programme canceled cancelled archive archived report reports repost restart resume result insure ensure assure deserts desert allocate collocate"
    " payment pavement storage postage package passage parking packing meeting melting trading grading rating rates rates rating coping copying printer pointer folder holder border order orders letter latter better setter getter user users"
    " calendar colander transfer transform compute commute command commend compile comply complete compete delete delate select elect inspect expect prospect project protect product construct instruct intent intend invent".split()
)  # fmt: skip
_KNOWN = frozenset().union(*ACTS.values()) | READS | READABLE | ENGLISH | OFTEN_NOUNS | _REAL_WORDS


def make_skeleton(name: str) -> str:
    """Return what a reader takes a name for: look-alike letters, case and what stands between words are dropped."""
    letters = "".join(_WORD.findall(fold_letters(name).casefold()))
    return letters.translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def find_twin(name: str, others: Iterable[str]) -> str | None:
    """Return another tool's name that this one looks like; None where there is none."""
    return next((other for other in others if other != name and _looks_like(*sorted((name, other)))), None)


@lru_cache(maxsize=8192)
def _looks_like(name: str, other: str) -> bool:
    if make_skeleton(name) == make_skeleton(other):
        return True
    own, own_rest = _split_server(name)
    its, its_rest = _split_server(other)
    has_same_tool = own and its and own != its and own_rest.casefold() == its_rest.casefold()
    if has_same_tool and (_is_decorated(own, its) or _differs_in_one_word(_split(own), _split(its), _MIN_SERVER)):
        return True
    return _differs_in_one_word(_split(name), _split(other))


def _split_server(name: str) -> tuple[str, str]:
    """Return the name of the server, and of the tool: `github`, `create_issue` for `mcp__github__create_issue`."""
    parts = [part for part in _SERVER_END.split(name) if part]
    if len(parts) > 1 and parts[0].lower() == "mcp":
        parts = parts[1:]
    return (parts[0], "__".join(parts[1:])) if len(parts) > 1 else ("", name)


def _split(name: str) -> list[str]:
    return [word.lower() for word in _CASE.split(name) if word]


def _is_decorated(own: str, its: str) -> bool:
    """Return whether two servers' names differ in words that only decorate: `github` and `github-official`."""
    one, two = set(_split(own)), set(_split(its))
    return bool(one & two) and bool(one ^ two) and (one ^ two) <= _DECOR


def _differs_in_one_word(own: list[str], its: list[str], shortest: int = _MIN_WORD) -> bool:
    """Return whether two names have all words but one in common, and that one is misspelt in one of them."""
    if len(own) != len(its):
        return False
    pairs = [(one, two) for one, two in zip(own, its, strict=True) if one != two]
    return len(pairs) == 1 and _is_misspelt(*pairs[0], shortest)


def _is_misspelt(one: str, two: str, shortest: int) -> bool:
    """Return whether two words differ by one letter within them, or by two that are exchanged, and are not both real."""
    if min(len(one), len(two)) < shortest or (one in _KNOWN and two in _KNOWN):
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    tail_one, tail_two = one[start:], two[start:]
    if not tail_one or not tail_two:  # a plural, a number, another form
        return (
            (tail_one or tail_two) == (one or two)[-1]
            and min(len(one), len(two)) >= _MIN_WORD
            and (tail_one or tail_two) not in tuple("sdrey0123456789")
        )
    if {one[start], two[start]} <= set("0123456789"):
        return False
    return has_few_edits(one, two, 1)
