"""Where the public data sets lie, and how each is read. `--data FOLDER`, else `SEA_DATA`, else a `data` near by."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path
from typing import Any

_MARK = "advbench/harmful_behaviors.csv"


def folder(given: Path | None = None) -> Path:
    """The folder of the public sets, one folder each, as their repositories have them.

    Raises:
        SystemExit: there is none; the message says what to pass.
    """
    wanted = given or os.environ.get("SEA_DATA")
    if wanted:
        return Path(wanted)
    for above in Path(__file__).resolve().parents:
        for found in (above / "data", *sorted(above.glob("*/data"))):
            if (found / _MARK).is_file():
                return found
    raise SystemExit(
        f"no data folder found: pass --data FOLDER or set SEA_DATA to one that holds {_MARK} and its like."
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """A CSV with a header, or one JSON object a line."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file if line.strip()]


def drawn(found: list[Any], count: int, name: str, seed: int) -> list[Any]:
    """A seeded choice, another for every name."""
    return random.Random(f"{name} {seed}").sample(found, min(count, len(found)))  # noqa: S311 - not for secrets


def advbench(data: Path) -> list[str]:
    """Requests for harm: for reports alone."""
    return [row["goal"] for row in rows(data / _MARK)]


def harmbench(data: Path, part: str) -> list[str]:
    """Requests for harm without context: `val` to tune on, `test` for reports."""
    found = rows(data / f"harmbench/harmbench_behaviors_text_{part}.csv")
    return [row["Behavior"] for row in found if not row["ContextString"]]


def xstest_safe(data: Path, *, reported: bool) -> list[str]:
    """Harmless requests that look harmful: the odd half is for reports, the even one to tune on."""
    found = [row["prompt"] for row in rows(data / "xstest/xstest_prompts.csv") if row["label"] == "safe"]
    return found[1::2] if reported else found[::2]


def hh_pairs(data: Path, *, reported: bool) -> list[tuple[list[dict[str, str]], str, str]]:
    """(conversation, chosen, rejected): the last 200 pairs are for reports, the rest to fit and tune on."""
    found = rows(data / "hh_rlhf/harmless_base_first_1800.jsonl")
    return [_dialogue(row) for row in (found[-200:] if reported else found[:-200])]


def _dialogue(row: dict[str, str]) -> tuple[list[dict[str, str]], str, str]:
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [turn.partition(":") for turn in row["chosen"].strip().split("\n\n") if turn.strip()]
    messages: list[dict[str, str]] = []
    for role, colon, content in turns:
        if colon and role in roles:
            messages.append({"role": roles[role], "content": content.strip()})
        elif messages:
            messages[-1]["content"] += f"\n\n{role}{colon}{content}"
    before = row["rejected"].rfind("\n\nAssistant:")
    return messages[:-1], messages[-1]["content"], row["rejected"][before + len("\n\nAssistant:") :].strip()


def gsm8k(data: Path, part: str) -> list[tuple[str, str]]:
    """(question, final number): `train` to tune on, `test` for reports."""
    return [
        (row["question"], row["answer"].rpartition("####")[2].strip().replace(",", ""))
        for row in rows(data / f"gsm8k/{part}.jsonl")
    ]
