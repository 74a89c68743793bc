"""What each tool may be used for, as frozen dataclasses, in Python or TOML. Knows no check."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from langchain_sea.core.files import ENCODING
from langchain_sea.core.suggestions import suggest
from langchain_sea.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GuardConfig", "ToolRules"]

_KINDS = ("prose", "command", "code", "sql", "path", "address", "header", "number", "secret", "value")
T = TypeVar("T", "ToolRules", "GuardConfig")
_ACTIONS = ("ask", "block", "note")
_UNANSWERED = ("block", "allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRules:
    """The rules of one tool.

    Attributes:
        effect: `read` tools change nothing and send nothing; all others are `write`. None takes the tool's annotations
            (`readOnlyHint` of MCP), else the verbs in its name.
        destinations: arguments that say where something is sent, what is changed, or who gets access; None selects
            them by name (recipient, url, account, …).
        results: what is trusted of this tool's results: `nothing`; `fields`, which are values that stand alone in a
            structured result, such as an address in a contact, but no running text; or `all`. None is `nothing` for
            tools that read pages of the web, else `fields`.
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
        actions: what the doubts of a check become, by the check's name: `ask`, `block`, or `note`, which only records.
            None of these changes a failure of a check, or a call that is not of the tool's schema.
        unanswered: what a question that nobody can answer becomes, `block` or `allow`; None takes the policy's own.
    """

    effect: Literal["read", "write"] | None = None
    destinations: tuple[str, ...] | None = None
    results: Literal["nothing", "fields", "all"] | None = None
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
    actions: Mapping[str, Literal["ask", "block", "note"]] = field(default_factory=dict)
    unanswered: Literal["block", "allow"] | None = None

    def __post_init__(self) -> None:
        for name, values in (
            ("effect", ("read", "write")),
            ("results", ("nothing", "fields", "all")),
            ("unanswered", _UNANSWERED),
        ):
            value = getattr(self, name)
            if value is not None and value not in values:
                raise PolicyError(f"{name}={value!r} must be one of {', '.join(values)}.")
        _check_actions(self.actions)
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
        default: the rules of all other tools.
        trusted: texts that are trusted like the user's, such as a company's own domains.
        characters: how many the arguments of one call may have.
        depth: how many levels the arguments may be nested.
        deadline: seconds that a check with a model may take for one batch, and the audit log for one row.
        budget: seconds for a whole batch, its repairs included.
        rounds: how often a repair is tried.
        actions: as in `ToolRules`, for all tools whose own rules do not name the check.
        unanswered: what a question becomes where no human can be asked: `block` (the agent reads why) or `allow`.
        ask_writes: which writes a human is asked about: `doubtful`, those about which a check has a doubt; `tainted`,
            also those with a text or number that the user did not name, once the thread has read text that anybody
            may have written; or `all`, those with such a value in every thread. It is the check `request` that asks.
        mode: `enforce`, or `monitor`, which judges and records every call and lets all of them run (a dry run).
    """

    tools: Mapping[str, ToolRules] = field(default_factory=dict)
    default: ToolRules = field(default_factory=ToolRules)
    trusted: tuple[str, ...] = ()
    characters: int = 200_000
    depth: int = 16
    deadline: float = 5.0
    budget: float = 30.0
    rounds: int = 4
    actions: Mapping[str, Literal["ask", "block", "note"]] = field(default_factory=dict)
    unanswered: Literal["block", "allow"] = "block"
    ask_writes: Literal["doubtful", "tainted", "all"] = "doubtful"
    mode: Literal["enforce", "monitor"] = "enforce"

    def __post_init__(self) -> None:
        _check_actions(self.actions)
        for name, values in (
            ("unanswered", _UNANSWERED),
            ("mode", ("enforce", "monitor")),
            ("ask_writes", ("doubtful", "tainted", "all")),
        ):
            if getattr(self, name) not in values:
                raise PolicyError(f"{name}={getattr(self, name)!r} must be one of {', '.join(values)}.")

    def action_of(self, check: str, tool: str) -> Literal["ask", "block", "note"] | None:
        """Return what the policy makes of a check's doubts about a tool; None leaves it to the check."""
        return self.rules_for(tool).actions.get(check) or self.actions.get(check)

    def unanswered_of(self, tool: str) -> Literal["block", "allow"]:
        """Return what a question about a tool becomes where nobody can answer it."""
        return self.rules_for(tool).unanswered or self.unanswered

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
            settings = tomllib.loads(Path(path).read_text(encoding=ENCODING))
        except (OSError, ValueError) as error:
            raise PolicyError(f"the policy {path} cannot be read: {error}") from error
        tables = settings.pop("tools", {})
        default = _build(ToolRules, settings.pop("default", {}), f"{path}: [default]")
        tools = {name: _build(ToolRules, table, f"{path}: [tools.{name}]") for name, table in tables.items()}
        return _build(cls, settings, str(path), tools=tools, default=default)


def _check_actions(actions: Mapping[str, str]) -> None:
    for check, action in actions.items():
        if action not in _ACTIONS:
            raise PolicyError(f"actions of {check!r}: {action!r} must be one of {', '.join(_ACTIONS)}.")
        if check == "schema":
            raise PolicyError("actions of 'schema': a call that is not of the tool's schema is always blocked.")


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
