"""What a `SEAChatModel` is told, checked, and told apart by. Answers nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import AliasChoices, ConfigDict, Field, model_validator

from langchain_sea._version import __version__
from langchain_sea.budget import Budget
from langchain_sea.chat.options import make_call_options, require_known
from langchain_sea.chat.profile import profile_of
from langchain_sea.presets import Preset, find_preset

if TYPE_CHECKING:
    from langchain_core.language_models import LangSmithParams, ModelProfile

__all__ = ["SEASettings"]


class SEASettings(BaseChatModel):
    """The fields of `SEAChatModel`, whose docstring says what each is."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)

    model: Any = Field(default="smollm2-135m", validation_alias=AliasChoices("model", "policy"))
    rewards: Sequence[Any] | None = None
    preset: str | Preset = "default"
    budget: Budget = Field(default_factory=Budget)
    seed: int = 0
    gate: Any = None
    gate_threshold: float | None = None
    on_reward_error: Literal["draft", "error"] = "draft"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    timeout: float | None = Field(default=None, gt=0)
    on_timeout: Literal["best", "error"] = "best"
    n: int = Field(default=1, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_retries: int = Field(default=2, ge=0)
    streaming: bool = False
    draft_model: BaseChatModel | None = None
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    quantization: Literal["int8", "int4"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        require_known(values, [*cls.model_fields, "name", "policy"])
        return values

    @model_validator(mode="after")
    def _valid(self) -> Self:
        make_call_options(self, None, {})
        how = {name: value for name, value in self._placement.items() if value is not None}
        if how and not isinstance(self.model, (str, os.PathLike)):
            raise ValueError(f"{', '.join(how)}: this is for a policy to load, and the one given is loaded.")
        if self.device is not None and self.device_map is not None:
            raise ValueError("device and device_map both say where the policy goes: pass one of them.")
        return self

    @model_validator(mode="after")
    def _add_own_version(self) -> Self:
        self._add_version("langchain-sea", __version__)
        return self

    def _resolve_model_profile(self) -> ModelProfile | None:
        """What the policy's configuration says, as far as it is at hand without loading weights."""
        return profile_of(self.model)

    @property
    def _placement(self) -> dict[str, Any]:
        """How the policy's weights are loaded, beside `device`."""
        return {name: getattr(self, name) for name in ("dtype", "quantization", "device_map")}

    @property
    def _llm_type(self) -> str:
        return "sea-chat"

    @property
    def _policy_name(self) -> str:
        name = getattr(getattr(self.model, "model", None), "name_or_path", None)
        return str(name or self.model)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that decides an answer, so that two different models never share a cache key."""
        from langchain_sea.rewards.registry import describe_reward  # noqa: PLC0415 - as in `_engine`

        rewards = None if self.rewards is None else [describe_reward(reward) for reward in self.rewards]
        plain = {
            name: getattr(self, name)
            for name in (
                *("seed", "gate_threshold", "on_reward_error", "on_timeout", "temperature"),
                *("n", "logprobs", "top_logprobs", "max_retries", "streaming"),
            )
        }
        return (
            plain
            | self._placement
            | {
                "model_name": self._policy_name,
                "rewards": rewards,
                "preset": asdict(find_preset(self.preset)),
                "budget": asdict(self.budget),
                "gate": None if self.gate is None else describe_reward(self.gate),
                "max_tokens": self.max_tokens,
                "stop_sequences": self.stop,  # core has a key "stop" of its own, for the call
                "timeout": self.timeout,
                "device": self.device,
                # core's own cache key of the drafter, which holds no secrets
                "draft_model": None if self.draft_model is None else self.draft_model._get_llm_string(),  # noqa: SLF001
            }
        )

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "sea"
        params["ls_model_name"] = kwargs.get("model") or self._policy_name
        return params
