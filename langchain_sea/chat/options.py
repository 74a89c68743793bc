"""The settings of one call: the model's own with the call's over them. Knows no policy."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.tools import AUTO, Choice, parse_tool_choice, to_openai_tools
from langchain_sea.presets import Preset, find_preset

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_sea.budget import Budget
    from langchain_sea.chat.settings import SEASettings

__all__ = ["CallOptions", "Key", "make_call_options", "key_of", "require_one_answer", "require_known"]

_SEEDS = range(2**63)
_OVER_FIELDS = (
    *("preset", "budget", "seed", "temperature", "max_tokens", "timeout"),
    *("n", "logprobs", "top_logprobs"),
)
_OF_CALLS = ("model", "tools", "tool_choice", "response_format", "strict", "ls_structured_output_format")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The settings of one call.

    Attributes:
        tools: OpenAI's dicts as JSON, so that equal ones are equal.
        schema: of an answer that must be JSON of it, as JSON.
        model: another policy's name, for this call alone.
        n: answers, each of a seed of its own, counted up from `seed`.
        top_logprobs: how many of the policy's likeliest tokens are told at each place, beside the one that
            stands there; None tells no log-probabilities.
        timeout: seconds after which a caller who asked for it gets an error.
    """

    preset: Preset
    budget: Budget
    seed: int
    stop: tuple[str, ...]
    tools: str = "[]"
    choice: Choice = AUTO
    schema: str | None = None
    model: str | None = None
    n: int = 1
    top_logprobs: int | None = None
    timeout: float | None = None

    @property
    def free(self) -> bool:
        """Whether the answer is words alone, which may leave before the rest is written."""
        return not self.visible_tools and self.schema is None

    @property
    def visible_tools(self) -> list[dict[str, Any]]:
        """The tools that are shown."""
        found: list[dict[str, Any]] = [] if self.choice.kind == "none" else json.loads(self.tools)
        return found


Key = tuple[int, CallOptions, str]


def require_known(given: dict[str, Any], known: Any) -> None:  # noqa: ANN401 - any container of names
    """Every name is an option; else the nearest is named.

    Raises:
        ValueError: one is not.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}."
            raise ValueError(f"there is no option {name!r}; {hint}")


def make_call_options(model: SEASettings, stop: list[str] | None, kwargs: dict[str, Any]) -> CallOptions:
    """The model's settings with those of the call over them.

    Raises:
        ValueError: an option is unknown, or a value is none that it takes.
    """
    require_known(kwargs, (*_OVER_FIELDS, *_OF_CALLS))
    over = {name: value for name, value in kwargs.items() if name in _OVER_FIELDS}
    given: dict[str, Any] = {name: getattr(model, name) for name in _OVER_FIELDS} | over
    if given["seed"] not in _SEEDS:
        raise ValueError(f"seed={given['seed']!r} must be a whole number from 0 to 2**63 - 1.")
    preset, budget = find_preset(given["preset"]), given["budget"]
    if given["temperature"] is not None:
        preset = replace(
            preset,
            search_config=replace(
                preset.search_config,
                drafts=replace(
                    preset.search_config.drafts,
                    temperature=given["temperature"],
                ),
            ),
        )
    if given["max_tokens"] is not None:
        budget = replace(budget, max_new_tokens=given["max_tokens"])
    if given["timeout"] is not None:
        budget = replace(budget, max_time=min(given["timeout"], budget.max_time or given["timeout"]))
    tools = to_openai_tools(kwargs.get("tools") or [])
    choice = parse_tool_choice(kwargs.get("tool_choice"), tools)
    schema = _schema_of(kwargs.get("response_format"))
    stops = tuple(stop or model.stop or ())
    name = kwargs.get("model")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"model={name!r} must be a policy's name; pass any other as policy= to a model.")
    if given["n"] < 1:
        raise ValueError(f"n={given['n']} answers: ask for at least one.")
    told = given["top_logprobs"] or 0 if given["logprobs"] or given["top_logprobs"] is not None else None
    shown = json.dumps(tools), choice, schema, name
    return CallOptions(preset, budget, given["seed"], stops, *shown, given["n"], told, given["timeout"])


def require_one_answer(ask: CallOptions) -> CallOptions:
    """A call that is streamed, which is one answer.

    Raises:
        ValueError: it asks for more.
    """
    if ask.n > 1:
        raise ValueError(f"n={ask.n} answers cannot be streamed, which would mix them; call generate.")
    return ask


def _schema_of(given: Any) -> str | None:  # noqa: ANN401 - OpenAI's dict, or a schema
    """What `response_format` asks for, as JSON; any object where it names no schema."""
    if given is None or given == {"type": "text"}:
        return None
    if not isinstance(given, dict):
        raise TypeError(f"response_format={given!r} must be OpenAI's dict; see with_structured_output.")
    if given.get("type") == "json_object":
        return json.dumps({"type": "object"})
    inner = given.get("json_schema", given)
    return json.dumps(inner.get("schema", inner))


def key_of(model: SEASettings, messages: list[BaseMessage], ask: CallOptions) -> Key:
    """What a batch's answers are found by: another model or other settings never take them."""
    return id(model), ask, json.dumps(to_template_messages(messages), default=str)
