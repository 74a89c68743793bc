"""Settings from a TOML file: one table for the model, one for whoever serves it. A misspelt key is an error."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.budget import Budget
from langchain_sea.chat.options import require_known
from langchain_sea.chat_models import SEAChatModel
from langchain_sea.presets import Preset, find_preset

if TYPE_CHECKING:
    import os

__all__ = ["budget_of", "model_of", "read_settings"]


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The file's tables, as they stand.

    Raises:
        ValueError: it is no TOML; the message has file and place.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no TOML: {error}") from error


def model_of(settings: dict[str, Any]) -> SEAChatModel:
    """The model of these settings, its fields at the top and `[budget]` a table; `[server]` is not its own.

    Raises:
        ValueError: a key is unknown, or a value is none that it takes.
    """
    given = {name: value for name, value in settings.items() if name != "server"}
    if "budget" in given:
        given["budget"] = budget_of(given["budget"])
    if isinstance(given.get("preset"), dict):
        given["preset"] = _preset_of(given["preset"])
    return SEAChatModel(**given)


def budget_of(table: dict[str, Any]) -> Budget:
    """A budget; `seconds = 0` stands for no limit, which TOML has no word for."""
    require_known(table, [field.name for field in fields(Budget)])
    return Budget(**table | ({"max_time": None} if table.get("max_time") == 0 else {}))


def _preset_of(table: dict[str, Any]) -> Preset:
    """`base`, a preset's name, with what else the table says in its place; `search_config` and `langevin` are tables."""
    given = dict(table)
    base = find_preset(given.pop("base", "default"))
    require_known(given, [field.name for field in fields(Preset)])
    for name in ("search_config", "langevin"):
        if name in given:
            part = getattr(base, name)
            require_known(given[name], [field.name for field in fields(part)])
            given[name] = replace(
                part, **{k: tuple(v) if isinstance(v, list) else v for k, v in given[name].items()}
            )
    return replace(base, **{"name": f"{base.name}, changed", **given})
