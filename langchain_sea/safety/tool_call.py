"""Tool calls as they are judged: frozen, each with a digest of what exactly would be executed. Knows no rule."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ToolCall", "calls_of", "digest_of", "faults_in"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a batch.

    Attributes:
        position: in its message; with the name and the arguments it is what a verdict holds for.
        id: as the model gave it.
        name: of the tool.
        text: the arguments as JSON with sorted keys: nobody who has them can change them.
        faults: what is wrong with how the call was written, before any schema is asked.
    """

    position: int
    id: str
    name: str
    text: str
    faults: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """A fresh copy."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def digest(self) -> str:
        """Of position, name and arguments: SHA-256, in hex."""
        return digest_of(self.position, self.name, self.text)

    def with_arguments(self, arguments: Mapping[str, Any]) -> ToolCall:
        """The same call with others."""
        return ToolCall(self.position, self.id, self.name, _json(arguments))


@dataclass(slots=True)
class _Reading:
    """What a strict reading of JSON found."""

    faults: list[str] = field(default_factory=list)

    def pairs(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        """Python keeps the last of equal keys, other readers the first."""
        keys = [key for key, _ in pairs]
        self.faults += [
            f"the key {key!r} stands there more than once" for key in keys if keys.count(key) > 1
        ][:1]
        return dict(pairs)

    def constant(self, text: str) -> float:
        """NaN and the infinities, which are no JSON."""
        self.faults.append(f"{text} is no finite number")
        return float(text.replace("Infinity", "inf"))


def digest_of(position: int, name: str, text: str) -> str:
    """Of a call: SHA-256, in hex."""
    return hashlib.sha256(f"{position}\0{name}\0{text}".encode()).hexdigest()


def calls_of(tool_calls: Sequence[Mapping[str, Any]], raw: Sequence[str | None] = ()) -> list[ToolCall]:
    """A message's calls, frozen.

    Args:
        tool_calls: LangChain's dicts.
        raw: the arguments as each was written, where that is known: what a tolerant parser dropped shows there.
    """
    ids = [str(call.get("id") or "") for call in tool_calls]
    found = []
    for position, call in enumerate(tool_calls):
        faults = [f"two calls share the id {ids[position]!r}"] if ids.count(ids[position]) > 1 else []
        if not ids[position]:
            faults.append("it has no id, so that nothing can answer it")
        name, arguments = call.get("name"), call.get("args")
        if not isinstance(name, str) or not name:
            faults.append(f"its name is {name!r}")
        if not isinstance(arguments, dict):
            faults.append(f"its arguments are {type(arguments).__name__}, no object")
            arguments = {}
        written = raw[position] if position < len(raw) else None
        faults += faults_in(written) if written is not None else []
        try:
            faults += _not_finite(arguments)
            text = _json(arguments)
        except (TypeError, ValueError, RecursionError) as error:
            faults.append(f"its arguments are no JSON: {error}")
            text = "{}"
        found.append(ToolCall(position, ids[position], str(name), text, tuple(faults)))
    return found


def faults_in(text: str) -> list[str]:
    """What a strict reader finds wrong with JSON as it was written."""
    reading = _Reading()
    try:
        found = json.loads(text, object_pairs_hook=reading.pairs, parse_constant=reading.constant)
    except (ValueError, RecursionError) as error:
        return [f"its arguments are no JSON: {error}"]
    try:
        return reading.faults + _not_finite(found)
    except RecursionError as error:
        return [*reading.faults, f"its arguments are no JSON: {error}"]


def _not_finite(value: Any) -> list[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{value} is no finite number"]
    if isinstance(value, dict):
        return [fault for entry in value.values() for fault in _not_finite(entry)]
    if isinstance(value, (list, tuple)):
        return [fault for entry in value for fault in _not_finite(entry)]
    return []


def _json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, allow_nan=False)
