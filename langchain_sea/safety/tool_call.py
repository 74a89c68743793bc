"""A tool call as the checks see it: immutable, with a digest of exactly what would be executed. Knows no rule."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ToolCall", "compute_digest", "find_forbidden_change", "find_json_errors", "freeze_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a batch.

    Attributes:
        position: index of the call in its message.
        id: as the model gave it.
        name: of the tool.
        text: the arguments as JSON with sorted keys; a string, so that nobody who holds the call can change them.
        errors: what is wrong with how the call was written, found before its schema is checked.
    """

    position: int
    id: str
    name: str
    text: str
    errors: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """A new copy of the arguments."""
        arguments: dict[str, Any] = json.loads(self.text)
        return arguments

    @property
    def digest(self) -> str:
        """SHA-256 of position, name and arguments, in hex."""
        return compute_digest(self.position, self.name, self.text)

    def with_arguments(self, arguments: Mapping[str, Any]) -> ToolCall:
        """Return a call of the same tool, id and position with these arguments."""
        return replace(self, text=_to_json(arguments), errors=())


@dataclass(slots=True)
class _JsonErrors:
    """Hooks of `json.loads` that note what a strict reader would refuse."""

    errors: list[str] = field(default_factory=list)

    def read_object(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        """Note the first repeated key: Python keeps its last value, other readers the first."""
        keys = [key for key, _ in pairs]
        repeated = [key for key in keys if keys.count(key) > 1]
        self.errors += [f"the key {key!r} appears more than once" for key in repeated[:1]]
        return dict(pairs)

    def read_constant(self, text: str) -> float:
        """Note NaN and the infinities, which JSON does not have."""
        self.errors.append(f"{text} is not a finite number")
        return float(text.replace("Infinity", "inf"))


def compute_digest(position: int, name: str, text: str) -> str:
    """Return the SHA-256 of a call's position, tool name and arguments, in hex."""
    return hashlib.sha256(f"{position}\0{name}\0{text}".encode(errors="surrogatepass")).hexdigest()


def find_forbidden_change(call: ToolCall, new_call: ToolCall, arguments: Sequence[str]) -> str | None:
    """Return what a repair changed beside the arguments that it may change; None if nothing."""
    if (new_call.name, new_call.position, new_call.id) != (call.name, call.position, call.id):
        return f"a repair changed the call of {call.name!r} to one of {new_call.name!r}, and was rejected"
    before, after, missing = call.arguments, new_call.arguments, object()
    changed = [
        name
        for name in {*before, *after}
        if name not in arguments and before.get(name, missing) != after.get(name, missing)
    ]
    return f"a repair changed {', '.join(sorted(changed))}, and was rejected" if changed else None


def freeze_calls(tool_calls: Sequence[Mapping[str, Any]], raw: Sequence[str | None] = ()) -> list[ToolCall]:
    """Convert a message's calls to `ToolCall`, with the errors in how each was written.

    Args:
        tool_calls: LangChain's dicts.
        raw: the arguments of each call as the model wrote them, where known; a tolerant parser drops errors
            such as repeated keys.
    """
    ids = [str(call.get("id") or "") for call in tool_calls]
    calls = []
    for position, call in enumerate(tool_calls):
        errors = _find_envelope_errors(call, ids, position)
        arguments = call.get("args") if isinstance(call.get("args"), dict) else {}
        raw_arguments = raw[position] if position < len(raw) else None
        errors += find_json_errors(raw_arguments) if raw_arguments is not None else []
        try:
            errors += _find_infinite_numbers(arguments)
            text = _to_json(arguments or {})
            text.encode()
        except UnicodeEncodeError:  # half of a character, which no file and no tool can take
            errors.append("its text ends within a character: it has a lone surrogate")
            text = text.encode(errors="replace").decode()
        except (TypeError, ValueError, RecursionError) as error:
            errors.append(f"its arguments are not JSON: {error}")
            text = "{}"
        calls.append(ToolCall(position, ids[position], str(call.get("name")), text, tuple(errors)))
    return calls


def _find_envelope_errors(call: Mapping[str, Any], ids: Sequence[str], position: int) -> list[str]:
    """List what is wrong with a call's id, its name and the type of its arguments."""
    call_id, name, arguments = ids[position], call.get("name"), call.get("args")
    errors = [f"two calls share the id {call_id!r}"] if ids.count(call_id) > 1 else []
    if not call_id:
        errors.append("it has no id, so no result can refer to it")
    if not isinstance(name, str) or not name:
        errors.append(f"its name is {name!r}")
    if not isinstance(arguments, dict):
        errors.append(f"its arguments are {type(arguments).__name__}, not an object")
    return errors


def find_json_errors(text: str) -> list[str]:
    """List what a strict reader refuses in JSON: syntax errors, repeated keys, numbers that are not finite."""
    hooks = _JsonErrors()
    try:
        value = json.loads(text, object_pairs_hook=hooks.read_object, parse_constant=hooks.read_constant)
    except (ValueError, RecursionError) as error:
        return [f"its arguments are not JSON: {error}"]
    try:
        return hooks.errors + _find_infinite_numbers(value)
    except RecursionError as error:
        return [*hooks.errors, f"its arguments are not JSON: {error}"]


def _find_infinite_numbers(value: object) -> list[str]:
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{value} is not a finite number"]
    if isinstance(value, dict):
        return [error for entry in value.values() for error in _find_infinite_numbers(entry)]
    if isinstance(value, (list, tuple)):
        return [error for entry in value for error in _find_infinite_numbers(entry)]
    return []


def _to_json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, allow_nan=False)
