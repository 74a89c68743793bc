"""Queries that read what nobody asked for and everybody guards: hashes of passwords, tokens, seeds, numbers of cards.

A count needs no password hash. So a query, a projection or a list of fields that reads such a column is a doubt, unless
a trusted text speaks about it. So is a tool whose name says that it reads secrets. Reads no database.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from langchain_sea.safety.text.argument_kinds import Kind, get_words, list_names
from langchain_sea.safety.text.patterns import Danger, compile_pattern
from langchain_sea.safety.text.values import get_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext

__all__ = ["judge_sensitive_reads", "name_sensitive_field"]

_HINT = (
    r"pass|pwd|secret|token|api_?key|private_?key|secret_?key|signing_?key|encryption_?key|ssn|social|passport|national|card|cvv|cvc|\bpan\b|\bpin|pin_|_pin|totp|otp|mfa|2fa|factor|seed|salt|mnemonic|recovery|backup_?code|cookie|credential|security_?answer|licen[cs]e_?n|pwdump|unicodepwd"
    r"|geheim|kennwort|passwort"
)
_SECRETS = frozenset("password passwd pwd passphrase passhash passwordhash passwort kennwort secret secrets salt credential credentials cvv cvc cvv2 ssn pan pin mnemonic apikey apikeys totp otp cookie cookies passcode userpassword unicodepwd ntlm".split())  # fmt: skip
_PAIRS = frozenset(
    [
        *((a, "token") for a in "access refresh auth api session reset bearer remember oauth id secret login verification device push csrf jwt invite".split()),
        *((a, "tokens") for a in "access refresh auth api session reset bearer remember oauth secret login".split()),
        *((a, "key") for a in "api private secret signing encryption master access ssh license wallet".split()),
        *((a, "keys") for a in "api private secret signing encryption access ssh".split()),
        *((a, "number") for a in "card passport ssn security identity id licence license pan".split()),
        *((a, "no") for a in "card passport ssn".split()), ("cc", "num"), ("card", "num"), ("cc", "number"), ("card", "pan"), ("card", "code"), ("card", "cvv"), ("credit", "card"), ("debit", "card"),
        ("social", "security"), ("national", "id"), ("security", "answer"), ("security", "answers"), ("recovery", "code"), ("recovery", "codes"), ("backup", "code"), ("backup", "codes"), ("recovery", "phrase"),
        ("seed", "phrase"), ("totp", "seed"), ("otp", "seed"), ("mfa", "seed"), ("wallet", "seed"), ("mfa", "secret"), ("factor", "secret"), ("pass", "hash"), ("hashed", "pass"), ("pin", "code"), ("pin", "hash"), ("pw", "hash"), ("hashed", "pw"),
    ]
)  # fmt: skip
"""Neighbouring words of a name that together mean a secret."""
_NEUTRAL = frozenset(
    "at date time datetime timestamp on count counts num_of changed change expires expiry expired expiration age policy policies length len type kind last4 last four brand has is status state required attempts failed version created updated modified enabled strength"
    " hint name prefix usage used limit limits rotation rotated issued source provider scopes scope per max min avg total sum bucket consent banner verified valid since days method requested requests url uri path format label desc description exists missing present".split()
)
"""Words that say that a column is about a secret, and is none: `password_changed_at`."""
_NAME = re.compile(r"[A-Za-z_][\w]{1,60}")
_COUNTED = r"\b(?:count|approx_count_distinct|length|len|char_length|exists|isnull|count_if|countif)\s*\(\s*(?:distinct\s+)?[\w.\"`\[\]]{1,120}\s*\)"
_TESTED = r"[\w.\"`\[\]]{1,120}\s+is\s+(?:not\s+)?null\b|\b[\w.\"`\[\]]{1,120}\s*(?:=|<>|!=|<=|>=|<|>)\s*(?:[$:@?%][\w()]*|'[^']{0,300}'|\"[^\"]{0,300}\"|[\d.]+|[\w.\"`]{1,120})|\b[\w.\"`\[\]]{1,120}\s+(?:not\s+)?in\s*\([^()]{0,1000}\)"
_LITERAL = r"'[^']{0,1000}'|--[^\n]{0,500}|(?s:/\*.{0,1000}?\*/)"
_STAR = re.compile(r"(?:\bselect\s+(?:(?:distinct|all|top\s+\d+)\s+)?|,\s*)(?:[\w\"`\[\]]+\.)?\*(?!\s*\))|\b(?:row_)?to_jsonb?\s*\(|^\s*table\s+\w", re.IGNORECASE)  # fmt: skip
_TABLES = re.compile(r"\b(?:from|join|table)\s+(?:only\s+)?([\w.\"`\[\]]{1,120})", re.IGNORECASE)
_QUERY_IN_CODE = re.compile(r"\bselect\b(?=.{1,2000}?\bfrom\b)[^;]{1,4000}", re.IGNORECASE | re.DOTALL)
_READING = re.compile(r"\s*(?:\(|select|with|table|values|show|explain|match|optional|return|unwind|from|copy|declare|go|--|/\*|\w+\s*\|)", re.IGNORECASE)  # fmt: skip
_CHANGING = re.compile(r"\s*(?:insert|update|create|alter|drop|grant|merge|replace|truncate)\b", re.IGNORECASE)
_TABLE_ARGUMENTS = frozenset("table collection index entity object resource sheet keyspace dataset model".split())
_FIELD_LISTS = frozenset("fields field columns column select projection project attributes attribute attrs properties props include includes return returning expand source keys values cols output".split())  # fmt: skip
_FIELD_PARAMETER = re.compile(r"[?&;](?:\$?(?:fields?|select|columns?|include|expand|attributes?|props|properties)(?:\[\w*\])?)=([^&#\s]{1,2000})", re.IGNORECASE)  # fmt: skip
_GRAPHQL = re.compile(r"\s*(?:query\b[^{]{0,500}|subscription\b[^{]{0,500})?\{")
_GRAPHQL_NAME = re.compile(r"([A-Za-z_]\w{2,60})(?=\s*(?:[}\s,{@(]|$))(?!\s*:)")
_MAX_TEXT = 20_000  # characters of one argument that are read
_NEAR = 3_000  # characters behind a table's name in which its columns stand
_SECRET_TOOLS = frozenset("secret secrets credential credentials password passwords passwd keychain apikey apikeys passphrase otp totp mfa cookies".split())  # fmt: skip
_SECRET_TOOL_PAIRS = frozenset([("api", "key"), ("api", "keys"), ("private", "key"), ("private", "keys"), ("ssh", "keys"), ("access", "token"), ("access", "tokens"), ("env", "vars"), ("environment", "variables"), ("session", "token"), ("auth", "token"), ("signing", "key"), ("recovery", "codes"), ("backup", "codes")])  # fmt: skip
_MAKES = frozenset("generate create reset change rotate validate check hash verify update set forgot expire strength policy test has is count".split())  # fmt: skip


@lru_cache(maxsize=4096)
def name_sensitive_field(name: str) -> tuple[str, ...]:
    """Return the words for which a field's name stands for a secret; empty where it stands for none."""
    words = tuple(word for part in re.split(r"[^A-Za-z0-9]+", name) for word in get_words(part))
    if not words or not _NEUTRAL.isdisjoint(words):
        return ()
    if words[-1] in ("id", "ids") and len(words) > 1 and words[-2] not in ("national", "tax", "government"):
        return ()
    if secret_words := tuple(word for word in words if word in _SECRETS):
        return (*secret_words, *(word for word in words if word in ("hash", "hashes", "seed", "key", "token")))
    if words == ("token",):
        return words
    return next((pair for pair in pairwise(words) if pair in _PAIRS), ())


def judge_sensitive_reads(
    tool: str, texts: Sequence[tuple[str, Kind, str]], context: CallContext, *, reads_only: bool
) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of a call that reads a secret of which nobody who is trusted speaks.

    Args:
        tool: its name.
        texts: path, kind and text of each string in the arguments.
        context: of the call.
        reads_only: whether the tool changes nothing.
    """
    if context.messages and reads_only and (words := _name_secret_tool(tool)) and not _is_spoken_of(words, context):
        yield "", Danger(f"{tool} reads secrets, and nobody asked for {words[0]}")
    hint = compile_pattern(_HINT)
    for where, kind, whole in texts:
        text = whole[:_MAX_TEXT]
        has_star = kind in (Kind.SQL, Kind.COMMAND, Kind.CODE) and "*" in text
        if not has_star and not hint.search(text):
            continue
        for name in dict.fromkeys(_list_read_fields(where, kind, text, context)):
            words = name_sensitive_field(name)
            if words and not _is_spoken_of(words, context) and not _is_approved(name, tool, context):
                yield get_argument(where), Danger(f"it reads {name[:60]!r}, and nobody asked for that")
                break


def _list_read_fields(where: str, kind: Kind, text: str, context: CallContext) -> Iterator[str]:
    """Yield the names of fields that a text asks a database or a service for."""
    if kind is Kind.SQL:
        yield from _list_columns(text, context)
    elif kind in (Kind.COMMAND, Kind.CODE):
        for number, match in enumerate(_QUERY_IN_CODE.finditer(text)):
            if number < 20:  # noqa: PLR2004 - queries of one text
                yield from _list_columns(re.split(r"[\"'`]\s*[),;]", match[0], maxsplit=1)[0], context)
    elif _GRAPHQL.match(text) and kind is not Kind.PATH:
        yield from _GRAPHQL_NAME.findall(text)
    names = list_names(where)
    is_code = kind in (Kind.SQL, Kind.COMMAND, Kind.CODE) and re.search(r"[\s(]", text)
    if not is_code and any(not _FIELD_LISTS.isdisjoint(get_words(name)) for name in names[:2]):
        yield from _NAME.findall(text[:4_000])
    if names and not is_code and not _TABLE_ARGUMENTS.isdisjoint(get_words(names[0])) and _NAME.fullmatch(text):
        yield text
    for match in _FIELD_PARAMETER.findall(text):
        yield from _NAME.findall(match.replace("%2C", ",").replace("%2c", ","))


def _list_columns(text: str, context: CallContext) -> Iterator[str]:
    """Yield the columns that a query shows or takes apart; those that it only counts or compares are left out."""
    plain = str(compile_pattern(_LITERAL).sub("''", text))
    if _CHANGING.match(plain) and "select" not in plain.lower() and "returning" not in plain.lower():
        return
    shown = compile_pattern(_TESTED).sub(" ", compile_pattern(_COUNTED).sub(" ", plain))
    tables = {name.strip('"`[]').rpartition(".")[2].strip('"`[]') for name in _TABLES.findall(plain)}
    yield from (name for name in _NAME.findall(str(shown)) if name not in tables)
    if _STAR.search(plain):
        for table in sorted(tables):
            if name_sensitive_field(table):
                yield f"{table}.*"
            yield from _list_known_columns(table, context)


def _list_known_columns(table: str, context: CallContext) -> Iterator[str]:
    """Yield columns of secrets that a result names for a table."""
    pattern = re.compile(rf"(?<![\w]){re.escape(table)}(?![\w])", re.IGNORECASE)
    for message in context.messages:
        if message.role != "tool" or not compile_pattern(_HINT).search(message.text[:_MAX_TEXT]):
            continue
        whole = f"{message.arguments[:1000]}\n{message.text[:_MAX_TEXT]}"
        if match := pattern.search(whole):
            names = _NAME.findall(whole[match.end() : match.end() + _NEAR])
            yield from (name for name in names if name_sensitive_field(name))


def _name_secret_tool(tool: str) -> tuple[str, ...]:
    """Return the words for which a tool's name says that it reads secrets."""
    words = get_words(tool)
    if not _MAKES.isdisjoint(words):
        return ()
    if secret_words := tuple(word for word in words if word in _SECRET_TOOLS):
        return secret_words
    return next((pair for pair in pairwise(words) if pair in _SECRET_TOOL_PAIRS), ())


def _is_spoken_of(words: Sequence[str], context: CallContext) -> bool:
    """Return whether a trusted text has one of these words, or the beginning of it."""
    stems = [
        word.rstrip("s")[:8] for word in words if word not in ("id", "number", "no", "code", "hash", "of")
    ] or words
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, stems)) + ")", re.IGNORECASE)
    return any(pattern.search(text) for text, _ in context.request_texts)


def _is_approved(name: str, tool: str, context: CallContext) -> bool:
    """Return whether a human approved a call of the tool that had this name in it."""
    return any(m.role == "approval" and m.tool == tool and name in m.text for m in context.messages)
