"""Whether a call matches the schema of the tool it names: the first check, on which all others rely."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from langchain_sea.errors import ExtraMissingError
from langchain_sea.safety.checks import Action, Finding, PerCallCheck

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["SchemaCheck"]

_MAX_MESSAGE = 120  # characters of jsonschema's messages


class _SchemaError(Protocol):
    """The part of `jsonschema.ValidationError` that is read here."""

    path: Sequence[str | int]
    message: str


class _SchemaValidator(Protocol):
    """The part of a jsonschema validator that is used here."""

    def iter_errors(self, instance: object) -> Iterator[_SchemaError]:
        """Yield every violation of the schema."""


class SchemaCheck(PerCallCheck):
    """Blocks unknown tools, wrong types and ranges, unknown or repeated keys, and arguments that are too large."""

    name = "schema"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return everything that is wrong with the call's form."""
        if call.errors:
            return [self._block(error) for error in call.errors]
        if call.name not in context.tools:
            names = ", ".join(sorted(context.tools)) or "none"
            return [self._block(f"there is no tool {call.name!r}; the tools are: {names}")]
        if reason := _exceeded_limit(call, context.policy):
            return [self._block(reason)]
        validator = _make_validator(_to_key(context.tools[call.name]))
        return [self._describe(error) for error in validator.iter_errors(call.arguments)]

    def _block(self, reason: str, argument: str | None = None) -> Finding:
        arguments = (argument,) if argument else ()
        return Finding(action=Action.BLOCK, check=self.name, reason=reason, arguments=arguments)

    def _describe(self, error: _SchemaError) -> Finding:
        argument = str(error.path[0]) if error.path else None
        message = error.message
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}…"
        return self._block(f"{'.'.join(map(str, error.path)) or 'the arguments'}: {message}", argument)


def _exceeded_limit(call: ToolCall, policy: GuardConfig) -> str | None:
    """Return which limit of the policy the call exceeds."""
    if policy.rules_for(call.name).deny:
        return f"the policy denies {call.name} altogether"
    if len(call.text) > policy.characters:
        return f"its arguments have {len(call.text)} characters, {policy.characters} are allowed"
    if (depth := _measure_depth(call.arguments)) > policy.depth:
        return f"its arguments are nested {depth} deep, {policy.depth} are allowed"
    return None


def _measure_depth(value: object) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        entry, level = stack.pop()
        deepest = max(deepest, level)
        entries: Iterable[object] = ()
        if isinstance(entry, dict):
            entries = entry.values()
        elif isinstance(entry, list):
            entries = entry
        stack += [(each, level + 1) for each in entries]
    return deepest


def _to_key(schema: Mapping[str, object]) -> str:
    return json.dumps(schema, sort_keys=True, default=str)


@lru_cache(maxsize=256)
def _make_validator(schema: str) -> _SchemaValidator:
    """Build a validator that allows no additional properties unless the schema says so."""
    try:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError(
            "tool calls are validated by jsonschema: pip install 'langchain-sea[agents]'"
        ) from error
    strict = {"type": "object", **json.loads(schema)}
    strict.setdefault("additionalProperties", False)
    validator: _SchemaValidator = Draft202012Validator(strict)
    return validator
