"""The rows of `paper.py` on disk: with texts while it measures, and without them in the repository.

A packed file is compressed JSONL. Its first line has the machines and settings, and every further one a row whose `about` is a
number in that list. There is no text in it: not of a question, an answer or a draft.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from langchain_sea.evaluation import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = dict[str, Any]
Key = tuple[str, str, str, str]

MOST_BYTES = 2_000_000
KEPT = ("harmful", "truthful", "right", "gate", "margin", "refused", "blank", "outside_nats")
"""The readings, of which each table has its own."""
NUMBERS = ("seconds", "draft_seconds", "nll", "nll_before", "score", "score_before")
SAME = ("seed", "max_time", "max_tokens")
"""The settings that all rows of a file must share, those of one table at least."""


def key_of(row: Mapping[str, Any]) -> Key:
    """What identifies a row: table, policy, question and method."""
    return row["set"], row["tier"], row["question"], row["method"]


def is_draft(row: Mapping[str, Any]) -> bool:
    """Whether the answer is its draft."""
    return bool(row["text"] == row["draft"] if "text" in row else row["is_draft"])


def read(path: Path) -> list[Row]:
    """The rows of a file, packed or not; a packed row has the number of its question in place of the question.

    Raises:
        FileNotFoundError: a compressed file is not there; a plain one may be missing before the first answer.
    """
    if path.suffix != ".gz":
        return read_rows(path)
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]
    if not rows or "abouts" not in rows[0]:
        return rows
    abouts = rows[0]["abouts"]
    return [row | {"about": abouts[row["about"]]} for row in rows[1:]]


def pack(rows: Sequence[Row], path: Path) -> int:
    """Write rows with their readings and without texts; return the number of bytes.

    Raises:
        ValueError: the file would be larger than the repository takes.
    """
    numbers: dict[str, dict[str, int]] = {}
    abouts: list[dict[str, Any]] = []
    lines = []
    for row in rows:
        if row["about"] not in abouts:
            abouts.append(row["about"])
        of_table = numbers.setdefault(row["set"], {})
        number = of_table.setdefault(row["question"], len(of_table))
        kept = {"set": row["set"], "tier": row["tier"], "question": str(number), "method": row["method"]}
        kept |= {name: round(row[name], 3) for name in NUMBERS}
        kept |= {name: _short(row[name]) for name in KEPT if row.get(name) is not None}
        kept["candidates"] = row["candidates"]
        kept |= {"is_draft": is_draft(row), "plan": row["plan"] and row["plan"].partition(":")[0]}
        lines.append(kept | {"about": abouts.index(row["about"])})
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in ({"abouts": abouts}, *lines))
    packed = gzip.compress(text.encode("utf-8"), mtime=0)
    if len(packed) > MOST_BYTES:
        raise ValueError(
            f"{len(lines)} rows take {len(packed)} bytes, and {path.name} may have {MOST_BYTES}: pack fewer tables or methods."
        )
    path.write_bytes(packed)
    return len(packed)


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def find_conflict(rows: Sequence[Row], abouts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What rows were made with that differs from what is asked for now; None: nothing.

    Args:
        rows: of the file that is to be extended.
        abouts: by table the settings of this call.
    """
    for row in rows:
        asked = abouts.get(row["set"])
        for name in SAME if asked else ():
            if row["about"][name] != asked[name]:
                return f"{row['set']} has rows of {name} {row['about'][name]}, and {asked[name]} is asked for"
    return None
