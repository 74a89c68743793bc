"""What is dangerous in an argument whatever its purpose: paths, commands, queries, addresses, secrets, admin rights.

Each text is checked as it is and in every decoded form (`safety.deobfuscation`). The time that a pattern takes grows
linearly with the text.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.deobfuscation import decode_forms, find_hidden_text, join_neighbours
from langchain_sea.safety.provenance import is_destination
from langchain_sea.safety.ssrf import find_bad_address
from langchain_sea.safety.values import get_argument, list_numbers, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RULES", "RulesCheck", "TextPattern"]


class TextPattern(NamedTuple):
    """A pattern of dangerous text.

    Attributes:
        name: of the rule.
        pattern: searched in every form of a text.
        reason: why a match is dangerous.
        is_code: whether the pattern is allowed in arguments that are meant to hold code.
    """

    name: str
    pattern: re.Pattern[str]
    reason: str
    is_code: bool = False


def _make_pattern(name: str, reason: str, *patterns: str, is_code: bool = False) -> TextPattern:
    return TextPattern(name, re.compile("|".join(patterns), re.IGNORECASE), reason, is_code)


_COMMANDS = (
    r"(?:rm|curl|wget|nc|ncat|bash|sh|zsh|python3?|perl|ruby|chmod|chown|mkfs|dd|shutdown|reboot|sudo|cat|eval"
    r"|powershell|cmd|whoami|id|ls|touch|echo|nslookup|ping)"
)
RULES = (
    _make_pattern(
        "path", "it leaves the folder it should stay in, or names a file of the system",
        r"(?:^|[\s\"'=:/\\])\.\.(?:[/\\]|$)",
        r"(?:^|[\s\"'=:])/(?:etc/(?:passwd|shadow|sudoers|ssh|cron|hosts)|root/|proc/(?:self|\d)|sys/(?:kernel|class)"
        r"|dev/(?:sd|mem|null/)|var/run/docker|var/log/auth)",
        r"~\w*/\.(?:ssh|aws|gnupg|kube|netrc|bash)",
        r"(?:^|[/\\])\.(?:ssh|aws|gnupg|htpasswd|netrc|git[/\\]config)(?:[/\\]|$|\b)",
        r"(?:^|[/\\\s])\.env(?:\.\w+)?$",
        r"\b[a-z]:\\(?:windows|users\\[^\\]+\\appdata|boot)",
        r"(?:^|\s)\\\\[\w.$-]+\\[\w$.-]+",
    ),
    _make_pattern(
        "shell", "it holds a command for a shell",
        rf"[;&|\n]\s*{_COMMANDS}\s+(?=[-/~.$\w'\"])(?:-|/|~|\.|\$|https?:|['\"]|\w+[./])",
        rf"(?:\|\||&&)\s*{_COMMANDS}\b", r"[;|]\s*(?:whoami|id|reboot|shutdown)\b\s*(?:$|[;#&|])",
        rf"\$\(\s*{_COMMANDS}\b", rf"`\s*{_COMMANDS}\b[^`]*`", r"\$\{?IFS\b",
        r"\brm\s+-[a-z]*[rf][a-z]*\s", r"\bmkfs(?:\.\w+)?\s", r"\bdd\s+if=", r":\(\)\s*\{\s*:\|:",
        r">\s*/dev/(?:sd|tcp)", r"\b(?:curl|wget)\b[^|\n]{0,300}\|\s*(?:ba|z)?sh\b", r"\bnc\s+-[a-z]*e\b",
        is_code=True,
    ),
    _make_pattern(
        "sql", "it changes what a database query does",
        r"['\"]\s*(?:or|and)\s+['\"]?\w+['\"]?\s*(?:=|like)\s*['\"]?\w*", r"\bunion\s+(?:all\s+)?select\b",
        r";\s*(?:drop|delete|truncate|alter|insert|update|exec|shutdown)\b\s*\w*", r"['\"]\s*;?\s*--(?:\s|$)",
        r"\bxp_cmdshell\b", r"\bwaitfor\s+delay\b", r"\b(?:sleep|benchmark)\s*\(\s*\d+", r"\binto\s+(?:out|dump)file\b",
        is_code=True,
    ),
    _make_pattern(
        "template", "a template engine would run it",
        r"\{\{[^{}]{0,200}(?:\d\s*\*\s*\d|__|config|self\.|request|cycler|lipsum|constructor)[^{}]{0,200}\}\}",
        r"\$\{jndi:", r"\$\{[^{}]{0,200}(?:T\(|exec|getRuntime|\d\s*\*\s*\d)[^{}]{0,200}\}", r"<%=?[^%]{0,200}%>",
        r"#\{[^{}]{0,200}(?:\d\s*\*\s*\d|system|exec|`)[^{}]{0,200}\}", r"\{%[^%]{0,200}(?:import|include|extends|for)\b",
        is_code=True,
    ),
    _make_pattern(
        "serialised", "reading it back would run code",
        r"\brO0AB", r"\bO:\d+:\"", r"!!python/(?:object|name|module)", r"\bc(?:os|posix|nt|subprocess|builtins|__builtin__)\n",
        r"\"\$type\"\s*:", r"\"@type\"\s*:\s*\"(?:java|com|org|sun)\.", r"__reduce__", r"\bgASV", r"\$\$ND_FUNC\$\$",
        r"\bAAEAAAD/", r"<!ENTITY\b",
    ),
    _make_pattern(
        "script", "a browser would run it", r"<script\b", r"\bjavascript:", r"\bon(?:error|load|click)\s*=\s*['\"]?\w",
        r"\bdata:text/html", is_code=True,
    ),
    _make_pattern(
        "secret", "it would send a secret away",
        r"\bAKIA[0-9A-Z]{16}\b", r"-----BEGIN [A-Z ]*PRIVATE KEY", r"\bgh[pousr]_[A-Za-z0-9]{30,}", r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}", r"\bAIza[0-9A-Za-z_-]{30,}", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{5,}",
        r"\b(?:aws_secret_access_key|api[_-]?key|client_secret|access_token)\s*[=:]\s*['\"]?[\w/+=-]{16,}",
        r"\bpass(?:word|wd)\s*[=:]\s*['\"]?(?=\S*[\d\W])\S{6,}",
    ),
    _make_pattern(
        "exfiltration", "it would carry data away in an address",
        r"https?://\S*[?&][\w.-]+=[A-Za-z0-9+/=_-]{48,}", r"!\[[^\]]*\]\(https?://[^)\s]+[?&][^)\s]*=",
        r"https?://\S*(?:requestbin|webhook\.site|ngrok|burpcollaborator|interact\.sh|pipedream\.net|oastify)\S*",
        r"https?://\S*[?&](?:secret|token|password|passwd|key|data|cookie|dump)=\S{3,}",
    ),
    _make_pattern(
        "power", "it gives somebody all rights",
        r"\bgrant\s+all\b", r"\bchmod\s+(?:-R\s+)?[0-7]?777\b", r"\bNOPASSWD\b", r"\busermod\s+-aG\s+(?:sudo|wheel|docker)",
        r"\bsetuid\b", r"\bAdministratorAccess\b",
    ),
)  # fmt: skip
_ADMIN_ROLE = re.compile(
    r"^(?:admin(?:istrator)?|owner|root|super_?user|sudo|full[_ -]?(?:control|access)|god|all|\*)$", re.IGNORECASE
)
_ROLE_NAME = re.compile(
    r"(?:^|_)(?:roles?|permissions?|access(?:_level)?|privileges?|rights|scopes?)(?:_|$)", re.IGNORECASE
)
_DELETING_TOOL = re.compile(
    r"delete|remove|drop|purge|wipe|truncate|erase|unlink|(?:^|_)rm(?:_|$)|clear", re.IGNORECASE
)
_EVERYTHING = re.compile(
    r"^(?:\*+(?:\.\*)?|/\*?|\.{1,2}/?\*?|~/?|%|\\\*?|[a-z]:\\?\*?|all|everything|.*/\*\*?)$", re.IGNORECASE
)
_AMOUNT_NAME = re.compile(
    r"(?:^|_)(?:amount|price|total|sum|quantity|qty|cost|fee|value|balance|units?|count)(?:_|$)", re.IGNORECASE
)
_EVERYONE = re.compile(r"^(?:all|everyone|everybody|\*|all-\w+|@all|@everyone|@channel)(?:@\S+)?$", re.IGNORECASE)
_MAX_AMOUNT = 1e9
_PATH_NAME = re.compile(r"(?:^|_)(?:paths?|files?|filenames?|folders?|director(?:y|ies)|dirs?)(?:_|$)")


class RulesCheck(PerCallCheck):
    """Applies `RULES`, and the rules of the tool about its own arguments."""

    name = "rules"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return one finding for each argument and rule."""
        rules, arguments = context.policy.rules_for(call.name), call.arguments
        strings = list_strings(arguments)
        reasons = [(get_argument(path), why) for path, text in strings for why in _check_text(path, text, rules)]
        if not reasons:
            reasons += [("", why) for why in _check_neighbours(strings, rules)]
        for path, number in list_numbers(arguments):
            argument = get_argument(path)
            reasons += [(argument, why) for why in _check_number(argument, number, rules)]
        reasons += _check_arguments(call.name, arguments, rules)
        return [self._object(argument, rules, why) for argument, why in dict.fromkeys(reasons)]

    def _object(self, argument: str, rules: ToolRules, reason: str) -> Finding:
        return Finding(
            action=Action.REPAIR if argument in rules.repairable else Action.BLOCK,
            check=self.name,
            reason=f"{argument}: {reason}" if argument else reason,
            arguments=(argument,) if argument else (),
        )


def _check_text(path: str, text: str, rules: ToolRules) -> Iterator[str]:
    """Yield why a text is dangerous, in any of its forms."""
    argument = get_argument(path)
    if reason := find_hidden_text(text):
        yield reason
    may_be_host = bool(argument) and is_destination(argument, rules)
    for form in decode_forms(text):
        yield from _match_patterns(form, is_code=argument in rules.code)
        if reason := find_bad_address(form, rules.hosts, bare=may_be_host):
            yield reason
    if rules.paths is not None and _PATH_NAME.search(argument.lower()) and not _is_under(text, rules.paths):
        yield f"{text[:80]!r} lies under none of {', '.join(rules.paths)}"


def _check_neighbours(strings: Sequence[tuple[str, str]], rules: ToolRules) -> Iterator[str]:
    """Yield what is dangerous in two neighbouring arguments read as one: an attack may be split over them."""
    texts = [text for path, text in strings if path and get_argument(path) not in rules.code]
    for joined in join_neighbours(texts):
        for reason in _match_patterns(joined, is_code=False):
            yield f"two arguments read as one: {reason}"


def _match_patterns(text: str, *, is_code: bool) -> Iterator[str]:
    for rule in RULES:
        if not (is_code and rule.is_code) and (match := rule.pattern.search(text)):
            yield f"{rule.reason} ({rule.name}: {match[0].strip()[:60]!r})"


def _check_number(argument: str, number: float, rules: ToolRules) -> Iterator[str]:
    """Yield which limit a number exceeds: the tool's own, or for amounts a general one."""
    if argument in rules.limits:
        low, high = rules.limits[argument]
        if not low <= number <= high:
            yield f"{number:g} is not between {low:g} and {high:g}"
    elif _AMOUNT_NAME.search(to_snake_case(argument)):
        if rules.effect == "write" and number < 0:
            yield f"{number:g} is negative, which reverses the call"
        if abs(number) >= _MAX_AMOUNT:
            yield f"{number:g} is more than any plausible amount"


def _check_arguments(tool: str, arguments: Mapping[str, object], rules: ToolRules) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) for what shows in an argument's name and value together."""
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        texts = [each.strip() for each in values if isinstance(each, str)]
        if _ROLE_NAME.search(to_snake_case(name)) and any(map(_ADMIN_ROLE.match, texts)):
            yield name, f"it gives somebody the rights {texts[0]!r}"
        if _DELETING_TOOL.search(tool) and any(map(_EVERYTHING.match, texts)):
            yield name, f"{texts[0]!r} means everything there is"
        if rules.effect == "write" and is_destination(name, rules):
            yield from ((name, reason) for reason in _check_recipients(texts, rules))


def _check_recipients(texts: Sequence[str], rules: ToolRules) -> Iterator[str]:
    recipients = [part for text in texts for part in re.split(r"[,;]\s*", text) if part]
    if len(recipients) > rules.recipients:
        yield f"it addresses {len(recipients)}, {rules.recipients} are allowed"
    if any(map(_EVERYONE.match, recipients)):
        yield f"{texts[0]!r} addresses everybody"


def _is_under(path: str, roots: tuple[str, ...]) -> bool:
    """Return whether the path lies in one of the folders once `..` is resolved."""
    whole = posixpath.normpath(path.replace("\\", "/"))
    return any(whole == root.rstrip("/") or whole.startswith(f"{root.rstrip('/')}/") for root in roots)
