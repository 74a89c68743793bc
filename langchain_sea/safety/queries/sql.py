"""What a SQL text does, read by a parser; `find_sql_injection` looks for SQL in other values."""

from __future__ import annotations

import logging
import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import ExtraMissingError
from langchain_sea.safety.queries.sql_effects import chooses_rows, find_effects, find_setting, is_harmless_command
from langchain_sea.safety.text.patterns import Danger, compile_pattern, search_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_sql_injection", "judge_sql", "parse_sql"]

_parsing = threading.local()
_MAX_INJECTED = 20_000  # characters of a value whose comments are taken out
_MAX_SQL = 4_000  # characters that are parsed
_DIALECTS = ("", "mysql", "postgres", "tsql", "bigquery")
_CERTAIN = (
    ("it runs a command of the machine", r"\bxp_cmdshell\b|\bsp_oacreate\b|\bsys_(?:exec|eval)\s*\(|\b(?:from|to)\s+program\s+'|\bdbms_scheduler\b|\bload_extension\s*\(|\bcreate\s+(?:or\s+replace\s+)?function\b[^;]{0,200}\b(?:soname|plpythonu|plperlu|plsh)\b"),
    ("it writes or reads files of the machine", r"\binto\s+(?:out|dump)file\b|\bload_file\s*\(|\blo_(?:import|export)\s*\(|\bpg_(?:read|write)_(?:binary_)?file\s*\(|\bpg_ls_dir\s*\(|\butl_file\b|\bopenrowset\s*\(|\bwritefile\s*\(|\breadfile\s*\("),
    ("it deletes a whole database", r"\bdrop\s+(?:database|schema)\b"),
    ("it stops the server", r"^\s*shutdown\b"),
)  # fmt: skip
_DOUBTFUL = (
    ("it makes the database wait", r"\b(?:pg_)?sleep\s*\(|\bbenchmark\s*\(|\bwaitfor\s+(?:delay|time)\b|\bdbms_(?:lock|session)\.sleep|\brandomblob\s*\(\s*\d{6,}"),
    ("it opens an address", r"\butl_http\b|\bdblink\s*\(|\bhttp_(?:get|post)\s*\(|\bmaster\.\.xp_dirtree|\bxp_(?:dirtree|fileexist|regread)\b|\bhttpuritype\b|\burl\s*\(\s*'https?:"),
    ("it reads passwords of the database", r"\bpg_(?:shadow|authid)\b|\bmysql\.user\b|\bsys\.(?:sql_logins|user\$)|\bdba_users\b|\binformation_schema\.user_privileges\b|\bmysql\.global_priv\b"),
    ("it hides a statement in a comment", r"/\*!\d*"),
    ("it writes a file", r"\bcopy\b[^;]{0,300}\bto\s+'|\bexport\s+data\b|\bunload\b[^;]{0,300}\bto\s+'|\bbackup\s+(?:database|log)\b|\battach\s+(?:database\s+)?'|\binto\s+'"),
    ("it changes who may do what", r"\b(?:create|alter|drop)\s+(?:user|role|login)\b|\bset\s+(?:global|password|role)\b|\bgrant\b[^;]{1,200}\bto\b|\brevoke\b[^;]{1,200}\bfrom\b|\bsp_addsrvrolemember\b|\breassign\s+owned\b|\bdrop\s+owned\b"),
    ("it deletes rows", r"\binsert\s+overwrite\b|\bcreate\s+or\s+replace\s+table\b|\bmatched\b[^;]{0,200}\bthen\s+delete\b"),
)  # fmt: skip
_READING = frozenset(
    "Select Union Intersect Except With Subquery Show Describe Pragma Set Use Transaction Commit Rollback Values Table Paren Semicolon Summarize".split()
)
_WRITING = frozenset(["Insert", "Update", "Delete", "Merge"])
_EXPLAIN = re.compile(
    r"\s*explain\b(?P<options>(?:\s+(?:analyze|verbose|query\s+plan|plan\s+for|extended|formatted|format\s*=?\s*\w+|\([^()]*\)))*)\s+(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_CREATED = frozenset("FUNCTION PROCEDURE TRIGGER EVENT EXTENSION RULE LANGUAGE SERVER POLICY USER ROLE".split())
_COMPARISON = r"(?:not\s+)?(?:true\b|false\b|null\b|exists\s*\(|\(?\s*select\b|\d+\s*$|['\"]{0,2}[\w.@]*['\"]?\s*(?:\(\s*[^()]{0,40}\)\s*)?(?:=|<>|!=|<=>|<|>|\blike\b|\bin\s*\(|\bbetween\b|\bis\s+(?:not\s+)?null|\brlike\b|\bregexp\b|\bglob\b))"
_INJECTIONS = (
    ("it changes what a database query does", rf"['\"`]\s*\)*\s*(?:\b(?:or|and|xor|having|where)\b|\|\||&&)\s*\(*\s*['\"]?{_COMPARISON}"),
    ("it changes what a database query does", r"\b(?:or|and|xor)\s+\(?\s*['\"]?(\d+)['\"]?\s*(?:=|<>|!=|<|>|like)\s*['\"]?\d+|\b(?:or|and)\s+(?:not\s+)?(?:true|false)\s*(?:--|#|;|$)|^\s*\d+\s+(?:or|and)\s+\w+\s*(?:=|<|>)\s*\w|\bor\s+'[^']{0,40}'\s*(?:=|like|<|>)\s*'"),
    ("it changes what a database query does", r"\bunion\s+(?:all\s+|distinct\s+)?\(*\s*select\b[^;]{0,80}(?:,|\bfrom\b|\*|\(|\bnull\b|\d|@)|\b(?:order|group)\s+by\s+\d+\s*(?:--|#)|['\"]\s*\)*\s*;?\s*(?:--[\s-]*\w?|#)\s*$|['\"]\s*(?:\|\||\+)\s*\(?\s*select\b|\b(?:extractvalue|updatexml|xmltype)\s*\("),
    ("it adds a statement to a database query", r";\s*(?:drop\s+(?:table|database|schema|view|index|user)|delete\s+from|truncate\s+(?:table\s+)?\w+\s*(?:;|--|$)|alter\s+(?:table|user|role|database|login)|insert\s+into|update\s+\S{1,60}\s+set|exec(?:ute)?\s+(?:\(|\w*p_|immediate)|create\s+(?:table|user|role|function|login|database|trigger)"
     r"|grant\s+\w+[^;]{0,100}\s+(?:to|on)\s|shutdown\b|declare\s+@|waitfor\s+delay|copy\s+\w+\s+(?:from|to)\b|attach\s+database|merge\s+into|replace\s+into|select\s+(?:\*|\w+\s*\(|[\w,\s.]{1,80}\s+from\s))"),
)  # fmt: skip
_COMMENT_BEHIND_QUOTE = r"""['"]\s*\)*\s*;?\s*(?:--|#)"""
_MAX_COMMENTS = 500  # behind quotes, in one value: more are a doubt


def judge_sql(text: str, *, reads_only: bool = False) -> list[Danger]:
    """List why a SQL text should not run, or not without a human.

    Args:
        text: one or more statements.
        reads_only: whether the tool says that it changes nothing; then each change is a danger.
    """
    plain = _replace_comments(text, " ")
    dangers = [*search_patterns(plain, _CERTAIN, is_certain=True), *search_patterns(plain, _DOUBTFUL[:3])]
    dangers += search_patterns(text, _DOUBTFUL[3:])
    if len(text) > _MAX_SQL:
        return [*dangers, Danger(f"{len(text)} characters of SQL cannot be judged; {_MAX_SQL} can")]
    statements = parse_sql(text)
    if statements is None:
        return dangers or [Danger(f"it cannot be read as SQL ({text.strip()[:60]!r})")]
    for statement in statements:
        dangers += _judge_statement(statement, reads_only=reads_only)
    acting = [each for each in statements if _get_kind(each) not in ("Transaction", "Commit", "Semicolon")]
    if len(acting) > 1 and any(_get_kind(each) not in _READING for each in acting):
        dangers.append(Danger(f"it holds {len(statements)} statements, which change data ({text.strip()[:60]!r})"))
    return list(dict.fromkeys(dangers))


def find_sql_injection(text: str) -> Iterator[Danger]:
    """Yield what would change a query into which the value is written."""
    forms = [text]
    if "/*" in text and len(text) <= _MAX_INJECTED:
        forms += [_replace_comments(text, " "), _replace_comments(text, "")]
    for form in forms:
        yield from search_patterns(form, (*_INJECTIONS, *_CERTAIN[:2], _DOUBTFUL[0]))
        if _ends_string_with_comment(form):
            yield Danger("it changes what a database query does")


def _ends_string_with_comment(text: str) -> bool:
    """Return whether a quote that the value did not open is followed by a comment, which hides the rest of the query."""
    counted, is_open = 0, {"'": False, '"': False}
    for number, match in enumerate(compile_pattern(_COMMENT_BEHIND_QUOTE).finditer(text)):
        for quote in is_open:
            is_open[quote] ^= text.count(quote, counted, match.start()) % 2 == 1
        if not is_open[text[match.start()]] or number >= _MAX_COMMENTS:
            return True
        counted = match.start()
    return False


def _replace_comments(text: str, blank: str) -> str:
    return str(compile_pattern(r"(?s)/\*\*/|/\*[^!].*?\*/").sub(blank, text))


def parse_sql(text: str) -> list[Any] | None:
    """Parse in the first dialect that can read the text; None where none can."""
    try:
        import sqlglot  # noqa: PLC0415 - an extra
        from sqlglot.errors import SqlglotError  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError("SQL is read by sqlglot: pip install 'langchain-sea[agents]'") from error
    commands: list[Any] | None = None
    _quiet_parser()
    for dialect in _DIALECTS:
        _parsing.is_active = True
        try:
            statements = [each for each in sqlglot.parse(text, dialect=dialect or None) if each is not None]
        except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError):
            continue
        finally:
            _parsing.is_active = False
        if all(_get_kind(each) not in ("Command", "Column", "Alias") for each in statements):
            return statements
        commands = commands or [each for each in statements if _get_kind(each) not in ("Column", "Alias")] or None
    return commands


@lru_cache(maxsize=1)
def _quiet_parser() -> None:
    """Keep the texts of calls out of sqlglot's warnings; those of other users of sqlglot stay."""
    logging.getLogger("sqlglot").addFilter(lambda _: not getattr(_parsing, "is_active", False))


def _get_kind(statement: Any) -> str:
    return type(statement).__name__


def _judge_statement(statement: Any, *, reads_only: bool) -> Iterator[Danger]:
    kind = _get_kind(statement)
    shown = repr(_to_text(statement)[:60])
    if kind == "Command":
        yield from _judge_command(_to_text(statement), shown, reads_only=reads_only)
    elif kind in ("Drop", "TruncateTable"):
        yield Danger(
            f"it deletes {'a table' if kind == 'TruncateTable' else statement.args.get('kind') or 'something'} ({shown})"
        )
    elif kind in ("Update", "Delete") and (reason := _find_whole_table(statement)):
        yield Danger(f"it {'deletes' if kind == 'Delete' else 'changes'} all or many rows: {reason} ({shown})")
    elif kind in ("Set", "Pragma") and (setting := find_setting(_to_text(statement))):
        yield Danger(f"it changes a setting ({setting!r})")
    elif kind == "Create" and (statement.args.get("replace") or str(statement.args.get("kind")).upper() in _CREATED):
        yield Danger(f"it replaces something, or adds a program to the database ({shown})")
    elif kind in ("Grant", "Revoke", "Alter", "AlterTable", "Copy", "LoadData", "Attach", "Detach", "Kill", "Execute"):
        yield Danger(f"it is {kind.upper()} ({shown})")
    elif kind not in _READING | _WRITING | {"Create", "Explain", "Cache", "Refresh", "Analyze", "Comment", "Use"}:
        yield Danger(f"it is a statement whose effect is not known ({shown})")
    elif kind not in _READING and reads_only:
        yield Danger(f"a tool that reads would change data ({shown})")
    if kind != "Pragma":
        yield from find_effects(statement)
    for name in ("Drop", "Delete", "Update", "Insert"):
        if kind in _READING and any(_get_kind(node) == name for node in statement.walk()):
            yield Danger(f"a query holds {name.upper()} ({shown})")
    if any(_get_kind(node) == "Into" for node in statement.walk()):
        yield Danger(f"it writes its rows into a table or a file ({shown})")
    if kind in _READING and (part := _find_true_alternative(statement)):
        yield Danger(f"a condition in it is always true ({part[:60]!r})")


def _judge_command(text: str, shown: str, *, reads_only: bool) -> Iterator[Danger]:
    """Yield what is dangerous in a statement of which the parser knows only the first word."""
    if match := _EXPLAIN.fullmatch(text):
        if "analyze" in match["options"].lower():
            yield from judge_sql(match["rest"], reads_only=reads_only)
    elif re.match(r"\s*set\s", text, re.IGNORECASE):
        if setting := find_setting(text):
            yield Danger(f"it changes a setting ({setting!r})")
    elif not is_harmless_command(text):
        yield Danger(f"it is a statement whose effect is not known ({shown})")


def _find_whole_table(statement: Any) -> str | None:
    """Return why a change concerns all rows."""
    where = statement.args.get("where")
    if where is None:
        return None if statement.args.get("limit") else "it has no WHERE"
    if _is_true(where.this):
        return "its WHERE is always true"
    return None if chooses_rows(where.this) else "its WHERE compares no column with one value"


def _find_true_alternative(statement: Any) -> str | None:
    """Return an `OR` of which one side is always true: nobody writes it on purpose."""
    for node in statement.walk():
        if _get_kind(node) == "Or" and any(_get_kind(s) != "Or" and _is_true(s) for s in (node.left, node.right)):
            return _to_text(node)
    return None


def _is_true(condition: Any) -> bool:
    """Return whether a condition holds for every row."""
    kind = _get_kind(condition)
    if kind == "Paren":
        return _is_true(condition.this)
    if kind == "Or":
        return _is_true(condition.left) or _is_true(condition.right)
    if kind == "And":
        return _is_true(condition.left) and _is_true(condition.right)
    if kind == "Boolean":
        return bool(condition.this)
    if kind == "Literal":
        return bool(re.fullmatch(r"[1-9]\d*", str(condition.this)))
    if kind == "Not" and _get_kind(condition.this) == "Is" and _get_kind(condition.this.expression) == "Null":
        return False
    if kind == "Not":
        return _is_false(condition.this)
    if kind in ("EQ", "GTE", "LTE", "NullSafeEQ", "Like", "ILike") and condition.left == condition.right:
        return True
    if kind in ("Like", "ILike") and str(getattr(condition.expression, "this", "")) in ("%", "%%"):
        return True
    if (
        kind in ("EQ", "NEQ", "GT", "LT", "GTE", "LTE")
        and _get_kind(condition.left) == _get_kind(condition.right) == "Literal"
    ):
        return _compare(kind, str(condition.left.this), str(condition.right.this))
    return False


def _is_false(condition: Any) -> bool:
    kind = _get_kind(condition)
    if kind == "Paren":
        return _is_false(condition.this)
    if (
        kind in ("EQ", "NEQ", "GT", "LT", "GTE", "LTE")
        and _get_kind(condition.left) == _get_kind(condition.right) == "Literal"
    ):
        return not _is_true(condition)
    return (kind == "Boolean" and not condition.this) or (kind == "Literal" and str(condition.this) == "0")


def _compare(kind: str, left: str, right: str) -> bool:
    a: Any
    b: Any
    try:
        a, b = float(left), float(right)
    except ValueError:
        a, b = left, right
    return bool({"EQ": a == b, "NEQ": a != b, "GT": a > b, "LT": a < b, "GTE": a >= b, "LTE": a <= b}[kind])


def _to_text(statement: Any) -> str:
    _parsing.is_active = True
    try:
        return str(statement.sql())
    except (RecursionError, ValueError, AttributeError, TypeError):
        return _get_kind(statement)
    finally:
        _parsing.is_active = False
