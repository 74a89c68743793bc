"""Questions to compare methods on, and the files they are read from. Knows no model."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Case", "read_cases", "read_table", "sample"]

T = TypeVar("T")


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
    def key(self) -> tuple[str, str, str]:
        """What identifies the case in rows: set, tier and question."""
        return self.set, self.tier, self.question

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as template dicts."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": self.question}]


def read_cases(path: Path) -> list[Case]:
    """Read a `.jsonl` or `.csv` file, one case a line.

    A line has `question` or `prompt`; `answer`, `system`, `opening`, `set` and `tier` are optional.

    Raises:
        ValueError: a line has no question; the message has its number.
    """
    cases = []
    for number, row in enumerate(read_table(path), start=1):
        question = row.get("question") or row.get("prompt")
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"{path}, case {number}: no `question` or `prompt` in {sorted(row)}.")
        options = {name: str(row[name]) for name in ("set", "tier", "system", "opening") if row.get(name)}
        gold = None if row.get("answer") is None else str(row["answer"])
        cases.append(Case(question=question, gold=gold, **{"set": path.stem} | options))
    return cases


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a CSV file with a header, or of a file with one JSON object a line."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file if line.strip()]


def sample(items: Sequence[T], count: int, name: str, seed: int) -> list[T]:
    """Draw at most `count` items, by the seed and a name, so that data sets are drawn independently."""
    rng = random.Random(f"{name} {seed}")  # noqa: S311 - not for cryptography
    return rng.sample(items, min(count, len(items)))
