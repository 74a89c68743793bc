"""What a text for the command line of a database does: SQL, or a command of the client such as `.shell`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.queries.sql import judge_sql
from langchain_sea.safety.text.patterns import Danger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["judge_client_query"]

_HARMLESS = re.compile(
    r"\s*(?:\.(?:tables?|schema|fullschema|ind(?:exes|ices)|mode|headers?|databases|dbinfo|show|help|quit|exit|stats|timer|width|separator|nullvalue|dump|print|echo|changes|explain|eqp|lint|limit|timeout|version)\b"
    r"|\\(?:d\S*|l\+?|x|timing|c(?:onnect)?|conninfo|pset|set|echo|q|encoding|sf|sv|z|h|\?|a|t|f|H|errverbose|g|gx|watch)\b)[^|`!]*"
)
_COMMAND = re.compile(r"\s*(?:\.[a-z]+|\\[a-z!?]+|(?:system|source|tee|pager|edit|delimiter)\s)", re.IGNORECASE)


def judge_client_query(text: str) -> Iterator[Danger]:
    """Yield why a text should not be given to a client of a database, such as `psql` or `sqlite3`."""
    if not _COMMAND.match(text):
        yield from judge_sql(text)
    elif not _HARMLESS.fullmatch(text.strip()):
        yield Danger(f"the client of the database runs a command in it ({text.strip()[:60]!r})")
