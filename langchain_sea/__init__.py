"""Better answers from a local language model, now, without training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_sea._engine import unload
    from langchain_sea.budget import Budget
    from langchain_sea.chat_models import ChatSEA, SEAChatModel
    from langchain_sea.energy import Energy, Term
    from langchain_sea.langevin import Langevin
    from langchain_sea.presets import Preset, Window
    from langchain_sea.relaxation import Relaxation

__version__ = "0.1.0"

_HOMES = {
    "Budget": "budget",
    "ChatSEA": "chat_models",
    "Energy": "energy",
    "Langevin": "langevin",
    "Preset": "presets",
    "Relaxation": "relaxation",
    "SEAChatModel": "chat_models",
    "Term": "energy",
    "Window": "presets",
    "unload": "_engine",
}

__all__ = [
    "Budget",
    "ChatSEA",
    "Energy",
    "Langevin",
    "Preset",
    "Relaxation",
    "SEAChatModel",
    "Term",
    "Window",
    "__version__",
    "unload",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import what is asked for: the sampler alone needs no LangChain."""
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_sea' has no attribute {name!r}")
    return getattr(import_module(f"langchain_sea.{_HOMES[name]}"), name)
