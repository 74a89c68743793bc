"""What the user's words ask for beside the act: sums, how often, how many times. Knows no call.

Where no user speaks, as in a run that only has a system prompt, the operator's words count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.conversation.records import leaves_open
from langchain_sea.safety.text.amounts import read_amount, read_amounts
from langchain_sea.safety.text.tool_effects import find_requested_acts
from langchain_sea.safety.text.typed_values import index_text

if TYPE_CHECKING:
    from langchain_sea.safety.conversation.context import CallContext

__all__ = ["DAYS", "UserRequest", "read_user_request"]

_MAX_TEXT = 20_000  # characters of one text
_UNIT = (
    r"(?:usd|eur|gbp|chf|jpy|inr|cad|aud|sek|nok|dkk|pln|cny|dollars?|euros?|pounds?|bucks|francs?|rupees?|yen|yuan"
    r"|btc|eth|bitcoins?|ether|usdt|usdc|sol|sats?|[$€£¥₹₿])"
)
_NUMBER = r"\d[\d.,'’]*(?<=\d)"
_SUM = re.compile(
    rf"(?:[$€£¥₹₿]|\b(?:usd|eur|gbp|chf)\b)\s?({_NUMBER})|(?<![\w.,])({_NUMBER})\s?(?:{_UNIT})(?!\w)", re.IGNORECASE
)
_ARITHMETIC = re.compile(
    r"%|\b(?:split|half|third|double|twice|triple|times|each|every|per|more|less|fewer|additional|extra|difference|percent\w*"
    r"|plus|minus|add(?:ed|ing)?|increas\w+|decreas\w+|adjust\w*|remaining|rest|tip|tax\w*|vat|fees?|interest|shipping|convert\w*"
    r"|equivalent|total|about|around|approximately|roughly|nearly|at least|minimum|average|usual\w*|same|all|both"
    r"|round\w*|respectively|two|three|four|five|six|seven|eight|nine|ten|dozen|rates|months|weeks|days|nights|hours|people"
    r"|persons|pieces|installments?|instalments?)\b",
    re.IGNORECASE,
)
"""Words by which the sum to pay can be another one than the sum that is named."""
_POWERS = re.compile(
    r"%|\bpercent|\b(?:tenth|hundredth|hundreds?|thousands?|million|ten times|each|per|times|points?)\b|\d ?(?:k|m|mio)\b",
    re.IGNORECASE,
)
"""Words by which a number can be ten or a hundred times another one."""
_REPEATED = re.compile(
    r"\b(?:twice|thrice|again|double|both|each|every|all|repeat\w*|another|second|several|multiple|couple|installments?"
    r"|instalments?|separate\w*|split|batch\w*|tickets|rooms|seats|payments"
    r"|transfers|transactions|bookings|orders|times|copies|people|persons|passengers|guests|players|retry|try)\b"
    r"|(?<!\bat )(?<!\bby )(?<!\bfrom )(?<!\bto )(?<!\buntil )\b(?:two|three|four|five|six|seven|eight|nine|ten|dozen)\b"
    r"|\b\d{1,3} ?x\b|\bx ?\d{1,3}\b",
    re.IGNORECASE,
)
_PERIODS = {
    "hour": re.compile(r"\bhourly\b|\b(?:every|each|per|an|a|all)\s+(?:\w+\s+)?(?:hour|minute|second)s?\b", re.IGNORECASE),
    "day": re.compile(
        r"\b(?:daily|nightly)\b|\b(?:every|each|per|a|all)\s+(?:\w+\s+)?(?:day|night|morning|evening|noon|weekday)s?\b", re.IGNORECASE
    ),
    "week": re.compile(
        r"\b(?:bi-?)?weekly\b|\bfortnight\w*|\b(?:every|each|per|a|all)\s+(?:\w+\s+)?week(?:day|end)?s?\b"
        r"|\b(?:every|each|on)\s+(?:\w+\s+)?(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b", re.IGNORECASE
    ),
    "month": re.compile(
        r"\b(?:bi-?)?monthly\b|\b(?:every|each|per|a|all)\s+(?:\w+\s+)?months?\b|\bquarterly\b|\bevery quarter\b", re.IGNORECASE
    ),
    "year": re.compile(r"\b(?:yearly|annual\w*|birthdays?|anniversar\w+)\b|\b(?:every|each|per|a|all)\s+(?:\w+\s+)?years?\b", re.IGNORECASE),
}  # fmt: skip
_RECURRING = re.compile(
    r"\brecur\w*|\brepeat\w*|\bregular\w*|\bstanding order|\bsubscri\w+|\bcron\b|\bongoing\b|\bfrom now on\b|\binstall?ments?\b"
    r"|\bautomat\w+|\bauto-?(?:pay|renew)\w*|\brenew\w*|\bperiodic\w*|\binterval|\bfrequency|\bevery\b|\beach time\b|\bwhenever\b"
    r"|\bschedul\w+|\broutine\b|\bseries\b",
    re.IGNORECASE,
)


_WORDS: dict[float, str] = {2: "two|both|couple|pair|twice|double", 3: "three|thrice", 4: "four", 5: "five", 6: "six|half a dozen", 7: "seven", 8: "eight", 9: "nine",
          10: "ten", 11: "eleven", 12: "twelve|dozen", 20: "twenty", 30: "thirty", 50: "fifty", 100: "hundred"}  # fmt: skip
DAYS = {
    "second": 1 / 86400,
    "minute": 1 / 1440,
    "hour": 1 / 24,
    "day": 1.0,
    "night": 1.0,
    "week": 7.0,
    "month": 31.0,
    "quarter": 92.0,
    "year": 366.0,
}
"""How many days a unit of time has."""
_ONE = re.compile(r"\b(?:an?|one|the next)\s+(?=(?:minute|hour|day|night|week|month|quarter|year))", re.IGNORECASE)
_PERIOD = re.compile(
    r"\b(?:for|within|in|after|valid|of|next|expires?)\s+(?:\w+\s+)?(\d{1,4})[ -]?(minute|hour|day|night|week|month|quarter|year)s?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class UserRequest:
    """The words that say what to do.

    Attributes:
        texts: of the user, and what the agent proposed and the user agreed to.
        trusted: all texts of people who are trusted, the operator's and approvals among them.
    """

    texts: tuple[str, ...]
    trusted: tuple[str, ...] = ()

    @cached_property
    def is_judged(self) -> bool:
        """Whether there are words, and they are English, so that their sense can be judged."""
        return bool(self.texts) and all(find_requested_acts(text, with_nouns=False) is not None for text in self.texts)

    @cached_property
    def numbers(self) -> frozenset[float]:
        """All numbers in texts of people who are trusted."""
        return frozenset[float]().union(*map(read_amounts, (*self.texts, *self.trusted)))

    @cached_property
    def scalable(self) -> frozenset[float]:
        """The user's numbers, of which another power of ten is a mistake or a lie; none where words ask for one."""
        if any(map(_POWERS.search, self.texts)):
            return frozenset()
        return frozenset[float]().union(*map(read_amounts, self.texts))

    @cached_property
    def only_sum(self) -> float | None:
        """The sum of money that is named, where it is the only one, and no word says to reckon with it."""
        sums = {amount for text in self.texts for m in _SUM.finditer(text) if (amount := read_amount(m[1] or m[2]))}
        return sums.pop() if len(sums) == 1 and not any(map(_ARITHMETIC.search, self.texts)) else None

    @cached_property
    def repeats(self) -> bool:
        """Whether an act may be done more than once."""
        return any(map(_REPEATED.search, self.texts)) or any(
            len(sums) > len(set(sums)) for text in self.texts if (sums := [m.group() for m in _SUM.finditer(text)])
        )

    @cached_property
    def leaves_open(self) -> bool:
        """Whether more things may be meant than are named."""
        return any(map(leaves_open, self.texts))

    def names_count(self, number: float) -> bool:
        """Return whether a number of things is named, in digits or as a word."""
        word = _WORDS.get(number)
        return number in self.numbers or (
            word is not None and any(map(re.compile(rf"\b(?:{word})\b", re.IGNORECASE).search, self.texts))
        )

    @cached_property
    def period(self) -> float | None:
        """The longest time for which something is to hold, in days, where one is named."""
        periods = [float(m[1]) * DAYS[m[2].lower()] for t in self.texts for m in _PERIOD.finditer(_ONE.sub("1 ", t))]
        return max(periods, default=None)

    def recurs(self, value: str) -> bool:
        """Return whether something is to happen again and again, in the period that a value names."""
        period = next((name for name, pattern in _PERIODS.items() if pattern.search(f"each {value}")), "")
        period = next((name for name, pattern in _PERIODS.items() if pattern.search(value)), period)
        said = [name for name, pattern in _PERIODS.items() if any(map(pattern.search, self.texts))]
        return period in said if said and period else bool(said) or any(map(_RECURRING.search, self.texts))

    def mentions(self, pattern: re.Pattern[str]) -> bool:
        """Return whether a pattern occurs in the words."""
        return any(map(pattern.search, self.texts))

    def names(self, value: str) -> bool:
        """Return whether the words name a value."""
        return any(index_text(text).has_value(value) for text in (*self.texts, *self.trusted))


def read_user_request(context: CallContext, tool: str) -> UserRequest:
    """Return the words of the conversation that say what to do; what a human approved for the tool counts for it."""
    requests = [text for text, _ in context.request_texts]
    approved = [m.text for m in context.messages if m.role == "approval" and m.tool in ("", tool)]
    said = [*context.user_texts, *context.endorsed] if context.user_texts else requests
    return _make_request(_cut([*said, *approved]), _cut([*requests, *approved, *context.policy.trusted]))


@lru_cache(maxsize=256)
def _make_request(texts: tuple[str, ...], trusted: tuple[str, ...]) -> UserRequest:
    return UserRequest(texts, trusted)


def _cut(texts: list[str]) -> tuple[str, ...]:
    return tuple(text[:_MAX_TEXT] for text in texts)
