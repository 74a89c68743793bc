"""Better answers from a local LLM at inference time, without training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_sea._version import __version__

if TYPE_CHECKING:
    from langchain_sea.budget import Budget
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.terms import RewardTerm
    from langchain_sea.engine.refine import refine
    from langchain_sea.models import loading as weights
    from langchain_sea.models.registry import load_model
    from langchain_sea.presets import Preset, SearchConfig
    from langchain_sea.rewards.registry import load_gate, make_energy, unload
    from langchain_sea.sampling.langevin import Langevin
    from langchain_sea.sampling.relaxation import Relaxation

_HOMES = {
    "Budget": "budget",
    "Energy": "core.energy",
    "Langevin": "sampling.langevin",
    "Preset": "presets",
    "Relaxation": "sampling.relaxation",
    "SEAChatModel": "chat_models",
    "RewardTerm": "core.terms",
    "SearchConfig": "presets",
    "load_gate": "rewards.registry",
    "load_model": "models.registry",
    "make_energy": "rewards.registry",
    "refine": "engine.refine",
    "unload": "rewards.registry",
}

__all__ = [
    "Budget",
    "Energy",
    "Langevin",
    "Preset",
    "Relaxation",
    "RewardTerm",
    "SEAChatModel",
    "SearchConfig",
    "__version__",
    "load_gate",
    "load_model",
    "make_energy",
    "refine",
    "unload",
    "weights",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type depends on the name
    """Import a public name on first use: importing the package alone imports neither torch nor LangChain."""
    if name == "weights":
        return import_module("langchain_sea.models.loading")
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_sea' has no attribute {name!r}")
    return getattr(import_module(f"langchain_sea.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, which are imported on first use."""
    return __all__
