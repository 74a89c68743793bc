"""The settings of `SEAChatModel`: its fields, their validation, and what they add to cache keys and traces."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from langchain_sea._version import __version__
from langchain_sea.budget import Budget
from langchain_sea.chat.aliases import OTHER_NAMES, read_fields, require_known
from langchain_sea.chat.option_checks import merge_values
from langchain_sea.chat.options import MODEL_FIELDS, CallOptions, ModelConfig, make_call_options, require_call_options
from langchain_sea.chat.profile import find_profile
from langchain_sea.chat.setting_checks import name_scorer, require_model, require_scorer
from langchain_sea.chat.validation_errors import simplify
from langchain_sea.core.known_names import DEFAULT_REWARDS
from langchain_sea.models.template_source import read_chat_template
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import Preset, find_preset

if TYPE_CHECKING:
    from langchain_core.language_models import LangSmithParams, ModelProfile
    from pydantic import ModelWrapValidatorHandler

    from langchain_sea.core.inputs import GateLike, RewardLike
    from langchain_sea.models.causal_lm import CausalLMPolicy

    ModelLike = str | os.PathLike[str] | CausalLMPolicy
else:
    # Importing these types takes seconds. Pydantic accepts anything here; the registries check it on first use.
    ModelLike = GateLike = RewardLike = Any

__all__ = ["SEASettings"]

_LOAD_FIELDS = ("dtype", "quantization", "device_map", "compile_layers", "chat_template")


class SEASettings(BaseChatModel):
    """The fields of `SEAChatModel`. Constructing loads no weights.

    `api_key` is accepted and not used: a local model needs none, and code for hosted models passes one. `top_p`,
    `top_k`, `min_p` and penalties of repetition are accepted where their values change nothing, and else refused.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    model: ModelLike = "smollm2-135m"
    """`smollm2-135m`, `tiny`, a hub id, a folder, a .gguf file, or a `CausalLMPolicy` from `load_model`.

    `policy=` is another name of this setting."""

    rewards: Sequence[RewardLike] | None = None
    """What the answers are refined for: one or several names, functions `(prompt, completions) -> scores`, rewards or
    `RewardTerm`s. A function may be `async def`. None takes the model's default (`smollm2-135m`: safety; `tiny`:
    arithmetic)."""

    preset: str | Preset = "default"
    """The search method: `default`, `paper`, `reference`, or a `Preset`."""

    plan: str | SearchPlan | None = None
    """How much is drawn: `tiny`, `small`, `medium`, `large`, `extra_large`, `huge`, or a `SearchPlan`.

    With a plan, `budget.max_time` does not count, and the same seed gives the same answer on any machine. None takes
    the largest plan that fits into `budget.max_time` at the measured speed."""

    budget: Budget = Field(default_factory=Budget)
    """Limits of refinement, which begins when the policy's own answer is complete. The first limit reached ends it
    with the best answer so far."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """The same seed and the same `plan` give the same answer, whatever else is in the batch."""

    gate: GateLike | None = None
    """`safety`, the name of a safety model, or a function like a reward, that scores the answer.

    It takes no part in refinement. An answer it rejects is replaced by the draft if that passes, else by a
    refusal."""

    gate_threshold: float | None = None
    """The lowest gate score that passes; None takes the gate's own, or 0.5."""

    on_reward_error: Literal["draft", "error"] = "draft"
    """If a reward or the draft model fails: return the draft and report the error, or raise it."""

    temperature: float | None = Field(default=None, ge=0)
    """The sampling temperature of drafts; None takes the preset's."""

    max_tokens: int = Field(default=512, ge=1)
    """The largest number of tokens of an answer; fewer where the model's context has fewer left after the prompt.

    `max_completion_tokens=` is another name of this setting."""

    stop: list[str] | None = None
    """Strings before which an answer ends, or one. `stop_sequences=` is another name of this setting."""

    parallel_tool_calls: bool | None = None
    """False keeps the first tool call of an answer alone; else all of them are returned."""

    max_reasoning_tokens: int | None = Field(default=None, ge=1)
    """How many of `max_tokens` the reasoning of a reasoning model may have. Longer reasoning is cut there and closed,
    and the answer follows. None: no limit of its own."""

    refine_reasoning: bool = False
    """Whether refinement may change the reasoning as well; rewards and gates then read it with the answer."""

    timeout: float | None = Field(default=None, gt=0)
    """Hard limit of a whole call in seconds: the only one that may cut a text short. `on_timeout` says what happens
    when it is reached. `budget.max_time` limits refinement alone, never cuts a text, and never raises."""

    on_timeout: Literal["best", "error"] = "best"
    """At the timeout: return the best answer so far, or raise `DeadlineError`."""

    n: int = Field(default=1, ge=1)
    """Number of answers of a call, from the seeds `seed`, `seed + 1`, ...

    `generate` returns all of them, `invoke` the first."""

    logprobs: bool = False
    """Whether to report the model's log-probabilities of the answer's tokens."""

    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Number of the likeliest other tokens to report at each position."""

    max_retries: int = Field(default=2, ge=0)
    """How often a reward function is called again after an `OSError`, such as a lost connection."""

    streaming: bool = False
    """Whether `invoke` uses `stream`, so that callbacks receive tokens."""

    draft_model: BaseChatModel | None = None
    """Another chat model, such as one behind an API, that writes the drafts.

    If it fails, or writes no text, the model writes its own draft, or the error is raised, as
    `on_reward_error` says."""

    device: str | None = None
    """The torch device; None chooses one."""

    device_map: str | dict[str, Any] | None = None
    """Spreads the model over several devices, as in transformers; not together with `device`."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the weights; None takes the faster of bfloat16 and float32 on a CPU (measured), bfloat16 on a GPU."""

    compile_layers: bool = False
    """Compiles the model's layers for a GPU: the first answers take up to a minute longer, later ones less."""

    quantization: Literal["int8", "int4"] | dict[str, Any] | None = None
    """Stores the linear layers in 8 or 4 bits: slower, and smaller. A dict is the `quantization_config` of
    transformers' `from_pretrained`."""

    chat_template: str | Path | None = None
    """Jinja text, or the path of a file that holds it, in place of the tokenizer's own template."""

    _warned: set[str] = PrivateAttr(default_factory=set)

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Make a model of settings, which are passed by name."""
        if args:
            raise TypeError(f"settings are passed by name; for example {type(self).__name__}(model={args[0]!r:.80}).")
        super().__init__(**settings)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """List model, preset and rewards by name, then what differs from the defaults."""
        shown: dict[str, Any] = {"model": self._model_name, "preset": find_preset(self.preset).name}
        rewards = DEFAULT_REWARDS.get(self._model_name) if self.rewards is None else map(name_scorer, self.rewards)
        if rewards is not None:
            shown["rewards"] = list(rewards)
        yield from shown.items()
        for name, value in super().__repr_args__():
            if name not in {*shown, "metadata", "profile"} and not (name == "budget" and value == Budget()):
                yield name, name_scorer(value) if name == "gate" else value

    def __str__(self) -> str:
        return repr(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the model with some fields changed, as pydantic does; other names of fields may be used here, too."""
        return super().model_copy(update=None if update is None else read_fields(update), deep=deep)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        settings = read_fields({name: value for name, value in values.items() if name != "api_key"})
        require_known(settings, [*cls.model_fields, *OTHER_NAMES])
        return settings

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        require_model(self.model)
        self._settings_of_call(None, {})
        for reward in self.rewards or ():
            require_scorer(reward, "reward")
        if self.gate is not None:
            require_scorer(self.gate, "gate")
        load_options = {name: value for name, value in self._load_options.items() if value}
        if load_options and not isinstance(self.model, (str, os.PathLike)):
            raise ValueError(
                f"{', '.join(load_options)} applies while a model is loaded, and this one is already loaded: "
                "pass it to load_model, or pass the model's name."
            )
        if self.chat_template is not None:
            read_chat_template(self.chat_template)
        if self.device is not None and self.device_map is not None:
            raise ValueError("device and device_map both say where the model goes: pass one of them.")
        return self

    @model_validator(mode="after")
    def _add_own_version(self) -> Self:
        self._add_version("langchain-sea", __version__)
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _simplify_errors(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - anything
        try:
            return handler(values)
        except ValidationError as error:
            raise simplify(error) from None  # it says all that the other says

    def _settings_of_call(
        self, stop: str | Sequence[str] | None, overrides: dict[str, Any]
    ) -> tuple[ModelConfig, CallOptions]:
        """Return these settings and those of one call, in which keyword arguments override the fields."""
        given = require_call_options(overrides)
        options = make_call_options(merge_values(self, given), given, stop)
        config = ModelConfig(
            model=options.model or self.model,
            model_name=options.model or self._model_name,
            load_options=self._load_options,
            warned=self._warned,
            **{name: getattr(self, name) for name in MODEL_FIELDS},
        )
        return config, options

    @property
    def _load_options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _LOAD_FIELDS}

    @property
    def _model_name(self) -> str:
        if isinstance(self.model, (str, os.PathLike)):
            return os.fspath(self.model)
        return str(self.model.name or self.model.model.name_or_path)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return find_profile(self.model)

    @property
    def _llm_type(self) -> str:
        return "sea-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self._model_name, **_describe_settings(self)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "sea"
        params["ls_model_name"] = kwargs.get("model") or self._model_name
        return params


def _describe_settings(model: SEASettings) -> dict[str, Any]:
    """Return all that decides an answer, so that two different models never share a cache key."""
    from langchain_sea.rewards.registry import describe_reward  # noqa: PLC0415 - imports transformers

    names = (
        *("seed", "plan", "gate_threshold", "on_reward_error", "on_timeout", "temperature", "max_tokens"),
        *("n", "logprobs", "top_logprobs", "max_retries", "streaming", "timeout", "device"),
        *("parallel_tool_calls", "max_reasoning_tokens", "refine_reasoning"),
        *(name for name in _LOAD_FIELDS if name != "chat_template"),
    )
    draft_model = model.draft_model
    return {
        **{name: getattr(model, name) for name in names},
        # the text: a file may change
        "chat_template": None if model.chat_template is None else read_chat_template(model.chat_template),
        "rewards": None if model.rewards is None else [describe_reward(each) for each in model.rewards],
        "preset": asdict(find_preset(model.preset)),
        "budget": asdict(model.budget),
        "gate": None if model.gate is None else describe_reward(model.gate),
        "stop_sequences": model.stop,  # LangChain adds a key "stop" for the call's own
        # the key of LangChain's cache, which holds no secrets
        "draft_model": None if draft_model is None else draft_model._get_llm_string(),  # noqa: SLF001
    }
