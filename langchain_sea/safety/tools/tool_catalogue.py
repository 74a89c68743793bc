"""The tools of an agent as the guard knows them: learned from what the model gets, and compared when a call runs."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from langchain_sea.safety.messages import read_effects, read_tool_schemas
from langchain_sea.safety.tools.tool_identity import check_policy_names, find_unknown_tools, hash_tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.safety.policy import GuardConfig

__all__ = ["ToolCatalogue"]

_log = logging.getLogger(__name__)


class NamedTool(Protocol):
    """What is read of a tool object."""

    name: str


class ToolCatalogue:
    """Schemas, descriptions, effects and hashes of tools by name; safe for threads.

    Attributes:
        policy: whose names must be names of tools.
        schemas: of the arguments.
        descriptions: for the model.
        effects: by the tools' own annotations.
        hashes: of what each tool says about itself.
    """

    def __init__(self, policy: GuardConfig) -> None:
        """Know no tool."""
        self.policy = policy
        self.schemas: dict[str, dict[str, Any]] = {}
        self.descriptions: dict[str, str] = {}
        self.effects: dict[str, Any] = {}
        self.hashes: dict[str, str] = {}
        self._objects: dict[str, list[weakref.ref[Any]]] = {}  # tools cannot be hashed
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def learn(self, tools: Sequence[Any], *, is_complete: bool = False) -> list[str]:
        """Learn tools; those that the model's provider runs are left out, since nothing here can stop them.

        Args:
            tools: as the model gets them.
            is_complete: whether these are all tools of a request, so that the policy's names can be compared.

        Returns:
            The tools' names.

        Raises:
            PolicyError: two tools have one name, or the policy names what does not exist.
        """
        tools = [tool for tool in tools if not _runs_at_provider(tool)]
        schemas, descriptions = read_tool_schemas(tools)  # on each request: a server may change a tool in place
        hashes = {name: hash_tool(schema, descriptions[name]) for name, schema in schemas.items()}
        with self._lock:
            is_new = any(self.hashes.get(name) != digest for name, digest in hashes.items())
            for tool in tools:
                if not isinstance(tool, dict) and not self._is_learned(tool):
                    alive = [ref for ref in self._objects.get(_get_name(tool), []) if ref() is not None]
                    self._objects[_get_name(tool)] = [*alive, weakref.ref(tool)]
            self.effects = self.effects | read_effects(tools)
            if is_new:
                self.schemas = self.schemas | schemas
                self.descriptions = self.descriptions | descriptions
                self.hashes = self.hashes | hashes
                check_policy_names(self.policy, self.schemas)
            if is_complete:
                self._warn_of_unknown()
            return list(schemas)

    def learn_new(self, tools: Sequence[Any]) -> None:
        """Learn the tools whose names are not known yet; those that are dicts are left to `learn`."""
        if new_tools := [t for t in tools if not isinstance(t, dict) and _get_name(t) not in self.schemas]:
            self.learn(new_tools)

    def find_swap(self, name: str, tool: NamedTool) -> str | None:
        """Return why the tool that would run is not the one that was judged."""
        if tool.name != name:
            return f"the tool that would run is {tool.name!r}, and {name!r} was judged"
        with self._lock:
            is_known = any(ref() is not None for ref in self._objects.get(name, ()))
            if is_known and not self._is_learned(tool):
                return f"the tool that would run under the name {name!r} is not the one that the model was given"
        if not is_known:
            self.learn([tool])
        return None

    def describe(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what a thread's record holds about tools."""
        return {
            name: {
                "parameters": self.schemas[name],
                "description": self.descriptions[name],
                "effect": self.effects.get(name),
                "hash": self.hashes[name],
            }
            for name in names
        }

    def as_fields(self, recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what a `CallContext` holds about tools; a thread's record has those that this process never saw."""
        return {
            "tools": {n: t["parameters"] for n, t in recorded.items()} | self.schemas,
            "descriptions": {n: t["description"] for n, t in recorded.items()} | self.descriptions,
            "effects": {n: t["effect"] for n, t in recorded.items() if t["effect"]} | self.effects,
        }

    def _is_learned(self, tool: object) -> bool:
        return isinstance(tool, dict) or any(ref() is tool for ref in self._objects.get(_get_name(tool), ()))

    def _warn_of_unknown(self) -> None:
        for name in find_unknown_tools(self.policy, self.schemas):
            if name not in self._warned:
                self._warned.add(name)
                _log.warning("the policy has rules for a tool %r, which the agent does not have", name)


def _get_name(tool: object) -> str:
    return str(getattr(tool, "name", None) or getattr(tool, "__name__", ""))


def _runs_at_provider(tool: object) -> bool:
    """Return whether the model's provider runs the tool, where nothing here can stop it."""
    return isinstance(tool, dict) and tool.get("type") != "function" and "parameters" not in tool
