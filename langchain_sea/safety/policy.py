"""What each tool may be used for, as frozen dataclasses, in Python or TOML. Knows no check."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from langchain_sea.core.suggestions import suggest
from langchain_sea.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GuardConfig", "ToolRules"]

_KINDS = ("prose", "command", "code", "sql", "path", "address", "header", "number", "secret", "value")
T = TypeVar("T", "ToolRules", "GuardConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRules:
    """The rules of one tool.

    Attributes:
        effect: `read` tools change nothing and send nothing; all others are `write`.
        destinations: arguments that say where something is sent, what is changed, or who gets access; None selects
            them by name (recipient, url, account, …).
        results: what is trusted of this tool's results: `nothing`; `fields`, which are values that stand alone in a
            structured result, such as an address in a contact, but no running text; or `all`.
        repairable: arguments whose text may be rewritten.
        code: arguments that are meant to hold code or markup: they are judged as code, commands or SQL by what they do.
        kinds: kinds of arguments by name, or by the name of a field inside of them: `prose` (for people), `command`,
            `code`, `sql`, `path`, `address`, `header` (one line), `number`, `secret` or `value`; others are decided by
            schema and name.
        paths: folders that paths must lie in; None only checks for paths that are dangerous anywhere.
        hosts: hosts that URLs may name; None allows all public ones.
        limits: smallest and largest value of numeric arguments.
        recipients: how many one call may address at most.
        review: whether a human must approve each call.
        deny: whether the tool is never called.
        fail_open: names of checks whose failure lets a call pass; every use is logged.
    """

    effect: Literal["read", "write"] = "write"
    destinations: tuple[str, ...] | None = None
    results: Literal["nothing", "fields", "all"] = "nothing"
    repairable: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    recipients: int = 20
    review: bool = False
    deny: bool = False
    fail_open: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("effect", ("read", "write")), ("results", ("nothing", "fields", "all"))):
            if getattr(self, name) not in values:
                raise PolicyError(f"{name}={getattr(self, name)!r} must be one of {', '.join(values)}.")
        for name, kind in self.kinds.items():
            if kind not in _KINDS:
                raise PolicyError(f"kinds of {name!r}: {kind!r} must be one of {', '.join(_KINDS)}.")
        for name, (low, high) in self.limits.items():
            if not low <= high:
                raise PolicyError(f"limits of {name!r}: {low} is above {high}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """The policy: the rules of all tools, and the limits of one batch of calls.

    Attributes:
        tools: rules by tool name.
        default: the rules of all other tools; as it stands, they write, and nothing of their results is trusted.
        trusted: texts that are trusted like the user's, such as a company's own domains.
        characters: how many the arguments of one call may have.
        depth: how many levels the arguments may be nested.
        deadline: seconds that a check with a model may take for one batch.
        budget: seconds for a whole batch, its repairs included.
        rounds: how often a repair is tried.
    """

    tools: Mapping[str, ToolRules] = field(default_factory=dict)
    default: ToolRules = field(default_factory=ToolRules)
    trusted: tuple[str, ...] = ()
    characters: int = 200_000
    depth: int = 16
    deadline: float = 5.0
    budget: float = 30.0
    rounds: int = 4

    def rules_for(self, tool: str) -> ToolRules:
        """Return the tool's own rules, or the default."""
        return self.tools.get(tool, self.default)

    @property
    def digest(self) -> str:
        """Hash of all settings, which names the policy in the audit log."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def read(cls, path: str | Path) -> GuardConfig:
        """Read a TOML file: settings at the top, `[default]` and `[tools.<name>]` tables.

        Raises:
            PolicyError: the file cannot be read, or it has an unknown key or a wrong value.
        """
        try:
            settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PolicyError(f"the policy {path} cannot be read: {error}") from error
        tables = settings.pop("tools", {})
        default = _build(ToolRules, settings.pop("default", {}), f"{path}: [default]")
        tools = {name: _build(ToolRules, table, f"{path}: [tools.{name}]") for name, table in tables.items()}
        return _build(cls, settings, str(path), tools=tools, default=default)


def _build(kind: type[T], table: object, where: str, **known: object) -> T:
    """Build the dataclass from a table, and name the place where that is not possible."""
    if not isinstance(table, dict):
        raise PolicyError(f"{where} must be a table, and is {table!r}.")
    names = [each.name for each in fields(kind) if each.name not in known]
    for name in table:
        if name not in names:
            hint = suggest(name, names) or f"the settings are {', '.join(names)}."
            raise PolicyError(f"{where}: there is no setting {name!r}; {hint}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    values |= known
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{where}: {error}") from error
