"""Questions to compare methods on, and the files they are read from. Knows no model."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from langchain_sea.core.files import ENCODING, describe_errors, parse_json_lines
from langchain_sea.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Case", "read_cases", "read_table", "sample"]

T = TypeVar("T")

_EXPECTED = "a .jsonl file with one JSON object a line, or a .csv file with a header, with a column `question`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question with the circumstances under which it is asked.

    Attributes:
        set: the name of the data set or file.
        question: the user's message.
        tier: a name for the circumstances; results are grouped by set and tier.
        gold: the right answer, if there is one.
        system: the system message, if there is one.
        opening: what the answer begins with, whichever method writes it.
    """

    set: str
    question: str
    tier: str = "plain"
    gold: str | None = None
    system: str | None = None
    opening: str = ""

    @property
    def key(self) -> tuple[str, str, str, str | None, str]:
        """What identifies the case in rows: set, tier, question, system message and opening."""
        return self.set, self.tier, self.question, self.system, self.opening

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as template dicts."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": self.question}]


def read_cases(path: Path) -> list[Case]:
    """Read a `.jsonl` or `.csv` file, one case a line.

    A line has `question` or `prompt`; `answer`, `system`, `opening`, `set` and `tier` are optional.

    Raises:
        FileError: the file cannot be read, has no cases, or a line has no question; the message has its number.
    """
    cases = []
    for number, row in enumerate(read_table(path), start=1):
        question = row.get("question") or row.get("prompt")
        if not isinstance(question, str) or not question.strip():
            raise FileError(f"{path}, case {number}: no `question` or `prompt` in {sorted(map(str, row))}.")
        options = {name: str(row[name]) for name in ("set", "tier", "system", "opening") if row.get(name)}
        gold = None if row.get("answer") in (None, "") else str(row["answer"])  # CSV has no null
        cases.append(Case(question=question, gold=gold, **{"set": path.stem} | options))
    if not cases:
        raise FileError(f"{path}: there are no cases in it. Expected: {_EXPECTED}.")
    return cases


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a CSV file with a header, or of a file with one JSON object a line.

    Raises:
        FileError: the file cannot be read, or a line is no JSON object; the message has its number.
    """
    if path.suffix.lower() == ".csv":
        with describe_errors(path, _EXPECTED), path.open(encoding=ENCODING, newline="") as file:
            return _read_csv(path, file)
    rows = []
    for number, row in parse_json_lines(path, _EXPECTED):
        if not isinstance(row, dict):
            raise FileError(f"{path}, line {number}: {row!r:.80} is no JSON object. Expected: {_EXPECTED}.")
        rows.append(row)
    return rows


def _read_csv(path: Path, file: TextIO) -> list[dict[str, Any]]:
    reader = csv.DictReader(file)
    try:
        return list(reader)
    except csv.Error as error:
        raise FileError(
            f"{path}, line {reader.reader.line_num}: no CSV that can be read ({error}). Shorten the field, or write "
            "the file as JSON lines (.jsonl), whose texts may have any length."
        ) from error


def sample(items: Sequence[T], count: int, name: str, seed: int) -> list[T]:
    """Draw at most `count` items, by the seed and a name, so that data sets are drawn independently."""
    rng = random.Random(f"{name} {seed}")  # noqa: S311 - not for cryptography
    return rng.sample(items, min(count, len(items)))
