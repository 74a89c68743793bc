"""What is dangerous in one text, by the kind of its argument. Text for people is never read as a command or a query."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path, find_bad_paths_in_text, is_under
from langchain_sea.safety.addresses.ssrf import find_bad_address, find_inner_literal
from langchain_sea.safety.commands.code import find_destructive_code, judge_program
from langchain_sea.safety.commands.injections import find_injection
from langchain_sea.safety.commands.running_files import find_running_file
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.queries.sql import find_sql_injection, judge_sql
from langchain_sea.safety.secrets.personal_secrets import find_personal_secrets
from langchain_sea.safety.secrets.service_keys import find_secrets, find_vendor_secrets
from langchain_sea.safety.text.argument_kinds import Kind, get_words, list_names
from langchain_sea.safety.text.deobfuscation import decode_forms, decode_parts, find_hidden_text
from langchain_sea.safety.text.patterns import Danger, compile_pattern, search_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.policy import ToolRules

__all__ = ["judge_text"]

_MAX_FORMS_OF = 20_000  # characters: of a longer text only its encoded parts are decoded
_RUN_KINDS = (Kind.COMMAND, Kind.CODE, Kind.SQL, Kind.PATH)
_VERSION_WORDS = frozenset(["version", "versions", "release", "tag", "build", "section", "chapter"])
"""Words in the names of arguments whose values may look like an address: `10.0.0.1`."""
_GAPS = re.compile(r"(?<=[A-Z0-9]{4})[ -](?=[A-Z0-9]{4})")
"""Between the parts of a key that is written in groups."""
_LOADED = (
    r"(?:\b(?:src|href|poster|action|formaction|background|data|srcset|xlink:href|content)\s*=\s*['\"]?|\burl\(\s*['\"]?|@import\s+['\"]|!\[[^\]]{0,200}\]\(\s*|\bsystem\s+['\"])"
    r"([^\s'\"<>)]{4,1000})"
)
_OWN_PAGES = ("http://localhost", "https://localhost", "http://127.0.0.1", "data:image/")
"""Addresses of somebody's own development server, and pictures within a text."""
_MAX_LOADED = 200  # addresses in markup that are judged
_PAYING_NAMES = frozenset(["card", "cards", "cc", "pan", "payment", "account", "iban"])
"""Words in the names of arguments that a card's number belongs into."""
_LINE_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029\0]|%0[ad]|\\[rn](?=\w[\w-]*:)", re.IGNORECASE)
_TITLES = frozenset(["subject", "title", "headline", "header", "headers"])
_LOOKUP = (
    (
        "a program that writes it to its log would open an address",
        r"\$\{(?:jndi|\$\{[^}]{0,40}\}|lower:|upper:|env:|::-)[^}\n]{0,200}[:}]",
    ),
)
_TEMPLATES = (
    ("a template engine would run it", r"\{\{[^{}]{0,200}(?:\d\s*[*+-]\s*\d|__|config|self\.|request\b|cycler|lipsum|constructor|range\()[^{}]{0,200}\}\}|\$\{[^{}]{0,200}(?:T\(|exec|getRuntime|\d\s*\*\s*\d|java\.)[^{}]{0,200}\}"
     r"|<%=?[^%]{0,200}%>|#\{[^{}]{0,200}(?:\d\s*\*\s*\d|system|exec|`)[^{}]{0,200}\}|\{%[^%]{0,200}\b(?:import|include|extends|for|set)\b|\*\{[^{}]{0,100}T\("),
    ("reading it back would run code", r"\brO0AB|\bO:\d+:\"|!!(?:python/(?:object|name|module)|javax?\.|ruby/object)|\bc(?:os|posix|nt|subprocess|builtins|__builtin__)\n|\"\$type\"\s*:|\"@type\"\s*:\s*\"(?:java|com|org|sun)\."
     r"|__reduce(?:_ex)?__|\bgASV|\$\$ND_FUNC\$\$|\bAAEAAAD/|<!ENTITY\b|__proto__"),
    ("a browser would run it", r"<script\b|\bjavascript:|\bon(?:error|load|click|mouseover|focus|toggle)\s*=\s*['\"]?\w|\bdata:text/html|<iframe\b|<svg\b[^>]{0,80}\bon\w+="),
    ("it gives somebody all rights", r"\bgrant\s+all\b|\bchmod\s+(?:-R\s+)?[0-7]?777\b|\bNOPASSWD\b|\busermod\s+-aG\s+(?:sudo|wheel|docker)|\bsetuid\b|\bAdministratorAccess\b"),
)  # fmt: skip
_CARRIERS = (
    ("it would carry data away in an address", r"!\[[^\]]{0,200}\]\(\s*https?://[^)\s]+[?&][^)\s=]{1,40}=[^)\s]{8,}|https?://[^\s]*(?:requestbin|webhook\.site|ngrok(?:-free)?\.(?:io|app)|burpcollaborator|interact\.sh|oast\.\w+|pipedream\.net|oastify|beeceptor\.com|dnslog\.cn|canarytokens)[^\s]*"),
)  # fmt: skip
_QUERIES = (
    ("it runs a program in place of an address", r"^\s*(?:ext|fd)::"),
    ("it would carry data away in an address", r"(?:https?:)?//\S*[?&][\w.-]+=[A-Za-z0-9+/=_-]{48,}|(?:https?:)?//\S*[?&](?:secret|password|passwd|cookie|dump|private_?key|api_?key|data)=[^\s&]{3,}"),
)  # fmt: skip
_METADATA = re.compile(r"169\.254|metadata|fd00:ec2|100\.100\.100\.200")


def judge_text(
    kind: Kind, path: str, text: str, rules: ToolRules, *, reads_only: bool, is_rendered: bool = False
) -> Iterator[Danger]:
    """Yield why a text is dangerous.

    Args:
        kind: of its argument.
        path: of the argument, as in `list_strings`.
        text: as the model wrote it.
        rules: of the tool.
        reads_only: whether the tool changes nothing.
        is_rendered: whether the tool runs what stands in a text, as an engine of templates does.
    """
    if reason := find_hidden_text(text):
        yield Danger(reason, is_certain="bidi" not in reason)
    if kind is Kind.SECRET:
        return
    forms = decode_forms(text) if len(text) <= _MAX_FORMS_OF else [text]
    for form in forms:
        yield from find_secrets(form)
    if kind not in _RUN_KINDS and _PAYING_NAMES.isdisjoint(
        word for name in list_names(path) for word in get_words(name)
    ):
        yield from find_personal_secrets(text)
    if len(text) <= _MAX_FORMS_OF:
        # no format of a key goes over the end of a line
        yield from find_vendor_secrets("\n".join((text[::-1], codecs.encode(text, "rot13"), _GAPS.sub("", text))))
    yield from _judge_kind(kind, path, forms, rules, reads_only=reads_only, is_rendered=is_rendered)
    if kind is Kind.HEADER and (match := _LINE_BREAK.search(text.strip())):
        yield Danger(f"a line break in it adds a header ({text[max(0, match.start() - 20) : match.end() + 30]!r})")
    if kind is Kind.PATH and rules.paths is not None and not is_under(text, rules.paths):
        yield Danger(f"{text[:80]!r} lies under none of {', '.join(rules.paths)}", is_certain=True)
    yield from _judge_encoded(kind, text)


def _judge_kind(
    kind: Kind, path: str, forms: Sequence[str], rules: ToolRules, *, reads_only: bool, is_rendered: bool
) -> Iterator[Danger]:
    """Yield what is dangerous in a text, given with its decoded forms, because of what it is."""
    text = forms[0]
    if kind is Kind.COMMAND:
        yield from judge_command(text)
        yield from find_destructive_code(text)
        yield from _find_metadata(text)
    elif kind is Kind.CODE:
        yield from _judge_code(text)
        yield from _find_metadata(text)
    elif kind is Kind.SQL:
        yield from judge_sql(text, reads_only=reads_only)
    elif kind is Kind.PROSE or (kind is Kind.HEADER and not _TITLES.isdisjoint(get_words(list_names(path)[0]))):
        yield from _judge_prose(text, rules)
        if len(text) <= _MAX_FORMS_OF:
            yield from _judge_disguised(decode_forms(text, only_disguises=True))
        if is_rendered:
            for form in forms:
                yield from search_patterns(form, _TEMPLATES)
        yield from _judge_loaded(text)
    else:
        is_version = not _VERSION_WORDS.isdisjoint(word for name in list_names(path) for word in get_words(name))
        for form in forms:
            yield from _judge_value(kind, form, rules, is_version=is_version)
        if kind is Kind.PATH and not reads_only and (danger := find_running_file(text)):
            yield danger


def _judge_code(text: str) -> list[Danger]:
    """List why code should not run; a text without brackets is a line of a shell, and lines with `!` are its commands."""
    if re.fullmatch(r"\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*", text):  # an address in an argument such as `source`
        danger = find_bad_address(text.strip(), None, bare=True)
        return [Danger(danger.reason)] if danger else []
    dangers = judge_program(text, lambda string: judge_command(string, level=1))
    if not re.search(r"[(){}=\[\]]", text):
        return [*dangers, *judge_command(text)]
    for line in re.findall(r"^\s*[!%]{1,2}(?:sh|bash|system)?\s*(.{2,300})$", text, re.MULTILINE)[:40]:
        dangers += judge_command(line)
    return [*dangers, *(danger for danger in judge_command(text, level=1) if danger.is_certain)]


def _judge_prose(text: str, rules: ToolRules) -> Iterator[Danger]:
    yield from search_patterns(text, (*_LOOKUP, *_CARRIERS))
    is_request = text.lstrip()[:8].startswith(("{", "query", "mutation"))  # a machine reads it
    if (rules.hosts is not None or is_request) and (danger := find_bad_address(text, rules.hosts, bare=False)):
        yield Danger(danger.reason)


def _judge_loaded(text: str) -> Iterator[Danger]:
    """Yield addresses in markup that whatever shows it would load from the machine or its network."""
    for number, match in enumerate(compile_pattern(_LOADED).finditer(text)):
        if number >= _MAX_LOADED:
            return
        danger = find_bad_address(match[1], None, bare=match[1].startswith(("//", "\\\\", "file:", "gopher:")))
        if danger and not match[1].startswith(_OWN_PAGES):
            yield Danger(f"whatever shows it would load an address: {danger.reason}")


def _judge_value(kind: Kind, text: str, rules: ToolRules, *, is_version: bool = False) -> Iterator[Danger]:
    """Yield what is dangerous in a value that a program may write into a command, a query, a page or a path."""
    is_address = kind is Kind.ADDRESS
    if danger := find_bad_address(text, rules.hosts, bare=is_address):
        yield Danger(danger.reason, is_certain=danger.is_certain and (is_address or rules.hosts is not None))
    elif kind is Kind.VALUE and not is_version and (danger := find_inner_literal(text)):
        yield danger
    yield from find_injection(text)
    yield from search_patterns(text, (*_LOOKUP, *_TEMPLATES, *_CARRIERS, *_QUERIES))
    if not is_address:
        yield from find_sql_injection(text)
    if (kind is Kind.PATH and (danger := find_bad_path(text))) or (
        is_address and "://" not in text and (danger := find_bad_path(text, is_path=False))
    ):
        yield danger
    elif kind is not Kind.PATH:
        yield from find_bad_paths_in_text(text)
        if re.match(r"(?:\.\.[/\\]|.{0,200}[/\\]\.\.[/\\])", text) and not is_address:
            yield Danger(f"{text[:60]!r} leaves the folder it should stay in (path)")


def _judge_encoded(kind: Kind, text: str) -> Iterator[Danger]:
    """Yield what is dangerous in the encoded parts of a text: what is hidden is no quotation."""
    parts, is_cut = decode_parts(text)
    if is_cut and kind is not Kind.PROSE:
        yield Danger("it has more encoded parts than are decoded")
    for part in parts:
        personal = () if kind in _RUN_KINDS else find_personal_secrets(part)
        for danger in (*_list_dangers(part), *find_secrets(part), *personal):
            yield Danger(f"an encoded part of it: {danger.reason}", danger.is_certain)


def _judge_disguised(forms: Sequence[str]) -> Iterator[Danger]:
    """Yield what is dangerous in the forms of a text for people alone, and not where a reader sees it."""
    known = {danger.reason for danger in _list_dangers(forms[0])}
    for form in forms[1:]:
        for danger in _list_dangers(form):
            if danger.reason not in known:
                yield Danger(f"a disguised part of it: {danger.reason}", danger.is_certain)


def _list_dangers(text: str) -> list[Danger]:
    """List what is dangerous in a text that nobody can read as it is."""
    return [*find_injection(text), *find_sql_injection(text), *find_bad_paths_in_text(text)]


def _find_metadata(text: str) -> Iterator[Danger]:
    danger = find_bad_address(text, None, bare=False)
    if danger and _METADATA.search(danger.reason):
        yield Danger(danger.reason)
