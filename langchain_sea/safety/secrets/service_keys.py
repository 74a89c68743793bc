"""Secrets in a text: keys and tokens of common services, private keys, passwords in addresses and settings.

The formats are those that the services document; gitleaks (MIT licence) lists most of them.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice, permutations
from typing import TYPE_CHECKING

from langchain_sea.safety.text.patterns import Danger, compile_pattern, find_matching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PLACEHOLDER", "find_secrets", "find_split_secrets", "find_vendor_secrets", "list_vendor_secrets"]

_FORMATS = (
    ("key of AWS", r"\b((?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16})\b"),
    ("private key", r"(-----BEGIN[A-Z ]{0,40} PRIVATE KEY(?: BLOCK)?-----)"),
    ("token of GitHub", r"\b(gh[pousr]_[A-Za-z0-9]{30,255})"),
    ("token of GitHub", r"\b(github_pat_\w{36,255})"),
    ("token of GitLab", r"\b(gl(?:pat|ptt|dt|rt|oas|cbt|ft|soat|imt|agent)-[\w-]{20,})"),
    ("key of OpenAI or Anthropic", r"\b(sk-(?:proj-|ant-|svcacct-|admin-|or-)?[A-Za-z0-9_-]{20,})"),
    ("key of Stripe", r"\b((?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,99})"),
    ("secret of a webhook of Stripe", r"\b(whsec_[A-Za-z0-9+/=]{24,})"),
    ("token of Slack", r"\b(xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,})"),
    ("address of a Slack webhook", r"(hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{43,56})"),
    ("address of a Discord webhook", r"(discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,})"),
    ("key of Google", r"\b(AIza[\w-]{35})"),
    ("secret of Google", r"\b(GOCSPX-[\w-]{28}|ya29\.[\w-]{20,})"),
    ("web token", r"\b(ey[A-Za-z0-9]{15,}\.ey[\w/-]{15,}\.[\w/+=-]{10,})"),
    ("token of npm", r"\b(npm_[A-Za-z0-9]{36})"),
    ("token of PyPI", r"\b(pypi-[A-Za-z0-9_-]{50,})"),
    ("token of Hugging Face", r"\b((?:hf|api_org)_[A-Za-z]{34})"),
    ("key of SendGrid", r"\b(SG\.[\w-]{16,32}\.[\w-]{30,})"),
    ("key of Mailgun", r"\b(key-[0-9a-f]{32})\b"),
    ("key of Twilio", r"\b((?:SK|AC)[0-9a-f]{32})\b"),
    ("token of Telegram", r"\b(\d{8,10}:AA[\w-]{33})\b"),
    ("token of Shopify", r"\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})"),
    ("token of Square", r"\b(sq0(?:atp|csp)-[\w-]{22,}|EAAA[\w-]{60})"),
    ("token of DigitalOcean", r"\b(do[opr]_v1_[0-9a-f]{64})"),
    ("token of HashiCorp", r"\b(hvs\.[\w-]{24,}|hvb\.[\w-]{24,}|[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,})"),
    ("token of Databricks", r"\b(dapi[0-9a-f]{32})"),
    ("token of Docker", r"\b(dckr_(?:pat|oat)_[\w-]{27,})"),
    ("token of Atlassian", r"\b(ATATT3[\w=-]{40,}|ATCTT3[\w=-]{40,})"),
    ("key of Linear", r"\b(lin_(?:api|oauth)_[A-Za-z0-9]{32,})"),
    ("token of Notion", r"\b(ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})"),
    ("token of Grafana", r"\b(glc_[A-Za-z0-9+/]{32,}|glsa_[A-Za-z0-9]{32}_[0-9a-f]{8})"),
    ("key of New Relic", r"\b(NRAK-[A-Z0-9]{27})"),
    ("token of Sentry", r"\b(sntrys_[\w+/=]{50,}|sntryu_[0-9a-f]{64})"),
    ("token of Postman", r"\b(PMAK-[0-9a-f]{24}-[0-9a-f]{34})"),
    ("key of Azure", r"AccountKey=([A-Za-z0-9+/]{80,}={0,2})"),
    ("token of Supabase", r"\b(sbp_[0-9a-f]{40})"),
    ("key of Replicate, Groq or xAI", r"\b(r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{52}|xai-[A-Za-z0-9]{70,})"),
    ("key of age", r"\b(AGE-SECRET-KEY-1[0-9A-Z]{58})"),
    ("password in an address", r"\b[a-z][a-z0-9+.-]{2,20}://[^\s:@/'\"<>]{1,64}:([^\s:@/'\"<>${}]{4,100})@[\w.-]+"),
)
"""What it is, and its pattern; the group is the secret."""
_SETTINGS = (
    ("key in a setting", r"(?:aws_secret_access_key|secret_?access_?key|api[_-]?key|client_?secret|access_?token|auth_?token"
     r"|private_?key|secret_?key)['\"]?\s*(?:[=:]|=>)\s*['\"]?([\w/+=.-]{16,})"),
    ("password in a setting", r"\bpass(?:word|wd|phrase)?['\"]?\s*(?:[=:]|=>)\s*['\"]?([^\s'\",;<>]{6,64})"),
)  # fmt: skip
_HINTS = (
    r"AKIA|ASIA|ABIA|ACCA|A3T|PRIVATE KEY|gh[pousr]_|github_pat|gl[a-z]{2,5}-|sk-|[sr]k_|whsec|xox|xapp|hooks\.slack|webhooks/"
    r"|AIza|GOCSPX|ya29|\bey[A-Za-z0-9]|npm_|pypi-|hf_|api_org|SG\.|key-|\bSK[0-9a-f]|\bAC[0-9a-f]|:AA|shp|sq0|EAAA|do[opr]_"
    r"|hv[sb]\.|atlasv1|dapi|dckr_|ATATT|ATCTT|lin_|ntn_|secret_|gl(?:c|sa)_|NRAK|sntry|PMAK|AccountKey|sbp_|r8_|gsk_|xai-|AGE-"
    r"|://[^\s:@/]+:"
)
PLACEHOLDER = r"example|sample|^os\.|getenv|process\.env|placeholder|your|dummy|redacted|changeme|secret_?here|x{5,}|\*{3,}|\.{3,}|0{6,}|<|\{\{|\$\{"
"""What stands for a secret in examples and settings, and is none."""
_WORDS_FOR_SECRET = frozenset(["password", "passwd", "secret", "token", "pass", "user", "pwd", "none", "null", "true"])
_MIN_ENTROPY = 2.5  # bits a character; a word that is repeated has less
_MAX_PER_FORMAT = 20
_MAX_MATCHES = 2_000  # of one format, placeholders among them
_MAX_READ = 50_000  # characters of a result
_MAX_ENDS = 12  # texts whose ends are read as one
_MAX_END = 200  # characters


def find_secrets(text: str) -> Iterator[Danger]:
    """Yield each secret in the text; those of a service's own format are certain."""
    yield from find_vendor_secrets(text)
    for number in find_matching(text, tuple(pattern for _, pattern in _SETTINGS)):
        what, pattern = _SETTINGS[number]
        secret = next(_iter_real(pattern, text, match_case=False), None)
        if secret and any(not c.isalpha() for c in secret):
            yield Danger(f"it would pass on a {what} ({_mask(secret)})")


def find_vendor_secrets(text: str) -> Iterator[Danger]:
    """Yield the first secret in the text of each service's own format; all are certain."""
    kinds = set[str]()
    for what, secret in _iter_vendor_secrets(text):
        if what not in kinds:
            kinds.add(what)
            yield Danger(f"it would pass on a {what} ({_mask(secret)})", is_certain=True)


def list_vendor_secrets(text: str) -> frozenset[str]:
    """Return the secrets in a text that have the format of a service."""
    return frozenset(secret for what, secret in _iter_vendor_secrets(text[:_MAX_READ]) if what != "private key")


def find_split_secrets(texts: Sequence[str]) -> Iterator[Danger]:
    """Yield secrets of a known format that are split over two texts: the end of one, and the beginning of another."""
    ends = [(words[0][:_MAX_END], words[-1][-_MAX_END:]) for text in texts[:_MAX_ENDS] if (words := _list_ends(text))]
    pairs = list(permutations(ends, 2))
    if not any(True for _ in _iter_vendor_secrets("\n".join(last + first for (_, last), (first, _) in pairs))):
        return
    for (_, last), (first, _) in pairs:
        for danger in find_vendor_secrets(last + first):
            if not any(True for part in (last, first) for _ in find_secrets(part)):
                yield Danger(f"two arguments read as one: {danger.reason}", is_certain=True)


def _list_ends(text: str) -> list[str]:
    """Return the first and the last word of a text, or none."""
    return [*text[:_MAX_END].split()[:1], *text[-_MAX_END:].split()[-1:]]


def _iter_vendor_secrets(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what it is, secret) of all secrets that have the format of a service."""
    if compile_pattern(_HINTS, match_case=True).search(text):
        for what, pattern in _FORMATS:
            for secret in _iter_real(pattern, text, match_case=not what.startswith("password")):
                yield what, secret


def _iter_real(pattern: str, text: str, *, match_case: bool) -> Iterator[str]:
    """Yield the first secrets that a pattern matches, without placeholders, of which a text may hold any number."""
    matches = islice(compile_pattern(pattern, match_case=match_case).finditer(text), _MAX_MATCHES)
    yield from islice((str(match[1]) for match in matches if _is_real(match[1])), _MAX_PER_FORMAT)


def _is_real(secret: str) -> bool:
    """Return whether a secret is none of the words that stand for one in documents."""
    if "PRIVATE KEY" in secret:
        return True
    if secret.lower() in _WORDS_FOR_SECRET:
        return False
    if compile_pattern(PLACEHOLDER).search(secret):
        return False
    return len(secret) < 12 or _compute_entropy(secret) >= _MIN_ENTROPY  # noqa: PLR2004 - too short to measure


def _compute_entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _mask(secret: str) -> str:
    return repr(f"{secret[:6]}…")
