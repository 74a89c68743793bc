"""What is dangerous in an argument whatever it was meant for: paths, commands, queries, addresses, secrets, powers.

Each text is judged as it stands and in every form of `canonical`. Patterns are linear in the text's length.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.context import numbers_in, strings_in, top
from langchain_sea.safety.deobfuscation import forms, hidden, neighbours
from langchain_sea.safety.provenance import is_destination
from langchain_sea.safety.ssrf import bad_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import ToolRules
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RULES", "TextPattern", "RulesCheck"]


class TextPattern(NamedTuple):
    """A pattern of text that does harm."""

    name: str
    pattern: re.Pattern[str]
    reason: str
    code: bool = False  # whether it is at home in arguments that are meant to hold code


def _rule(name: str, reason: str, *patterns: str, code: bool = False) -> TextPattern:
    return TextPattern(name, re.compile("|".join(patterns), re.IGNORECASE), reason, code)


_COMMANDS = (
    r"(?:rm|curl|wget|nc|ncat|bash|sh|zsh|python3?|perl|ruby|chmod|chown|mkfs|dd|shutdown|reboot|sudo|cat|eval"
    r"|powershell|cmd|whoami|id|ls|touch|echo|nslookup|ping)"
)
RULES = (
    _rule(
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
    _rule(
        "shell", "it holds a command for a shell",
        rf"[;&|\n]\s*{_COMMANDS}\s+(?=[-/~.$\w'\"])(?:-|/|~|\.|\$|https?:|['\"]|\w+[./])",
        rf"(?:\|\||&&)\s*{_COMMANDS}\b", r"[;|]\s*(?:whoami|id|reboot|shutdown)\b\s*(?:$|[;#&|])",
        rf"\$\(\s*{_COMMANDS}\b", rf"`\s*{_COMMANDS}\b[^`]*`", r"\$\{?IFS\b",
        r"\brm\s+-[a-z]*[rf][a-z]*\s", r"\bmkfs(?:\.\w+)?\s", r"\bdd\s+if=", r":\(\)\s*\{\s*:\|:",
        r">\s*/dev/(?:sd|tcp)", r"\b(?:curl|wget)\b[^|\n]{0,300}\|\s*(?:ba|z)?sh\b", r"\bnc\s+-[a-z]*e\b",
        code=True,
    ),
    _rule(
        "sql", "it changes what a database query does",
        r"['\"]\s*(?:or|and)\s+['\"]?\w+['\"]?\s*(?:=|like)\s*['\"]?\w*", r"\bunion\s+(?:all\s+)?select\b",
        r";\s*(?:drop|delete|truncate|alter|insert|update|exec|shutdown)\b\s*\w*", r"['\"]\s*;?\s*--(?:\s|$)",
        r"\bxp_cmdshell\b", r"\bwaitfor\s+delay\b", r"\b(?:sleep|benchmark)\s*\(\s*\d+", r"\binto\s+(?:out|dump)file\b",
        code=True,
    ),
    _rule(
        "template", "a template engine would run it",
        r"\{\{[^{}]{0,200}(?:\d\s*\*\s*\d|__|config|self\.|request|cycler|lipsum|constructor)[^{}]{0,200}\}\}",
        r"\$\{jndi:", r"\$\{[^{}]{0,200}(?:T\(|exec|getRuntime|\d\s*\*\s*\d)[^{}]{0,200}\}", r"<%=?[^%]{0,200}%>",
        r"#\{[^{}]{0,200}(?:\d\s*\*\s*\d|system|exec|`)[^{}]{0,200}\}", r"\{%[^%]{0,200}(?:import|include|extends|for)\b",
        code=True,
    ),
    _rule(
        "serialised", "reading it back would run code",
        r"\brO0AB", r"\bO:\d+:\"", r"!!python/(?:object|name|module)", r"\bc(?:os|posix|nt|subprocess|builtins|__builtin__)\n",
        r"\"\$type\"\s*:", r"\"@type\"\s*:\s*\"(?:java|com|org|sun)\.", r"__reduce__", r"\bgASV", r"\$\$ND_FUNC\$\$",
        r"\bAAEAAAD/", r"<!ENTITY\b",
    ),
    _rule(
        "script", "a browser would run it", r"<script\b", r"\bjavascript:", r"\bon(?:error|load|click)\s*=\s*['\"]?\w",
        r"\bdata:text/html", code=True,
    ),
    _rule(
        "secret", "it would send a secret away",
        r"\bAKIA[0-9A-Z]{16}\b", r"-----BEGIN [A-Z ]*PRIVATE KEY", r"\bgh[pousr]_[A-Za-z0-9]{30,}", r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}", r"\bAIza[0-9A-Za-z_-]{30,}", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{5,}",
        r"\b(?:aws_secret_access_key|api[_-]?key|client_secret|access_token)\s*[=:]\s*['\"]?[\w/+=-]{16,}",
        r"\bpass(?:word|wd)\s*[=:]\s*['\"]?(?=\S*[\d\W])\S{6,}",
    ),
    _rule(
        "exfiltration", "it would carry data away in an address",
        r"https?://\S*[?&][\w.-]+=[A-Za-z0-9+/=_-]{48,}", r"!\[[^\]]*\]\(https?://[^)\s]+[?&][^)\s]*=",
        r"https?://\S*(?:requestbin|webhook\.site|ngrok|burpcollaborator|interact\.sh|pipedream\.net|oastify)\S*",
        r"https?://\S*[?&](?:secret|token|password|passwd|key|data|cookie|dump)=\S{3,}",
    ),
    _rule(
        "power", "it gives somebody all rights",
        r"\bgrant\s+all\b", r"\bchmod\s+(?:-R\s+)?[0-7]?777\b", r"\bNOPASSWD\b", r"\busermod\s+-aG\s+(?:sudo|wheel|docker)",
        r"\bsetuid\b", r"\bAdministratorAccess\b",
    ),
)  # fmt: skip
_POWERS = re.compile(
    r"^(?:admin(?:istrator)?|owner|root|super_?user|sudo|full[_ -]?(?:control|access)|god|all|\*)$",
    re.IGNORECASE,
)
_GRANTS = re.compile(
    r"(?:^|_)(?:roles?|permissions?|access(?:_level)?|privileges?|rights|scopes?)(?:_|$)", re.IGNORECASE
)
_DESTROYS = re.compile(
    r"delete|remove|drop|purge|wipe|truncate|erase|unlink|(?:^|_)rm(?:_|$)|clear", re.IGNORECASE
)
_ALL = re.compile(
    r"^(?:\*+(?:\.\*)?|/\*?|\.{1,2}/?\*?|~/?|%|\\\*?|[a-z]:\\?\*?|all|everything|.*/\*\*?)$", re.IGNORECASE
)
_AMOUNT = re.compile(
    r"(?:^|_)(?:amount|price|total|sum|quantity|qty|cost|fee|value|balance|units?|count)(?:_|$)",
    re.IGNORECASE,
)
_EVERYONE = re.compile(
    r"^(?:all|everyone|everybody|\*|all-\w+|@all|@everyone|@channel)(?:@\S+)?$", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HUGE = 1e9


class RulesCheck(PerCallCheck):
    """The rules, with what the tool's policy says of its own arguments."""

    name = "rules"

    def one(self, call: ToolCall, scene: CallContext) -> list[Finding]:
        """One objection for every argument and rule."""
        policy, arguments = scene.policy.of(call.name), call.arguments
        strings = strings_in(arguments)
        found = [
            self._no(top(path), policy, why)
            for path, text in strings
            for why in self._text(path, text, policy)
        ]
        if not found and len(strings) > 1:  # what was split over two arguments is in neither
            for joint in neighbours(
                [text for path, text in strings if path and top(path) not in policy.code]
            ):
                found += [
                    self._no("", policy, f"two arguments read as one: {why}")
                    for why in _patterns(joint, code=False)
                ]
        for path, number in numbers_in(arguments):
            found += [self._no(top(path), policy, why) for why in _number(top(path), number, policy)]
        found += [self._no(name, policy, why) for name, why in _whole(call.name, arguments, policy)]
        return list(dict.fromkeys(found))

    def _text(self, path: str, text: str, policy: ToolRules) -> Iterator[str]:
        argument = top(path)
        if why := hidden(text):
            yield why
        code = argument in policy.code
        for form in forms(text):
            yield from _patterns(form, code=code)
            if why := bad_address(
                form, policy.hosts, bare=bool(argument) and is_destination(argument, policy)
            ):
                yield why
        if policy.paths is not None and _is_path(argument) and not _under(text, policy.paths):
            yield f"{text[:80]!r} lies under none of {', '.join(policy.paths)}"

    def _no(self, argument: str, policy: ToolRules, why: str) -> Finding:
        named = (argument,) if argument else ()
        action = Action.REPAIR if argument in policy.repairable else Action.BLOCK
        said = f"{argument}: {why}" if argument else why
        return Finding(action=action, layer=self.name, reason=said, arguments=named)


def _patterns(text: str, *, code: bool) -> Iterator[str]:
    for rule in RULES:
        if not (code and rule.code) and (match := rule.pattern.search(text)):
            yield f"{rule.reason} ({rule.name}: {match[0].strip()[:60]!r})"


def _number(argument: str, number: float, policy: ToolRules) -> Iterator[str]:
    if argument in policy.limits:
        low, high = policy.limits[argument]
        if not low <= number <= high:
            yield f"{number:g} is not between {low:g} and {high:g}"
    elif _AMOUNT.search(_CAMEL.sub("_", argument)):
        if policy.effect == "write" and number < 0:
            yield f"{number:g} is negative, which turns the call round"
        if abs(number) >= _HUGE:
            yield f"{number:g} is more than anything this is meant for"


def _whole(tool: str, arguments: dict[str, object], policy: ToolRules) -> Iterator[tuple[str, str]]:
    """What shows in an argument's name and value together."""
    for name, value in arguments.items():
        plain, values = _CAMEL.sub("_", name), value if isinstance(value, list) else [value]
        texts = [each.strip() for each in values if isinstance(each, str)]
        if _GRANTS.search(plain) and any(map(_POWERS.match, texts)):
            yield name, f"it gives somebody the rights {texts[0]!r}"
        if _DESTROYS.search(tool) and any(map(_ALL.match, texts)):
            yield name, f"{texts[0]!r} stands for all that there is"
        if policy.effect == "write" and is_destination(name, policy):
            addressed = [part for text in texts for part in re.split(r"[,;]\s*", text) if part]
            if len(addressed) > policy.recipients:
                yield name, f"it addresses {len(addressed)}, {policy.recipients} are allowed"
            if any(map(_EVERYONE.match, addressed)):
                yield name, f"{texts[0]!r} addresses everybody"


def _is_path(argument: str) -> bool:
    return (
        re.search(
            r"(?:^|_)(?:paths?|files?|filenames?|folders?|director(?:y|ies)|dirs?)(?:_|$)", argument.lower()
        )
        is not None
    )


def _under(path: str, roots: tuple[str, ...]) -> bool:
    whole = posixpath.normpath(path.replace("\\", "/"))
    return any(whole == root.rstrip("/") or whole.startswith(f"{root.rstrip('/')}/") for root in roots)
