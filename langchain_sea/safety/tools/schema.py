"""Whether a call matches the schema of the tool it names: the first check, on which all others rely."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from langchain_sea.errors import ExtraMissingError
from langchain_sea.safety.checks import Action, Finding, PerCallCheck

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import jsonschema_rs

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.policy import GuardConfig
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["SchemaCheck"]

_MAX_MESSAGE = 120  # characters of a validator's message
_BACKTRACK_LIMIT = 100_000  # steps of a pattern that a linear engine cannot run: some milliseconds
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


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
        if isinstance(validator, str):
            return [self._block(f"the schema of {call.name} cannot be used: {validator}")]
        return [self._describe(error) for error in validator.iter_errors(call.arguments)]

    def _block(self, reason: str, argument: str | None = None) -> Finding:
        arguments = (argument,) if argument else ()
        return Finding(action=Action.BLOCK, check=self.name, reason=reason, arguments=arguments)

    def _describe(self, error: jsonschema_rs.ValidationError) -> Finding:
        path, message = error.instance_path, error.message
        if len(message) > _MAX_MESSAGE:  # the value comes first, what is wrong with it last
            message = f"{message[: _MAX_MESSAGE // 3]}…{message[-_MAX_MESSAGE * 2 // 3 :]}"
        return self._block(f"{'.'.join(map(str, path)) or 'the arguments'}: {message}", str(path[0]) if path else None)


def _exceeded_limit(call: ToolCall, policy: GuardConfig) -> str | None:
    """Return which limit of the policy the call exceeds."""
    if policy.rules_for(call.name).deny:
        return f"the policy denies {call.name} altogether"
    if len(call.text) > policy.characters:
        return f"its arguments have {len(call.text)} characters, {policy.characters} are allowed"
    if _HALF_CHARACTER.search(call.text):
        return "its arguments hold half of a character (a lone surrogate), which no program can send on"
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
def _make_validator(
    schema: str,
) -> jsonschema_rs.Draft202012Validator | jsonschema_rs.Draft7Validator | jsonschema_rs.Draft4Validator | str:
    """Build a validator that allows no additional properties unless the schema says so; else say why there is none.

    A schema may come from a stranger: it opens no address, and its patterns stop after a number of steps.
    """
    try:
        import jsonschema_rs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError(
            "tool calls are validated by jsonschema-rs: pip install 'langchain-sea[agents]'"
        ) from error
    strict = {"type": "object", **json.loads(schema)}
    strict.setdefault("additionalProperties", False)
    strict.pop("$schema", None)  # the drafts below are tried instead, so that an unknown name opens no address
    patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT)
    reason = ""
    for draft in (jsonschema_rs.Draft202012Validator, jsonschema_rs.Draft7Validator, jsonschema_rs.Draft4Validator):
        try:
            return draft(strict, validate_formats=False, retriever=_refuse_address, pattern_options=patterns)
        except (ValueError, jsonschema_rs.ReferencingError) as error:  # its ValidationError is a ValueError
            reason = reason or str(error).partition("\n")[0]
    return reason[:_MAX_MESSAGE]


def _refuse_address(uri: str) -> NoReturn:
    raise ValueError(f"a reference outside of the schema is not opened ({uri[:_MAX_MESSAGE]})")
