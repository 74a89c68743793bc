"""Checks of the values that `SEAChatModel` is made of, before any weights are read."""

from __future__ import annotations

import os
import sys

from langchain_sea.core.functions import require_scoring_function
from langchain_sea.core.known_names import GATE_NAMES, MODEL_NAMES, REWARD_NAMES, refuse_misspelt

__all__ = ["name_scorer", "require_model", "require_scorer"]


def name_scorer(scorer: object) -> str:
    """Return the name of a reward or a gate, as reports have it."""
    if isinstance(scorer, (str, os.PathLike)):
        return os.fspath(scorer)
    return str(getattr(scorer, "name", None) or getattr(scorer, "__name__", type(scorer).__name__))


def require_model(model: object) -> None:
    """Check that a model is a name, a path or a policy.

    Raises:
        ValueError: it is none of these, or a misspelt name.
    """
    if isinstance(model, (str, os.PathLike)):
        refuse_misspelt(model, MODEL_NAMES, "model")
        return
    # whoever has a policy has imported its module, which takes seconds
    module = sys.modules.get("langchain_sea.models.causal_lm")
    if module is None or not isinstance(model, module.CausalLMPolicy):
        raise ValueError(
            f"model={model!r:.200} is no model: pass a name, a folder, a .gguf file, or what load_model returns."
        )


def require_scorer(scorer: object, kind: str) -> None:
    """Check that a reward or a gate is a name, an object that scores, or a function of the right arguments.

    Raises:
        ValueError: it is none of these, or a misspelt name.
    """
    scorer = getattr(scorer, "reward", scorer)  # a term's
    if isinstance(scorer, (str, os.PathLike)):
        refuse_misspelt(scorer, REWARD_NAMES if kind == "reward" else GATE_NAMES, kind)
        return
    if kind == "reward" and hasattr(scorer, "score"):
        return
    if not callable(scorer):
        raise ValueError(  # noqa: TRY004 - pydantic turns a ValueError alone into its own error
            f"the {kind} {scorer!r:.200} is no name, no function (prompt, completions) -> scores, and cannot score."
        )
    try:
        require_scoring_function(scorer, f"{kind} {getattr(scorer, '__name__', type(scorer).__name__)!r}")
    except TypeError as error:  # pydantic turns a ValueError alone into its own error
        raise ValueError(str(error)) from error
