"""JSON schemas as data: a walk over their parts, and what of them a grammar enforces. Knows no model and no text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["map_parts", "to_enforceable"]

_PARTS_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_LISTS_OF_PARTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_SINGLE_PARTS = frozenset(
    {
        *("items", "additionalItems", "unevaluatedItems", "contains", "contentSchema"),
        *("additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("not", "if", "then", "else"),
    }
)
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "unknown", "uri", "uuid"}
)
"""The formats of strings that llguidance enforces."""
_ANNOTATIONS = frozenset({"default", "example", "examples"})
_UPPER_BOUNDS, _LOWER_BOUNDS = ("maximum", "exclusiveMaximum"), ("minimum", "exclusiveMinimum")
_MAX_EXACT_INTEGER = 2**53
_LARGEST_BOUND = 2**63 - 1024  # the largest float64 that is an int64


def map_parts(schema: dict[str, Any], function: Callable[[object, str], object]) -> dict[str, Any]:
    """Return the schema with a function applied to the schemas directly inside it; data such as `enum` is kept.

    Args:
        schema: a JSON schema.
        function: of a part and of its JSON pointer from `schema`, such as `/properties/name`.
    """
    mapped = dict[str, Any]()
    for key, value in schema.items():
        if key in _PARTS_BY_NAME and isinstance(value, dict):
            mapped[key] = {name: function(part, f"/{key}/{_escape(name)}") for name, part in value.items()}
        elif key in _LISTS_OF_PARTS and isinstance(value, list):
            mapped[key] = [function(part, f"/{key}/{index}") for index, part in enumerate(value)]
        else:
            mapped[key] = function(value, f"/{key}") if key in _SINGLE_PARTS else value
    return mapped


def to_enforceable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without what says nothing about which values are valid, for llguidance, which refuses it.

    These are defaults and examples, and formats that nobody defines for strings. Bounds that float64 cannot hold, such
    as those of int64, become the nearest ones inside them that it can.
    """
    return cast("dict[str, Any]", _to_enforceable(schema))


def _to_enforceable(part: object, _pointer: str = "") -> object:
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if key not in _ANNOTATIONS}
    if "format" in kept and kept["format"] not in _FORMATS:
        del kept["format"]
    for keys, is_upper in ((_UPPER_BOUNDS, True), (_LOWER_BOUNDS, False)):
        kept |= {key: _narrow(kept[key], is_upper=is_upper) for key in keys if key in kept}
    return map_parts(kept, _to_enforceable)


def _narrow(bound: object, *, is_upper: bool) -> object:
    """Return the nearest bound inside this one that is exact in float64."""
    if not isinstance(bound, int) or abs(bound) <= _MAX_EXACT_INTEGER:
        return bound
    sign = 1 if is_upper else -1
    if sign * bound > _LARGEST_BOUND:
        return sign * _LARGEST_BOUND
    nearest = float(bound)
    if sign * int(nearest) > sign * bound:
        nearest = math.nextafter(nearest, -sign * math.inf)
    return int(nearest)


def _escape(name: str) -> str:
    """Return a key as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
