"""Schemas of answers: closed objects, and the schema of a forced call. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_sea.models.json_schema import map_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.chat.tools import ToolChoice

__all__ = ["close_objects", "forced_schema"]

_COMBINERS = ("anyOf", "oneOf", "allOf")
_ELSEWHERE = frozenset({*_COMBINERS, "$ref", "$dynamicRef", "if", "then", "else", "dependentSchemas"})
"""Keys behind which an object may have more properties than its own."""
_CONDITIONS = frozenset({"not", "if", "contains"})
"""Keys of schemas that a value is compared with: to close their objects would change what they say."""
_OWN = frozenset({"properties", "patternProperties", "required", "minProperties", "additionalProperties"})


def close_objects(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with objects that have the listed properties and no others, as in OpenAI's strict mode.

    What says otherwise with `additionalProperties` stays as it is. So does an object whose properties are listed in
    several places: none of them may forbid those of the others.
    """
    known, references = frozenset[str](), set[str]()
    while True:  # what is open may refer to more that is open
        closed = _close(schema, "#", is_open="#" in known, known=known, references=references)
        if references <= known:
            return cast("dict[str, Any]", closed)
        known = frozenset(references)


def _close(schema: object, pointer: str, *, is_open: bool, known: frozenset[str], references: set[str]) -> object:
    """Close the objects of one part of a schema.

    Args:
        schema: the part.
        pointer: of it.
        is_open: whether it may be one of several places that list the properties of one object.
        known: pointers of parts that are such places because something refers to them.
        references: gets the pointers that this part refers to as such places.
    """
    if not isinstance(schema, dict):
        return schema
    has_several = is_open or bool(_OWN & schema.keys()) or len(schema.get("allOf") or ()) > 1
    if has_several and isinstance(reference := schema.get("$ref"), str):
        references.add(reference)

    def close_part(part: object, path: str) -> object:
        keyword, below = path.split("/")[1], pointer + path
        if keyword in _CONDITIONS:
            return part
        shares = keyword in _ELSEWHERE and (has_several or keyword not in _COMBINERS)
        return _close(part, below, is_open=shares or below in known, known=known, references=references)

    closed = map_parts(schema, close_part)
    says = {"additionalProperties", "unevaluatedProperties"} & schema.keys()
    if "properties" in schema and not is_open and not says and not _lists_elsewhere(schema):
        closed["additionalProperties"] = False
    return closed


def _lists_elsewhere(schema: dict[str, Any]) -> bool:
    """Return whether something beside an object's own properties may list more of them."""
    if schema.keys() & (_ELSEWHERE - {*_COMBINERS}):
        return True
    parts = [part for key in _COMBINERS for part in schema.get(key) or ()]
    return any(not isinstance(part, dict) or part.keys() - {"required", "description", "title"} for part in parts)


def forced_schema(tools: Sequence[dict[str, Any]], choice: ToolChoice) -> dict[str, Any]:
    """Return the JSON schema of a forced call: of the named tool, or of any tool."""
    functions = [tool["function"] for tool in tools if choice.name in (None, tool["function"]["name"])]
    definitions = dict[str, Any]()
    schemas = [_call_schema(function, definitions) for function in functions]
    schema: dict[str, Any] = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {**schema, "$defs": definitions} if definitions else schema


def _call_schema(function: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one function's calls; parameters that refer to parts of themselves become a definition.

    Under its own name, so that definitions of one name in two functions stay apart.
    """
    arguments = close_objects(function.get("parameters") or {"type": "object", "properties": {}})
    if not arguments.keys() & {*_ELSEWHERE, "patternProperties", "properties"}:
        arguments.setdefault("additionalProperties", False)
    name = f"arguments_{len(definitions)}"
    references = list[str]()
    moved = _move(arguments, f"#/$defs/{name}", str(arguments.get("$id", "")), references)
    if references:
        definitions[name], moved = moved, {"$ref": f"#/$defs/{name}"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": moved},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _move(schema: dict[str, Any], base: str, address: str, references: list[str]) -> dict[str, Any]:
    """Return a schema that stands at `base` in another one, with its pointers into itself rewritten.

    Args:
        schema: with pointers from its own root.
        base: the pointer to its new place.
        address: its `$id`, with which a pointer may begin.
        references: gets the pointers that were rewritten.
    """

    def move_part(part: object, _path: str = "") -> object:
        if not isinstance(part, dict):
            return part
        moved = {key: value for key, value in part.items() if key not in ("$id", "$schema")}
        reference = moved.get("$ref")
        if isinstance(reference, str):
            inner = reference.removeprefix(address) or "#"
            if inner == "#" or inner.startswith("#/"):
                references.append(inner)
                moved["$ref"] = base + inner[1:]
        return map_parts(moved, move_part)

    return cast("dict[str, Any]", move_part(schema))
