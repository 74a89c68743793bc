"""Whether a call is one of the tool it names: the first layer, which all others rely on."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import ExtraMissingError
from langchain_sea.safety.checks import Action, Finding, PerCallCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["SchemaCheck"]

_SHOWN = 120


class SchemaCheck(PerCallCheck):
    """Types, ranges, unknown fields; equal keys, non-finite numbers, depth and size."""

    name = "schema"

    def one(self, call: ToolCall, scene: CallContext) -> list[Finding]:
        """All that is wrong with the form, or nothing."""
        policy = scene.policy
        if call.faults:
            return [self._no(fault) for fault in call.faults]
        if call.name not in scene.tools:
            known = ", ".join(sorted(scene.tools)) or "none"
            return [self._no(f"there is no tool {call.name!r}; there are: {known}")]
        if policy.of(call.name).deny:
            return [self._no(f"the policy denies {call.name} altogether")]
        if len(call.text) > policy.characters:
            return [
                self._no(f"its arguments have {len(call.text)} characters, {policy.characters} are allowed")
            ]
        arguments = call.arguments
        if (depth := _depth(arguments)) > policy.depth:
            return [self._no(f"its arguments are nested {depth} deep, {policy.depth} are allowed")]
        found = _validator(_key(scene.tools[call.name])).iter_errors(arguments)
        return [self._fault(error) for error in found]

    def _no(self, reason: str, argument: str | None = None) -> Finding:
        named = (argument,) if argument else ()
        return Finding(action=Action.BLOCK, layer=self.name, reason=reason, arguments=named)

    def _fault(self, error: Any) -> Finding:  # noqa: ANN401 - jsonschema's own
        where = str(error.path[0]) if error.path else None
        said = error.message if len(error.message) <= _SHOWN else f"{error.message[:_SHOWN]}…"
        return self._no(f"{'.'.join(map(str, error.path)) or 'the arguments'}: {said}", where)


def _depth(value: Any) -> int:  # noqa: ANN401 - any JSON
    deepest, stack = 0, [(value, 1)]
    while stack:
        entry, level = stack.pop()
        deepest = max(deepest, level)
        inner: Iterator[Any] | None = None
        if isinstance(entry, dict):
            inner = iter(entry.values())
        elif isinstance(entry, list):
            inner = iter(entry)
        stack += [(each, level + 1) for each in inner or ()]
    return deepest


def _key(schema: Any) -> str:  # noqa: ANN401 - a schema
    return json.dumps(schema, sort_keys=True, default=str)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:  # noqa: ANN401 - jsonschema's own
    try:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError(
            "tool calls are validated by jsonschema: pip install 'langchain-sea[agents]'"
        ) from error
    read = json.loads(schema)
    closed = {"type": "object", **read}
    closed.setdefault("additionalProperties", False)
    return Draft202012Validator(closed)
