"""Modules that are imported when they are first used: settings can be made without waiting for torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["LazyModule"]


class LazyModule:
    """Stands for a module, which is imported when one of its attributes is first read."""

    def __init__(self, name: str) -> None:
        """Hold the module's name."""
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - whatever the module holds
        """Import the module and return its attribute."""
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value
