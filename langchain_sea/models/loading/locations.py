"""Where the weights under a name are: in the package, a cache, a folder, a file or on the hub. Loads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from langchain_sea.models import tiny
from langchain_sea.models.loading.formats import GGUF_ADVICE
from langchain_sea.models.loading.hub import find_cached
from langchain_sea.models.loading.weight_packages import WEIGHT_PACKAGES, WeightPackage

__all__ = ["TINY_TIERS", "WeightsLocation", "resolve", "where"]

Source = Literal["cache", "weight package", "folder", "gguf file", "tiny", "hub cache", "missing"]

TINY_TIERS = {"tiny": "early_30"} | {f"tiny/{tier}": tier for tier in tiny.TIERS}
"""The names of the tiny models: name to checkpoint."""


@dataclass(frozen=True, slots=True)
class WeightsLocation:
    """Where `load` would read a name from.

    Attributes:
        source: the kind of place.
        path: of the folder or file, or None.
        advice: the command that makes the weights available; empty if they are.
    """

    source: Source
    path: Path | None
    advice: str


def where(name: str | os.PathLike[str]) -> WeightsLocation:
    """Find where `load` would read `name` from now; loads nothing and uses no network."""
    resolved = resolve(name)
    path = Path(resolved)
    if resolved in TINY_TIERS:
        return WeightsLocation("tiny", tiny.WEIGHTS, "")
    if package := WEIGHT_PACKAGES.get(resolved):
        return _where_package(package)
    if path.is_dir():
        return WeightsLocation("folder", path, "")
    if path.is_file() and path.suffix == ".gguf":
        return WeightsLocation("gguf file", path, _gguf_advice())
    if _is_path(name):
        return WeightsLocation("missing", None, f"ls {path.parent}")
    return _where_hub(resolved) or WeightsLocation("missing", None, f"hf download {resolved}")


def resolve(name: str | os.PathLike[str]) -> str:
    """Return one spelling for all names of the same weights: a known name, an absolute path, or a hub id."""
    if isinstance(name, str) and (name in TINY_TIERS or name in WEIGHT_PACKAGES):
        return f"tiny/{TINY_TIERS[name]}" if name in TINY_TIERS else name
    return str(Path(name).expanduser().resolve()) if _is_path(name) else os.fspath(name)


def _where_package(package: WeightPackage) -> WeightsLocation:
    if package.cached.is_dir():
        return WeightsLocation("cache", package.cached, "")
    if path := package.find():
        return WeightsLocation("weight package", path, _gguf_advice() if path.is_file() else "")
    return _where_hub(package.hub_id) or WeightsLocation("missing", None, package.advice)


def _where_hub(hub_id: str) -> WeightsLocation | None:
    folder = find_cached(hub_id)
    return WeightsLocation("hub cache", folder, "") if folder else None


def _gguf_advice() -> str:
    return "" if find_spec("gguf") else GGUF_ADVICE


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` can only be a path: hub ids have at most one slash and no leading dot."""
    text = os.fspath(name)
    looks_like_path = text.startswith((".", "~", os.sep)) or text.endswith(".gguf") or text.count("/") > 1
    return not isinstance(name, str) or looks_like_path or Path(text).exists()
