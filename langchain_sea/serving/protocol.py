"""What a request may say, and what a server allows: OpenAI's words, as far as they mean something here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from langchain_sea.chat.options import require_known
from langchain_sea.presets import PRESETS
from langchain_sea.serving.config import budget_of

if TYPE_CHECKING:
    from langchain_sea.budget import Budget

__all__ = ["ChatRequest", "ServerConfig", "SeaChoice", "StreamOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What clients may do.

    Attributes:
        name: under which the model is served.
        api_keys: any of which opens the door; none: it stands open, which is for a loopback address only.
        body: the most bytes of a request.
        body_seconds: in which a request must have arrived.
        tokens: the longest answer that may be asked for.
        answers: the most of one request (`n`).
        waiting: requests that may be under way; the next is answered with 429 and told when to come again.
        rewards: by the name that clients use, what `SEAChatModel(rewards=)` takes.
        presets: that clients may name.
        budgets: by name.
    """

    name: str = "sea"
    api_keys: tuple[str, ...] = ()
    body: int = 1_000_000
    body_seconds: float = 30.0
    tokens: int = 1024
    answers: int = 8
    waiting: int = 64
    rewards: dict[str, list[str]] = field(default_factory=dict)
    presets: tuple[str, ...] = ("default",)
    budgets: dict[str, Budget] = field(default_factory=dict)

    @classmethod
    def of(cls, table: dict[str, Any]) -> ServerConfig:
        """From the table `[server]` of a settings file.

        Raises:
            ValueError: a key is unknown, or a preset is none.
        """
        require_known(table, cls.__dataclass_fields__)
        given = dict(table)
        if strange := set(given.get("presets", ())) - set(PRESETS):
            raise ValueError(f"[server] presets: no {sorted(strange)}; choose of {sorted(PRESETS)}.")
        for name in ("api_keys", "presets"):
            if name in given:
                given[name] = tuple(given[name])
        given["budgets"] = {name: budget_of(budget) for name, budget in given.get("budgets", {}).items()}
        return cls(**given)


class SeaChoice(BaseModel):
    """What of the server's own list is taken for a request."""

    model_config = ConfigDict(extra="forbid")
    reward: str | None = Field(default=None, max_length=100)
    preset: str | None = Field(default=None, max_length=100)
    budget: str | None = Field(default=None, max_length=100)


class StreamOptions(BaseModel):
    """OpenAI's."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request, as far as it means something here; other keys are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=1, le=1, description="only 1: nothing is cut off")
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    sea: SeaChoice | None = None
    user: str | None = Field(default=None, max_length=1000, description="taken, and of no effect")
    metadata: dict[str, str] | None = Field(default=None, description="taken, and of no effect")
    store: bool | None = Field(default=None, description="taken, and of no effect")
