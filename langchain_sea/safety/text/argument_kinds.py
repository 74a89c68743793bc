"""What an argument is: text for people, a command, a query, a path, an address. Knows no rule.

What people read may quote anything; what a machine runs must be judged. The policy says it first, then the schema, then
the innermost name of the field, then the tool's name.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.text.caching import cache_short
from langchain_sea.safety.text.values import get_argument, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.policy import ToolRules

__all__ = ["Kind", "decide_kind", "get_words", "list_names", "recognize_statement"]


class Kind(StrEnum):
    """What an argument's text is for."""

    PROSE = "prose"  # for people, or for a search
    COMMAND = "command"  # for a shell
    CODE = "code"  # for an interpreter
    SQL = "sql"
    PATH = "path"
    ADDRESS = "address"  # a URL or a host
    HEADER = "header"  # one line: a subject, a recipient, a name
    NUMBER = "number"
    SECRET = "secret"
    VALUE = "value"  # anything else


_NAMES = {
    Kind.COMMAND: "command commands cmd cmds shell bash argv commandline powershell",
    Kind.SQL: "sql",
    Kind.CODE: "code script program snippet source javascript python",
    Kind.SECRET: "password passwd pwd passphrase pin secret token credential credentials otp apikey",
    Kind.ADDRESS: "url urls uri uris link links href webhook host hosts hostname hostnames domain endpoint server ip proxy"
    " website site callback",
    Kind.PATH: "path paths file files filename filenames filepath filepaths folder folders directory directories dir dirs"
    " pathname",
    Kind.PROSE: "body note notes text texts message messages comment comments description content contents summary caption"
    " details detail reason query question answer prompt instructions bio reply post feedback search keywords keyword"
    " title headline html markdown transcript remarks explanation paragraph sentence review memo abstract thought thoughts",
    Kind.HEADER: "subject to cc bcc from sender recipient recipients reply header headers name names email emails",
    Kind.NUMBER: "amount price total sum quantity qty cost fee balance count",
}
_KIND_BY_WORD = {word: kind for kind, words in _NAMES.items() for word in words.split()}
_DATA_WORDS = frozenset(
    ["postal", "zip", "country", "area", "currency", "language", "status", "error", "promo", "discount"]
)
"""A `code` of one of these is a value: `country_code`, `zipCode`."""
_FORMATS = {"uri": Kind.ADDRESS, "url": Kind.ADDRESS, "uri-reference": Kind.ADDRESS, "hostname": Kind.ADDRESS,
            "ipv4": Kind.ADDRESS, "ipv6": Kind.ADDRESS, "password": Kind.SECRET, "email": Kind.HEADER,
            "path": Kind.PATH, "file-path": Kind.PATH, "directory-path": Kind.PATH}  # fmt: skip
_START = r"^(?:an? |the |your |one |optional |\w+ )?(?:\w+ )?"
_DESCRIPTIONS = (
    (Kind.SQL, re.compile(_START + r"(?:sql|t-sql|postgresql|mysql)\b", re.IGNORECASE)),
    (Kind.COMMAND, re.compile(_START + r"(?:shell|bash|terminal|powershell|command[- ]line) ?(?:command|script|code)?\b"
                              r"|^(?:an? |the )?commands? to (?:run|execute)", re.IGNORECASE)),
    (Kind.CODE, re.compile(_START + r"(?:python|javascript|typescript|ruby|php|source) (?:code|script|program|snippet)\b"
                           r"|^(?:an? |the )?(?:code|script) to (?:run|execute)", re.IGNORECASE)),
)  # fmt: skip
_TOOLS = (
    (Kind.SQL, frozenset(["sql", "database", "db", "postgres", "mysql", "sqlite", "bigquery", "snowflake", "warehouse"]),
     frozenset(["query", "statement", "q", "input", "text", "code", "script", "command"])),
    (Kind.COMMAND, frozenset(["bash", "shell", "terminal", "sh", "zsh", "powershell", "ssh", "cmd", "command"]),
     frozenset(["input", "script", "args", "code", "text", "query", "line", "restart", "arguments", "content"])),
    (Kind.CODE, frozenset(["python", "code", "repl", "javascript", "interpreter", "notebook", "jupyter"]),
     frozenset(["input", "script", "code", "text", "query", "source", "cell", "expression", "content"])),
)  # fmt: skip
"""Kind, words in a tool's name, and the names of the arguments that have this kind in such a tool."""
_INDEX = re.compile(r"\[\d+\]")
_STATEMENT_FIELDS = frozenset(["query", "queries", "statement", "statements", "q", "cypher", "expression"])
_RUNNING_TOOLS = frozenset(["run", "execute", "exec", "query", "statement", "report", "analytics", "cypher", "call"])
_STATEMENT = re.compile(
    r"\s*(?:(?:--[^\n]*\n|/\*[^*]*\*/)\s*)*"
    r"(?:select\b.+\bfrom\b|with\b.+\bas\s*\(|(?:insert|merge|replace)\s+into\b|update\b.+\bset\b|delete\s+from\b"
    r"|(?:drop|alter|truncate|create)\s+\w|(?:grant|revoke)\b.+\b(?:to|from)\b|copy\b|exec(?:ute)?\b|select\s+\w+\s*\("
    r"|match\s*\()",
    re.IGNORECASE | re.DOTALL,
)
_MAX_BEGINNING = 2_000  # characters that say whether a text is a statement


@cache_short
def list_names(path: str) -> tuple[str, ...]:
    """List the names in a path, the innermost first: `address`, `to`, `message` for `message.to[0].address`."""
    return tuple(part for part in reversed(_INDEX.sub("", path).split(".")) if part)


@lru_cache(maxsize=4096)
def get_words(name: str) -> tuple[str, ...]:
    """Return a name's words in lower case: `file`, `path` for `filePath`, `file_path` and `file-path`."""
    return tuple(word for word in re.split(r"[^a-z0-9]+", to_snake_case(name).lower()) if word)


def decide_kind(path: str, tool: str, schema: Mapping[str, Any], rules: ToolRules) -> Kind:
    """Return what the text at a path of a tool's arguments is.

    Args:
        path: as in `list_strings`.
        tool: name of the tool.
        schema: of the tool's arguments.
        rules: of the tool; `kinds` names arguments or innermost fields, `code` is the kind `code`.
    """
    names = list_names(path)
    for name in (*names[:1], get_argument(path)):
        if name in rules.kinds:
            return Kind(rules.kinds[name])
    by_tool = next((kind for kind, words, fields in _TOOLS if _is_of_tool(tool, words, names, fields)), None)
    if get_argument(path) in rules.code or (names and names[0] in rules.code):
        by_name = _decide_by_name(names)
        return by_name if by_name in (Kind.COMMAND, Kind.SQL) else by_tool or Kind.CODE
    by_schema = _decide_by_schema(_find_field(schema, path))
    return by_schema or by_tool or _decide_by_name(names) or Kind.VALUE


def recognize_statement(kind: Kind, path: str, tool: str, text: str) -> Kind:
    """Return `SQL` for a statement where names alone do not say it: `run_query(query="DELETE FROM …")`; else the kind.

    Args:
        kind: that the names say.
        path: of the argument, as in `list_strings`.
        tool: name of the tool.
        text: of the argument.
    """
    if kind not in (Kind.PROSE, Kind.VALUE) or _RUNNING_TOOLS.isdisjoint(get_words(tool)):
        return kind
    names = list_names(path)
    is_field = bool(names) and not _STATEMENT_FIELDS.isdisjoint(get_words(names[0]))
    return Kind.SQL if is_field and _STATEMENT.match(text[:_MAX_BEGINNING]) else kind


def _is_of_tool(tool: str, words: frozenset[str], names: Sequence[str], fields: frozenset[str]) -> bool:
    words_of_name = get_words(names[0]) if names else ()
    return bool(words_of_name) and words_of_name[-1] in fields and not words.isdisjoint(get_words(tool))


def _decide_by_name(names: Sequence[str]) -> Kind | None:
    """Return the kind that the innermost name tells: its last word that tells one."""
    words = get_words(names[0]) if names else ()
    if words[-1:] in (("name",), ("names",)) and not _PATH_WORDS.isdisjoint(words):
        return Kind.PATH
    if words[-1:] == ("code",) and len(words) > 1 and not _DATA_WORDS.isdisjoint(words):
        return Kind.VALUE
    if words[-2:] == ("api", "key") or words[-2:] == ("private", "key"):
        return Kind.SECRET
    return next((kind for word in reversed(words) if (kind := _KIND_BY_WORD.get(word))), None)


_PATH_WORDS = frozenset(_NAMES[Kind.PATH].split())


def _decide_by_schema(field: Mapping[str, Any]) -> Kind | None:
    """Return the kind that a field's schema tells. It makes nothing text for people: a stranger may have written it."""
    if kind := _FORMATS.get(str(field.get("format"))):
        return kind
    return _decide_by_texts(*(str(field.get(key) or "")[:200] for key in ("title", "description")))


@lru_cache(maxsize=1024)
def _decide_by_texts(*texts: str) -> Kind | None:
    return next((kind for kind, pattern in _DESCRIPTIONS if any(pattern.search(text) for text in texts)), None)


def _find_field(schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the schema of the field at a path; empty where it is not written out."""
    field: Any = schema
    for part in re.findall(r"\[\d+\]|[^.\[\]]+", path):
        entries = field.get("items") if part.startswith("[") else (field.get("properties") or {}).get(part)
        if not isinstance(entries, dict):
            return {}
        field = entries
    return field if isinstance(field, dict) else {}
