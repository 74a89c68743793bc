"""Secrets that have no vendor's format: cards, passwords in sentences and settings, hashes, cookies, recovery words.

All of them are doubts: the rules know their form, and not whether they are real.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.secrets.service_keys import PLACEHOLDER
from langchain_sea.safety.text.patterns import Danger, compile_pattern, find_matching

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_personal_secrets", "is_card_number", "list_secret_values"]

_MAX_READ = 50_000  # characters of a result
_MAX_MATCHES = 40  # of one pattern that are looked at
_CARD = r"(?:^|[^\w.,/+-])((?:\d[ -]?){12,18}\d)(?:[^\w/-]|$)"
_CARD_STARTS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})$|5[1-5]\d{14}$|2(?:2[2-9]|[3-6]\d|7[01])\d{13}$|3[47]\d{13}$|6(?:011|5\d\d)\d{12}$"
    r"|35[2-8]\d{13}$|3(?:0[0-5]|[68]\d)\d{11}$|62\d{14,17}$"
)
"""How the numbers of known issuers begin, and how long they are."""
_HASH = (
    r"(\$(?:1|5|6|7|y|gy|2[abxy]?|apr1|argon2(?:i|d|id)|scrypt|pbkdf2[\w-]*|sha1)\$[\w./,=$+-]{20,200})"
    r"|\b([\w.-]{1,40}:\d{1,6}:[0-9a-f]{32}:[0-9a-f]{32}:)"
)
_HEADER = (
    r"\bauthorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token|digest|apikey)?\s*([\w.~+/=-]{16,})"
    r"|\bbearer\s+([\w.~+/=-]{20,})|\bx-(?:api-key|auth-token|access-token|amz-security-token)['\"]?\s*[:=]\s*['\"]?([\w.~+/=-]{12,})"
)
_COOKIE = (
    r"(?:\b(?:set-)?cookie['\"]?\s*[:=]\s*|\s-b\s+|\s--cookie[ =])['\"]?(?:[\w.-]{1,40}=[^;'\"\s]{0,60};\s*){0,8}[\w.-]{1,40}=([\w.%+/=-]{16,})"
    r"|\b(?:phpsessid|jsessionid|sessionid|session_id|connect\.sid|sid|auth_session|csrftoken)=([\w.%+/-]{16,})"
)
_SETTING = (
    r"(?:^|[^a-z0-9])((?:[a-z][a-z0-9]*[_.-]){1,5}(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|credentials?|salt|dsn)|[a-z]{0,12}(?:password|passwd|pwd)|secret|token|apikey)"
    r"['\"]?\s*(?:=|:\s|=>)\s*['\"]?([^\s'\",;<>&]{8,200})"
)
_PUBLIC_NAMES = re.compile(
    r"(?:next|page|continuation|sync|cursor|primary|foreign|sort|partition|cache|public|idempotency|row|object|translation|i18n|map|index|field|bucket|start|end|issue|project|design|sql)[_.-]",
    re.IGNORECASE,
)
"""Beginnings of names such as `page_token` and `primary_key`, which are no secrets."""
_SOCIAL = r"\b(?:ssn|social security(?: number)?)\b\D{0,12}(\d{3}-\d{2}-\d{4})\b"
_SENTENCE = (
    r"\b(?:psk|pre-?shared key|passkey|(?:wi-?fi|wlan|wpa[23]?|network|router)[ _-]?(?:key|password|passphrase)|password|passwort|passphrase|passcode|kennwort|mot de passe|contraseña|pwd|pw|pin)\b['\"`*]{0,3}"
    r"(?:\s+(?:for|of|to)\s+[\w@.-]{1,40})?(?:\s+(?:is|was|now|remains|ist|est|es)\b)?\s*[:=]?\s*['\"`*]{0,3}([^\s'\"`<>()\[\]{}]{4,64})"
)
_GROUPED = (
    r"\b(?:(?:(?:app|application|smtp|imap|mail|account|backup|recovery|licen[cs]e|activation|product|setup|pairing|security|secret|private|access|api|rescue|emergency|two[- ]factor|2fa|totp|otp|wifi|wi-fi|root|admin|master)[ -]){1,3}(?:key|codes?|seed)"
    r"|pass(?:word|phrase|code)|passwort|kennwort|token|secret)\b['\"`*]{0,3}(?:\s+(?:for|of|to)\s+[\w@.-]{1,40})?(?:\s+(?:is|was|now|are|ist)\b)?\s*[:=]?\s*['\"`*]{0,3}"
    r"((?:[a-z0-9]{3,8}[ _.-]){2,9}[a-z0-9]{3,8})\b"
)
"""A key that is written in groups, as passwords for one program are: `xkqd pbnw tyhv mzrl`."""
_MIN_GROUPED = 12  # letters and digits of such a key
_RECOVERY = r"\b(?:seed|recovery|mnemonic|wallet|backup|secret|passphrase|twelve|24|12|words|phrase)\b"
_WORD_RUN = r"(?:\b[a-z]{3,8}\b[ ,\n]+){11,}[a-z]{3,8}\b"
_COMMON = frozenset(
    "the and for with are was you not has have from but your which been were its our who she his they them their will"
    " would could should also into than because does did said had more some such being about".split()
)
"""Words of sentences: twelve words without one of them are a list, such as the recovery words of a wallet."""
_MIN_RECOVERY = 12
_CODE_HINT = re.compile(
    r"\b(?:verification|security|one[- ]time|login|sign[- ]?in|authentication|2fa|otp|two[- ]factor)\b", re.IGNORECASE
)
_CODE = re.compile(r"(?<![\w.,:/-])(\d{3}[ -]\d{3}|\d{4,8})(?![\w:/-]|[.,]\d)")
_STRONG_CODE = (
    r"\b(?:verification|security|one[- ]time|log[- ]?in|sign[- ]?in|authentication|2fa|otp|two[- ]factor|sms)\s*"
    r"(?:pass)?(?:code|pin|password|otp)?\s*(?:is|:|=|was)\s*['\"`]?(\d{3}[ -]?\d{3}|\d{4,8})\b"
    r"|\b(?:pin|cvv|cvc)(?:[ -]?(?:code|number))?\s*(?:is|:|=|was)\s*['\"`]?(\d{3,8})\b"
)
_PRIVATE_CODE = (
    r"\b(?:your|the)\s+(?:[a-z]+\s+){0,2}?(?:code|tan|pin)\b[^.\d\n]{0,40}?(?:\bis\b|:|=)\s*['\"]?(\d{3}[ -]\d{3}|\d{4,8})\b"
    r"[^\n]{0,120}?\b(?:never|do not|don't|must not|not to) (?:be )?(?:share|shared|tell|told|give|given|pass|passed|forward|disclose|show|read)\b"
    r"|\b(?:never|do not|don't) (?:share|tell|give|pass|forward|disclose|show)\b[^\n]{0,80}?(?:code|tan|pin)\b\D{0,20}(\d{3}[ -]\d{3}|\d{4,8})\b"
)
"""A code whose message says that nobody else may have it."""
_FAKE = re.compile(rf"{PLACEHOLDER}|\$\w|^%|secrets\.|^none$|^null$|^true$|^false$|^https?://|^/|^\$", re.IGNORECASE)


_PERSONAL = (_CARD, _HASH, _HEADER, _COOKIE, _SETTING, _SENTENCE, _GROUPED, _SOCIAL, _STRONG_CODE)


def find_personal_secrets(text: str) -> Iterator[Danger]:
    """Yield each secret of a person or of a system that has the form of one, in a text that leaves."""
    if not find_matching(text, (*_PERSONAL, _RECOVERY)):
        return
    if card := next((m for m in _list_matches(_CARD, text) if is_card_number(m)), None):
        yield Danger(f"it would pass on the number of a card ({card[:4]!r}…)")
    if secret := next(_list_matches(_HASH, text), None):
        yield Danger(f"it would pass on the hash of a password ({secret[:8]!r}…)")
    for what, pattern in (("token that logs a program in", _HEADER), ("cookie of a session", _COOKIE)):
        if secret := next((m for m in _list_matches(pattern, text) if _is_varied(m)), None):
            yield Danger(f"it would pass on a {what} ({secret[:4]!r}…)")
    if secret := next(_list_settings(text), None):
        yield Danger(f"it would pass on a secret in a setting ({secret[:4]!r}…)")
    if secret := next((m for m in _list_matches(_SENTENCE, text) if _is_password(m)), None):
        yield Danger(f"it would pass on a password ({secret[:3]!r}…)")
    if secret := next(_list_grouped(text), None):
        yield Danger(f"it would pass on a key in groups ({secret[:3]!r}…)")
    if secret := next(_list_matches(_SOCIAL, text), None):
        yield Danger(f"it would pass on a number of social security ({secret[:3]!r}…)")
    if secret := next(_list_matches(_STRONG_CODE, text), None):
        yield Danger(f"it would pass on a code for one log-in ({secret[:2]!r}…)")
    if compile_pattern(_RECOVERY).search(text) and _has_recovery_words(text):
        yield Danger("it would pass on a list of words, as the recovery words of a wallet are")


@lru_cache(maxsize=256)
def list_secret_values(text: str) -> frozenset[str]:
    """Return the secrets in a text that was read: passwords, keys in settings, cards, cookies, codes for one log-in."""
    text = text[:_MAX_READ]
    values = {m for pattern in (_HEADER, _COOKIE) for m in _list_matches(pattern, text) if _is_varied(m)}
    values |= set(_list_settings(text))
    values |= {m.rstrip(".,;:!?*") for m in _list_matches(_SENTENCE, text) if _is_password(m)}
    values |= set(_list_grouped(text))
    values |= {re.sub(r"[ -]", "", m) for m in _list_matches(_PRIVATE_CODE, text)}
    values |= {re.sub(r"[ -]", "", m) for m in _list_matches(_CARD, text) if is_card_number(m)}
    return frozenset(values).union(_list_one_time_codes(text))


def _list_grouped(text: str) -> Iterator[str]:
    """Yield keys that are written in groups of one length, and are no words."""
    for match in _list_matches(_GROUPED, text):
        groups = re.split(r"[ _.-]", match)
        while len(groups) > 2 and len(groups[-1]) != len(groups[0]):  # noqa: PLR2004 - words may follow
            groups.pop()
        key = "".join(groups)
        has_digit, has_letter = any(map(str.isdigit, key)), any(map(str.isalpha, key))
        is_even = len({len(group) for group in groups}) == 1 and len(key) >= _MIN_GROUPED
        is_words = not has_digit and all(re.search(r"[aeiouy]", group, re.IGNORECASE) for group in groups)
        if is_even and has_letter and not is_words:
            yield match[: len(key) + len(groups) - 1]


def _list_settings(text: str) -> Iterator[str]:
    for number, match in enumerate(compile_pattern(_SETTING).finditer(text)):
        if number >= _MAX_MATCHES:
            return
        if not _PUBLIC_NAMES.match(match[1]) and _is_varied(match[2]):
            yield str(match[2])


def _list_one_time_codes(text: str) -> list[str]:
    """List the codes for one log-in in a message that was read; empty where nothing says that it has one."""
    if not _CODE_HINT.search(text[:2000]):
        return []
    return [re.sub(r"[ -]", "", code) for code in _CODE.findall(text[:2000])]


def is_card_number(text: str) -> bool:
    """Return whether digits are the number of a card: of a known issuer's form, and with the right check digit."""
    digits = re.sub(r"[ -]", "", text)
    if not _CARD_STARTS.match(digits) or len(set(digits)) == 1:
        return False
    doubled = [int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0  # noqa: PLR2004 - Luhn's digits


def _list_matches(pattern: str, text: str) -> Iterator[str]:
    for number, match in enumerate(compile_pattern(pattern).finditer(text)):
        if number >= _MAX_MATCHES:
            return
        yield next((str(group) for group in match.groups() if group), "")


def _is_varied(value: str) -> bool:
    """Return whether a value is no placeholder, no word, and no version or date."""
    if _FAKE.search(value):
        return False
    has_digit, has_letter = any(c.isdigit() for c in value), any(c.isalpha() for c in value)
    return has_digit and has_letter and len(set(value)) > 5  # noqa: PLR2004 - different characters


def _is_password(value: str) -> bool:
    """Return whether a word after `password` is one: letters and digits, or signs within it."""
    value = value.rstrip(".,;:!?*")
    if len(value) < 6 or _FAKE.search(value):  # noqa: PLR2004 - characters
        return False
    has_digit, has_letter = any(c.isdigit() for c in value), any(c.isalpha() for c in value)
    has_sign = bool(re.search(r"\w[!@#$%^&*+=?~]\w|[!@#$%^&*]$", value))
    return has_letter and (has_digit or has_sign) and not re.fullmatch(r"v?\d[\d.]*\w?|\d+[-–]\w+", value)


def _has_recovery_words(text: str) -> bool:
    for number, match in enumerate(compile_pattern(_WORD_RUN, match_case=True).finditer(text)):
        if number >= _MAX_MATCHES:
            return False
        words = re.findall(r"[a-z]+", match[0])
        for start in range(min(len(words) - _MIN_RECOVERY + 1, 200)):
            part = words[start : start + _MIN_RECOVERY]
            if _COMMON.isdisjoint(part):
                return True
    return False
