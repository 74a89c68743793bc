"""Settings from a TOML file: the model's at the top, the server's in a table `[server]`. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from langchain_sea.budget import Budget
from langchain_sea.chat.aliases import require_known
from langchain_sea.chat.validation_errors import summarize
from langchain_sea.chat_models import SEAChatModel
from langchain_sea.core.files import read_text
from langchain_sea.core.functions import to_list
from langchain_sea.core.suggestions import require_name
from langchain_sea.errors import FileError
from langchain_sea.presets import PRESETS, Preset, find_preset

if TYPE_CHECKING:
    import os

__all__ = ["ServerConfig", "make_budget", "make_model", "read_settings"]

T = TypeVar("T")

_EXPECTED = 'TOML with settings of SEAChatModel, such as model = "tiny", and for a server a table [server]'


def _to_tuple(value: object) -> object:
    """Return texts as a tuple; one text is one of them, not its letters."""
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(f"a list of texts is expected, and it is {value!r:.80}")  # noqa: TRY004 - pydantic's contract
    return (value,) if isinstance(value, str) else tuple(value)


def _require_words(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; write a text, or leave the setting out")
    return text


def _require_preset(name: str) -> str:
    require_name(name, PRESETS, "preset")
    return name


def _require_rewards(rewards: list[Any]) -> list[Any]:
    try:
        SEAChatModel(rewards=rewards)
    except ValidationError as error:
        raise ValueError(summarize(error)) from error
    return rewards


_Text = Annotated[str, AfterValidator(_require_words)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_to_tuple)]
_Presets = Annotated[tuple[Annotated[str, AfterValidator(_require_preset)], ...], BeforeValidator(_to_tuple)]
_Rewards = Annotated[list[Any], BeforeValidator(to_list), Field(min_length=1), AfterValidator(_require_rewards)]
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
class ServerConfig:
    """What a server allows its clients. Values of other types, and blank keys, are refused.

    Attributes:
        model_name: the name under which the model is served.
        api_keys: keys that clients may use; without any, every request is allowed, on loopback addresses only.
        max_body_bytes: of a request.
        body_timeout: seconds within which a request must have arrived.
        max_tokens: the longest answer that a client may ask for, and that one gets who asks for no length.
        max_n: the most answers of one request (`n`), also of one without it.
        max_requests: requests in progress; the next one gets 429 with Retry-After.
        rewards: by the name that clients use, what `SEAChatModel(rewards=)` takes.
        presets: names of presets that clients may choose.
        budgets: by the name that clients use.
        warm_up_requests: how many requests a replica answers together at most before it takes any of clients, so that
            these wait for no capture of a GPU's graph. 0: it takes them at once.
    """

    model_name: _Text = "sea"
    api_keys: _Texts = ()
    max_body_bytes: _Count = 1_000_000
    body_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    max_tokens: _Count = 1024
    max_n: _Count = 8
    max_requests: _Count = 64
    rewards: dict[str, _Rewards] = field(default_factory=dict)
    presets: _Presets = ("default",)
    budgets: dict[str, Budget] = field(default_factory=dict)
    warm_up_requests: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> ServerConfig:
        """Read the table `[server]` of a settings file.

        Raises:
            ValueError: a key is unknown, or a value is not valid; the message has the setting.
        """
        require_known(table, cls.__dataclass_fields__)
        values = dict(table)
        budgets = _require_table(values.get("budgets", {}), "[server.budgets]")
        values["budgets"] = {name: make_budget(budget) for name, budget in budgets.items()}
        try:
            return cls(**values)
        except ValidationError as error:
            raise ValueError(f"[server] {summarize(error)}") from error


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the file's tables, once model and server can be made of them.

    Raises:
        FileError: the file cannot be read, is not TOML, or a setting is not valid; the message has the file.
    """
    text = read_text(path, _EXPECTED)
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: it is not TOML ({error}). Expected: {_EXPECTED}.") from error
    try:
        make_model(settings)
        ServerConfig.from_table(_require_table(settings.get("server", {}), "[server]"))
    except (TypeError, ValueError) as error:
        reason = summarize(error) if isinstance(error, ValidationError) else error
        raise FileError(f"{path}: {reason}") from error
    return settings


def make_model(settings: Mapping[str, Any]) -> SEAChatModel:
    """Build the model of a settings file; the table `[server]` is ignored.

    Raises:
        ValueError: a key is unknown, or a value is not valid.
    """
    values = {name: value for name, value in settings.items() if name != "server"}
    if "budget" in values:
        values["budget"] = make_budget(values["budget"])
    if isinstance(values.get("preset"), dict):
        values["preset"] = _make_preset(values["preset"])
    return SEAChatModel(**values)


def make_budget(table: Mapping[str, Any]) -> Budget:
    """Build a budget from a table; `max_time = 0` means no limit, because TOML has no null.

    Raises:
        ValueError: a key is unknown, or a value is not valid.
    """
    require_known(_require_table(table, "[budget]"), [entry.name for entry in fields(Budget)])
    return Budget(**{**table, **({"max_time": None} if table.get("max_time") == 0 else {})})


def _require_table(table: object, name: str) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise ValueError(f"{name} must be a table, and is {table!r:.200}.")  # noqa: TRY004 - as other wrong settings
    return table


def _make_preset(table: Mapping[str, Any]) -> Preset:
    """Change the preset named by `base` as the other keys say; nested settings are nested tables."""
    changes = dict(table)
    base = find_preset(changes.pop("base", "default"))
    return _update(base, {"name": f"{base.name}, changed", **changes})


def _update(config: T, table: Mapping[str, Any]) -> T:
    """Return the frozen dataclass with the table's values; a table in the place of a dataclass updates that one."""
    assert is_dataclass(config)
    assert not isinstance(config, type)
    require_known(table, [entry.name for entry in fields(config)])
    changes: dict[str, Any] = {}
    for name, value in table.items():
        current = getattr(config, name)
        if isinstance(value, Mapping) and is_dataclass(current):
            changes[name] = _update(current, value)
        else:
            changes[name] = tuple(value) if isinstance(value, list) else value
    return replace(config, **changes)
