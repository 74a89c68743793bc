"""What each tool may be used for, as small frozen values, in Python or TOML. Knows no layer."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.safety.checks import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GuardConfig", "ToolRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRules:
    """One tool.

    Attributes:
        effect: `read` tools change nothing and send nothing; the rest is `write`.
        destinations: arguments that say where something goes, or what is changed, or who gets access; None takes
            those whose names say so (recipient, url, account, …).
        results: what of this tool's results may be trusted: `nothing`; `fields`, values that stand alone in a
            structured result, as an address in a contact does, but no running text; `all`.
        repairable: arguments whose text may be rewritten.
        code: arguments that are meant to hold code or markup, in which templates, queries and commands are at home.
        paths: folders under which paths must lie; None checks only for what is dangerous anywhere.
        hosts: hosts that URLs may name; None allows all that are public.
        limits: least and greatest value of numeric arguments.
        recipients: the most that one call may address.
        review: a human must say yes before each call.
        deny: never called.
        fail_open: layers by name whose failure lets the call pass; every use is logged.
    """

    effect: Literal["read", "write"] = "write"
    destinations: tuple[str, ...] | None = None
    results: Literal["nothing", "fields", "all"] = "nothing"
    repairable: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    paths: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    recipients: int = 20
    review: bool = False
    deny: bool = False
    fail_open: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("effect", ("read", "write")), ("results", ("nothing", "fields", "all"))):
            if getattr(self, name) not in known:
                raise PolicyError(f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}.")
        for name, bounds in self.limits.items():
            low, high = bounds
            if not low <= high:
                raise PolicyError(f"limits of {name!r}: {low} is above {high}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """All tools.

    Attributes:
        tools: by name; a tool that is not named is guarded as `default` says.
        default: for all others: a tool that writes, whose results nobody trusts.
        trusted: texts whose values are trusted beside the user's and the system's, such as a company's own domains.
        characters: the most in one call's arguments.
        depth: the most levels of nesting.
        deadline: seconds that a learned layer may take for one batch.
        budget: seconds for all of a batch, its repairs included.
        rounds: of repair.
    """

    tools: Mapping[str, ToolRules] = field(default_factory=dict)
    default: ToolRules = field(default_factory=ToolRules)
    trusted: tuple[str, ...] = ()
    characters: int = 200_000
    depth: int = 16
    deadline: float = 5.0
    budget: float = 30.0
    rounds: int = 4

    def of(self, tool: str) -> ToolRules:
        """A tool's own, or the default."""
        return self.tools.get(tool, self.default)

    @property
    def digest(self) -> str:
        """Of all of it: which policy a verdict was given under."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def read(cls, path: str | Path) -> GuardConfig:
        """From TOML: its own settings at the top, `[default]` and `[tools.<name>]` tables.

        Raises:
            PolicyError: the file cannot be read, or names something that there is not.
        """
        try:
            given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PolicyError(f"the policy {path} cannot be read: {error}") from error
        tools = given.pop("tools", {})
        default = _made(ToolRules, given.pop("default", {}), f"{path}: [default]")
        made = {name: _made(ToolRules, table, f"{path}: [tools.{name}]") for name, table in tools.items()}
        whole: GuardConfig = _made(cls, given, str(path), tools=made, default=default)
        return whole


def _made(kind: type[Any], given: Any, where: str, **known: Any) -> Any:  # noqa: ANN401 - one of the two above
    if not isinstance(given, dict):
        raise PolicyError(f"{where} must be a table, and is {given!r}.")
    names = [each.name for each in fields(kind) if each.name not in known]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."
            raise PolicyError(f"{where}: nothing is called {name!r}; {hint}")
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return kind(**frozen, **known)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{where}: {error}") from error
