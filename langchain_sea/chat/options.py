"""The settings of a model and of one call of it. Imports no network."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.chat.aliases import read_fields, require_known, to_strings
from langchain_sea.chat.schemas import close_objects
from langchain_sea.chat.tools import ToolChoice, parse_tool_choice, to_openai_tools
from langchain_sea.plans import find_plan
from langchain_sea.presets import Preset, find_preset

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from langchain_sea.budget import Budget
    from langchain_sea.core.inputs import GateLike, RewardLike
    from langchain_sea.models.causal_lm import CausalLMPolicy
    from langchain_sea.plans import SearchPlan

__all__ = [
    "CALL_FIELDS",
    "MODEL_FIELDS",
    "CallOptions",
    "ModelConfig",
    "make_call_options",
    "require_call_options",
    "require_one_answer",
]

CALL_FIELDS = (
    *("preset", "plan", "budget", "seed", "temperature", "max_tokens", "timeout"),
    *("n", "logprobs", "top_logprobs", "stop", "parallel_tool_calls", "max_reasoning_tokens", "refine_reasoning"),
)
"""The model's fields that one call may override by name."""
MODEL_FIELDS = (
    *("device", "rewards", "max_retries", "draft_model"),
    *("gate", "gate_threshold", "on_reward_error", "on_timeout"),
)
"""The model's fields that are fields of `ModelConfig` as well."""
_CALL_ONLY = (*("model", "tools", "tool_choice", "response_format"), *("strict", "ls_structured_output_format"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The settings of a `SEAChatModel` that no call overrides, except by another `model`.

    Attributes:
        model: a name, a folder, or the loaded policy.
        model_name: the name in reports.
        load_options: `dtype`, `quantization`, `device_map`, `compile_layers` and `chat_template` of `load_model`.
        warned: what was logged once for this model, and is not logged again.
    """

    model: str | os.PathLike[str] | CausalLMPolicy
    model_name: str
    device: str | None
    load_options: dict[str, Any]
    rewards: Sequence[RewardLike] | None
    max_retries: int
    draft_model: BaseChatModel | None
    gate: GateLike | None
    gate_threshold: float | None
    on_reward_error: Literal["draft", "error"]
    on_timeout: Literal["best", "error"]
    warned: set[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The settings of one call.

    Attributes:
        max_tokens: the largest number of tokens of an answer.
        stop: strings before which an answer ends.
        tools: in OpenAI's form.
        takes_one_call: whether only the first tool call of an answer counts.
        schema: the JSON schema that the answer must follow; None allows any text.
        model: the name of another model for this call; None uses the model's own.
        n: number of answers; the seeds are `seed`, `seed + 1`, ...
        top_logprobs: number of alternatives reported beside each token; None reports no log-probabilities.
        max_reasoning_tokens: the largest number of tokens of the reasoning before an answer; None: no limit of its own.
        refine_reasoning: whether the reasoning may change.
        timeout: seconds after which the call ends, whatever it is doing; `on_timeout="error"` then raises.
    """

    preset: Preset
    budget: Budget
    max_tokens: int
    seed: int
    stop: tuple[str, ...]
    tools: list[dict[str, Any]]
    tool_choice: ToolChoice
    takes_one_call: bool
    schema: dict[str, Any] | None
    model: str | None
    n: int
    top_logprobs: int | None
    max_reasoning_tokens: int | None
    refine_reasoning: bool
    timeout: float | None

    @property
    def visible_tools(self) -> list[dict[str, Any]]:
        """The tools that the prompt shows."""
        return [] if self.tool_choice.kind == "none" else self.tools

    @property
    def is_plain_text(self) -> bool:
        """Whether the answer has no form, so that its beginning may be streamed before its end is written."""
        return not self.visible_tools and self.schema is None


def require_call_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call under their own names; one stop string is a list of one.

    Raises:
        ValueError: one is unknown or not supported; the message names it.
    """
    options = read_fields(options)
    require_known(options, (*CALL_FIELDS, *_CALL_ONLY))
    return options


def make_call_options(
    values: Mapping[str, Any], given: Mapping[str, Any], stop: str | Sequence[str] | None = None
) -> CallOptions:
    """Make the settings of a call.

    Args:
        values: a checked value for each of `CALL_FIELDS`; see `option_checks`.
        given: keyword arguments of the call under their own names, of which all others are read here.
        stop: the stop strings of the call; None or none uses those of the values.

    Raises:
        TypeError: `model` or `response_format` has the wrong type.
        ValueError: a preset, plan, tool or schema is not one.
    """
    model = given.get("model")
    if model is not None and not isinstance(model, str):
        raise TypeError(f"model={model!r}: a call takes a model's name; pass a loaded one to SEAChatModel(model=...).")
    tools = to_openai_tools(given.get("tools") or [])
    return CallOptions(
        preset=_with_search_options(find_preset(values["preset"]), values["temperature"], values["plan"]),
        budget=values["budget"],
        max_tokens=values["max_tokens"],
        seed=values["seed"],
        stop=tuple(to_strings(stop) or to_strings(values["stop"])),
        tools=tools,
        tool_choice=parse_tool_choice(given.get("tool_choice"), tools),
        takes_one_call=values["parallel_tool_calls"] is False,
        schema=_parse_response_format(given.get("response_format")),
        model=model,
        n=values["n"],
        top_logprobs=_count_top_logprobs(logprobs=values["logprobs"], top_logprobs=values["top_logprobs"]),
        max_reasoning_tokens=values["max_reasoning_tokens"],
        refine_reasoning=values["refine_reasoning"],
        timeout=values["timeout"],
    )


def require_one_answer(options: CallOptions) -> CallOptions:
    """Return the options of a call that has one answer, as a streamed call must.

    Raises:
        ValueError: the call asks for more.
    """
    if options.n > 1:
        raise ValueError(f"n={options.n}: a stream holds one answer; call generate() for several, or set n=1.")
    return options


def _with_search_options(preset: Preset, temperature: float | None, plan: str | SearchPlan | None) -> Preset:
    """Return the preset with the draft temperature and the plan of a call, where they are given."""
    search = preset.search_config
    if temperature is not None:
        search = replace(search, drafts=replace(search.drafts, temperature=temperature))
    if plan is not None:
        search = replace(search, plan=find_plan(plan))
    return replace(preset, search_config=search)


def _count_top_logprobs(*, logprobs: bool, top_logprobs: int | None) -> int | None:
    if not logprobs and top_logprobs is None:
        return None
    return top_logprobs or 0


def _parse_response_format(response_format: object) -> dict[str, Any] | None:
    """Return the schema of OpenAI's `response_format`; any object where it names no schema."""
    if response_format is None or response_format == {"type": "text"}:
        return None
    if not isinstance(response_format, dict):
        raise TypeError(f"response_format={response_format!r} must be OpenAI's dict; see with_structured_output.")
    if response_format.get("type") == "json_object":
        return {"type": "object"}
    json_schema = response_format.get("json_schema", response_format)
    schema = json_schema.get("schema", json_schema) if isinstance(json_schema, dict) else None
    has_none = schema is json_schema and isinstance(schema, dict) and isinstance(schema.get("name"), str)
    if not isinstance(schema, dict) or has_none or schema.get("type") == "json_schema":
        raise ValueError(f"response_format={response_format!r} holds no schema; put one under json_schema.schema.")
    copied: dict[str, Any] = json.loads(json.dumps(schema))
    return close_objects(copied)
