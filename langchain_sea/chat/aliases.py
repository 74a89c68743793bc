"""Options as other chat models spell them: other names of this model's own, and those that have no place here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from langchain_sea.budget import Budget
from langchain_sea.core.functions import to_list
from langchain_sea.core.suggestions import suggest

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["OTHER_NAMES", "read_fields", "read_options", "require_known", "to_strings"]

OTHER_NAMES = {"policy": "model", "max_completion_tokens": "max_tokens", "stop_sequences": "stop"}
"""Other names of options."""
_NO_EFFECT: dict[str, tuple[object, ...]] = {
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
"""Sampling options of other local models, with the values by which they change nothing."""


def read_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under this model's own names, without sampling options that change nothing.

    Raises:
        ValueError: an option is given under two names with different values, would change how texts are sampled in
            a way that this model does not know, or is a budget with an unknown limit.
    """
    options = {name: value for name, value in values.items() if name not in OTHER_NAMES and name not in _NO_EFFECT}
    for other, name in OTHER_NAMES.items():
        if other not in values:
            continue
        value = values[other]
        if values.get(name, value) != value:
            raise ValueError(
                f"{name}={values[name]!r} and {other}={value!r} are two names for one setting; pass {name}= alone."
            )
        options[name] = value
    for name, harmless in _NO_EFFECT.items():
        value = values.get(name)
        if value is not None and value not in harmless:
            raise ValueError(
                f"{name}={value!r} is not supported: drafts are drawn from the whole distribution, because refinement "
                f"compares texts by their probability under it. Leave {name} out, or lower temperature, which makes "
                "unlikely tokens rarer, too."
            )
    if isinstance(options.get("budget"), Mapping):
        require_known(options["budget"], [each.name for each in fields(Budget)])
    return options


def to_strings(values: str | Iterable[str] | None) -> list[str]:
    """Return stop strings as a list; one string is one of them, and None is none.

    An empty string would end every answer before its first letter, and is left out.

    Raises:
        ValueError: they are anything else.
    """
    if values is None:
        return []
    strings = [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
    if not all(isinstance(each, str) for each in strings):
        raise ValueError(f"stop={values!r:.200} must be a string or a list of strings.")
    return [each for each in strings if each]


def require_known(names: Iterable[str], known: Collection[str]) -> None:
    """Check that every name is a known option.

    Raises:
        ValueError: one is unknown; the message names the nearest known option.
    """
    for name in names:
        if name not in known:
            hint = suggest(name, known) or f"the options are {', '.join(sorted(known))}."
            raise ValueError(f"there is no option {name!r}; {hint}")


def read_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under their own names; one reward or stop string is a list of one."""
    settings = read_options(values)
    for name, read in (("rewards", to_list), ("stop", to_strings)):
        if settings.get(name) is not None:
            settings[name] = read(settings[name])
    return settings
