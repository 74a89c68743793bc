"""The rows of an evaluation on disk: which case each answers, and with which settings it was made."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, fields
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch import nn

from langchain_sea.core.code_hash import hash_code
from langchain_sea.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_sea.core.terms import RewardTerm
    from langchain_sea.evaluation.cases import Case
    from langchain_sea.presets import Preset

__all__ = [
    "Row",
    "describe_preset",
    "describe_term",
    "drop_unfinished_row",
    "read_rows",
    "require_settings",
    "select_rows",
]

Row = dict[str, Any]

_EDGE = 1024
"""Numbers at either end of a tensor that are hashed."""


def read_rows(path: Path) -> list[Row]:
    """Return the rows written so far; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def drop_unfinished_row(path: Path) -> None:
    """Remove a last row that a process began and did not end, so that others can be written behind it.

    A whole row without a line break gets one.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:  # in place: all other rows stay on the disk meanwhile
        before, line_break, last = file.read().rpartition(b"\n")
        if not last:
            return
        try:
            json.loads(last)
        except ValueError:
            file.truncate(len(before) + len(line_break))
        else:
            file.write(b"\n")


def select_rows(rows: Sequence[Row], cases: Sequence[Case]) -> list[Row]:
    """Return the rows that answer one of the cases, with `system` and `opening`.

    Rows of earlier versions have neither: they are taken for answers to the only case with their question, and left out
    if there are several.
    """
    counts = Counter(case.key[:3] for case in set(cases))
    only = {case.key[:3]: case for case in cases if counts[case.key[:3]] == 1}
    keys, selected = {case.key for case in cases}, []
    for row in rows:
        key = row["set"], row["tier"], row["question"]
        if "system" not in row and key in only:
            selected.append(row | {"system": only[key].system, "opening": only[key].opening})
        elif "system" in row and (*key, row["system"], row["opening"]) in keys:
            selected.append(row)
    return selected


def require_settings(path: Path, rows: Sequence[Row], cases: Sequence[Case], asked: Mapping[str, Row]) -> None:
    """Check that a file's rows of the cases' sets and tiers were made with the settings that are asked for.

    Rows without settings are those of earlier versions, and are taken as they are.

    Args:
        path: the file.
        rows: all of its rows.
        cases: that are asked for.
        asked: by method its settings; those that a row does not have are not compared.

    Raises:
        FileError: a row was made with another setting.
    """
    groups = {case.key[:2] for case in cases}
    for row in rows:
        made = row.get("settings", {}) if (row["set"], row["tier"]) in groups else {}
        for name, value in asked.get(row["method"], {}).items():
            if name in made and made[name] != value:
                raise FileError(
                    f"{path}: its answers to {row['set']!r} were made with {name} {made[name]!r}, and {value!r} is "
                    "asked for: they would be reported as answers of this run. Pass another file of rows (--rows of "
                    "`langchain-sea eval`), or the settings that the file was made with."
                )


def describe_term(term: RewardTerm) -> str:
    """Return the name of a reward, and a hash of its settings, its code and its weights.

    It is equal in all processes. A function that keeps values of its surroundings is known by its name alone.
    """
    settings = {each.name: getattr(term, each.name) for each in fields(term) if each.name != "reward"}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    reward = term.reward
    function = getattr(reward, "function", reward)
    digest.update(
        f"{type(reward).__qualname__} {getattr(function, '__qualname__', type(function).__qualname__)}".encode()
    )
    if isinstance(function, FunctionType) and not function.__closure__:
        digest.update(hash_code(function).encode())
    for each in fields(reward) if hasattr(type(reward), "__dataclass_fields__") else ():
        module = getattr(reward, each.name)
        for tensor in module.state_dict().values() if isinstance(module, nn.Module) else ():
            flat = tensor.detach().flatten()
            digest.update(f"{tuple(tensor.shape)} {flat[:_EDGE].tolist()} {flat[-_EDGE:].tolist()}".encode())
    return f"{term.name} {digest.hexdigest()[:8]}"


def describe_preset(preset: Preset) -> str:
    """Return the name of a preset, and a hash of its settings."""
    text = json.dumps(asdict(preset), sort_keys=True, default=str)
    return f"{preset.name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
