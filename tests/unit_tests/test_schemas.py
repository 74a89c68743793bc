"""Schemas as the world writes them: moved into a forced call, closed, with annotations; and the shortest answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doubles import SMALL_PLAN
from jsonschema import Draft202012Validator
from langchain_core.messages import AIMessage

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.options import make_call_options
from langchain_sea.chat.schemas import close_objects, forced_schema
from langchain_sea.chat.tools import parse_tool_choice
from langchain_sea.errors import GrammarError
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.json_schema import to_enforceable

POLICY = load_model("tiny")
OPTIONS = {"budget": Budget(max_steps=1, max_time=None), "plan": SMALL_PLAN, "max_tokens": 40}
INT64 = 2**63 - 1


def grammar_of(schema: Any) -> JsonGrammar:
    return JsonGrammar(schema, POLICY.tokenizer, POLICY.vocab_size, sorted(POLICY.end_ids))


def takes(schema: Any, value: Any) -> bool:
    return grammar_of(schema).is_complete(POLICY.encode(json.dumps(value)))


def part(key: str, kind: str = "integer") -> dict[str, Any]:
    return {"type": "object", "properties": {key: {"type": kind}}, "required": [key]}


def tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


def takes_call(tools: list[dict[str, Any]], choice: str, name: str, arguments: Any) -> bool:
    schema = forced_schema(tools, parse_tool_choice(choice, tools))
    return takes(schema, {"name": name, "arguments": arguments})


def items(kind: str, keyword: str = "$defs") -> dict[str, Any]:
    listed = {"type": "array", "items": {"$ref": f"#/{keyword}/Item"}}
    return {
        "type": "object",
        "properties": {"items": listed},
        "required": ["items"],
        keyword: {"Item": part("s", kind)},
    }


# Moved into a forced call


@pytest.mark.parametrize("keyword", ["$defs", "definitions"])
def test_definitions_of_one_name_in_two_tools_do_not_mix(keyword: str) -> None:
    """Whether a tool is named, or any may be called."""
    order, stock = tool("order", items("string", keyword)), tool("stock", items("integer", keyword))
    ping = tool("ping", {"type": "object", "properties": {}})
    for tools, choice in (([order], "order"), ([order], "any"), ([ping, order, stock], "any")):
        assert takes_call(tools, choice, "order", {"items": [{"s": "a"}]})
        assert not takes_call(tools, choice, "order", {"items": [{"s": 1}]})
    assert takes_call([order, stock], "any", "stock", {"items": [{"s": 1}]})
    assert not takes_call([order, stock], "any", "stock", {"items": [{"s": "a"}]})


def test_a_schema_that_refers_to_itself_keeps_its_base() -> None:
    """To its root, to a part, and by its own address."""
    node = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"]}
    twin = {
        "$id": "https://a.example/s",
        **part("a"),
        "additionalProperties": {"$ref": "https://a.example/s#/properties/a"},
    }
    tools = [tool("node", node), tool("twin", twin)]
    assert takes_call(tools, "any", "node", {"v": 1, "next": {"v": 2}})
    assert not takes_call(tools, "any", "node", {"v": 1, "next": {"name": "node"}})
    assert takes_call(tools, "any", "twin", {"a": 1, "b": 2})
    assert not takes_call(tools, "any", "twin", {"a": 1, "b": "x"})


BOTH = {"a": {"type": "integer"}, "b": {"type": "integer"}}
EITHER = [{"required": ["a"]}, {"required": ["b"]}]


@pytest.mark.parametrize(
    ("parameters", "fits", "other"),
    [
        ({"anyOf": [part("a"), part("b")]}, {"b": 1}, {"c": 1}),
        ({"type": "object", "oneOf": [part("a"), part("b")]}, {"a": 1}, {"a": 1, "c": 1}),
        ({"type": "object", "allOf": [part("a"), part("b")]}, {"a": 1, "b": 2}, {"a": 1}),
        ({"$ref": "#/$defs/P", "$defs": {"P": part("a")}}, {"a": 1}, {"a": 1, "c": 1}),
        ({"type": "object", "properties": BOTH, "anyOf": EITHER}, {"a": 1}, {"a": 1, "c": 1}),
        ({"type": "object"}, {}, {"a": 1}),
    ],
)
def test_parameters_of_any_form_are_enforced(parameters: dict[str, Any], fits: Any, other: Any) -> None:
    """One of the alternatives, or all of the parts."""
    assert takes_call([tool("f", parameters)], "f", "f", fits)
    assert not takes_call([tool("f", parameters)], "f", "f", other)


# Closed


def test_objects_are_closed_where_all_their_properties_are() -> None:
    """Not parts of one object, nor what they refer to; `not` keeps its meaning."""
    pieces = {
        "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
        "$defs": {"A": part("a"), "B": part("b"), "C": part("c")},
    }
    closed = close_objects(pieces)
    assert takes(closed, {"a": 1, "b": 2})
    assert closed["$defs"]["C"]["additionalProperties"] is False
    assert takes(close_objects({"type": "object", "properties": {}, "additionalProperties": True}), {"z": 1})
    assert close_objects({"not": part("a")}) == {"not": part("a")}
    literal = {"enum": [part("a")]}
    assert close_objects(literal) == literal


def test_no_schema_is_an_error_and_an_empty_one_allows_any_json() -> None:
    """OpenAI's form of both."""
    defaults = {
        "preset": "default",
        "plan": None,
        "budget": Budget(),
        "seed": 0,
        "temperature": None,
        "max_tokens": 9,
        "timeout": None,
    }
    defaults |= {"n": 1, "logprobs": False, "top_logprobs": None, "stop": None, "parallel_tool_calls": None}
    defaults |= {"max_reasoning_tokens": None, "refine_reasoning": False}
    for empty in ({"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": None}},
                  {"type": "json_schema", "json_schema": {"name": "x"}}):  # fmt: skip
        with pytest.raises(ValueError, match="holds no schema"):
            make_call_options(defaults, {"response_format": empty})
    anything = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    assert make_call_options(defaults, {"response_format": anything}).schema == {}
    assert takes({}, [1, {"a": None}])


# Annotations


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "binary"},
        {"type": "string", "format": "iso-country"},
        {"type": "integer", "format": "int64"},
        {"type": "number", "format": "double"},
        {"type": "integer", "minimum": -INT64 - 1, "maximum": INT64},
        {"type": "integer", "exclusiveMaximum": 2**64},
        {"type": "integer", "default": INT64, "examples": [2**64 - 1]},
        {"type": "string", "x-order": 1, "deprecated": True, "readOnly": True, "nullable": True, "enumNames": ["A"]},
    ],
)
def test_what_says_nothing_about_values_is_ignored(schema: dict[str, Any]) -> None:
    """Wherever it stands."""
    value = "a" if schema["type"] == "string" else 7
    assert takes({**part("v"), "properties": {"v": schema}}, {"v": value})
    assert takes({"type": "array", "items": schema}, [value])


def test_words_of_schemas_may_be_names_of_properties() -> None:
    """And values of constants."""
    properties = {name: {"type": "integer"} for name in ("default", "format", "examples", "maximum")}
    schema = {"type": "object", "properties": properties, "const": {"default": 1, "format": "x"}}
    assert to_enforceable(schema) == schema


@pytest.mark.parametrize("bound", [2**53 + 1, 2**60 + 3, INT64, 2**64 - 1])
def test_a_large_bound_is_narrowed_and_never_passed(bound: int) -> None:
    """To the nearest that the library counts exactly."""
    for sign, key in ((1, "maximum"), (-1, "minimum")):
        schema = {"type": "integer", key: sign * bound}
        narrowed = sign * to_enforceable(schema)[key]
        assert bound >= narrowed == int(float(narrowed))
        assert narrowed >= min(bound, INT64) - 1024
        assert takes(schema, sign * narrowed)
        assert not takes(schema, sign * (bound + 1))


def test_a_constant_is_not_narrowed() -> None:
    """It would become another one."""
    with pytest.raises(GrammarError, match="digits"):
        grammar_of({"const": 2**53 + 1})


# The shortest answers


@pytest.mark.parametrize(
    "schema",
    [
        *(
            {"type": "string", "format": name}
            for name in ("email", "uri", "duration", "uuid", "ipv4", "ipv6", "hostname")
        ),
        *({"type": "string", "format": name} for name in ("date", "time", "date-time")),
        {"type": "string", "minLength": 8},
        {"type": "string", "pattern": "^[b-d]{3}x$"},
        {"type": "integer", "minimum": 100},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
    ],
)
def test_an_end_is_found_for_every_kind_of_value(schema: dict[str, Any]) -> None:
    """From the beginning and from the middle; what is written stays."""
    whole = {**part("v"), "properties": {"v": schema}, "additionalProperties": False}
    grammar = grammar_of(whole)
    for begun in ("", '{"v": '):
        ids = POLICY.encode(begun)
        found = grammar.find_end(ids, 60)
        assert found is not None
        assert found[: len(ids)] == ids
        Draft202012Validator(whole).validate(json.loads(POLICY.decode(found)))
        assert grammar.find_end(ids, 2) is None


def test_the_end_is_the_shortest() -> None:
    """Of an object with a choice of keys, and of nothing that fits."""
    assert POLICY.decode(grammar_of({"type": "string", "format": "uri"}).find_end([], 9) or []) == '"a:"'
    assert POLICY.decode(grammar_of({"type": "object"}).find_end([], 9) or []) == "{}"
    assert grammar_of({"type": "boolean"}).find_end(POLICY.encode("x"), 9) is None


# Structured output


def same(_prompt: Any, completions: Any) -> list[float]:
    return [0.0] * len(completions)


def test_raw_answers_have_the_options_of_their_call() -> None:
    """Another seed is another attempt; stop strings reach the model."""
    schema = {"title": "s", "description": "d", **part("t", "string")}
    chain = SEAChatModel(model="tiny", rewards=[same], temperature=1.5, **OPTIONS).with_structured_output(
        schema, include_raw=True
    )
    found = [chain.invoke("Say something.", seed=seed, max_tokens=12)["raw"] for seed in (0, 1, 2)]
    assert [message.response_metadata["sea"]["seed"] for message in found] == [0, 1, 2]
    assert len({message.content for message in found}) == 3
    assert chain.invoke("Say something.", stop=["t"], max_tokens=12)["raw"].content == '{"'


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_raw_answers_never_raise_what_the_model_raises(method: Any) -> None:
    """A schema that cannot be enforced has no answer; a wrong option is still the caller's mistake."""
    schema = {
        "title": "s",
        "description": "d",
        "type": "object",
        "properties": {"t": {"const": 2**53 + 1}},
        "required": ["t"],
    }
    chain = SEAChatModel(model="tiny", **OPTIONS).with_structured_output(schema, method=method, include_raw=True)
    found = chain.invoke("Go.")
    assert (found["raw"], found["parsed"]) == (None, None)
    assert isinstance(found["parsing_error"], GrammarError)
    with pytest.raises(ValueError, match="no option 'sed'"):
        chain.invoke("Go.", sed=1)


# Round trips


def test_a_call_that_cannot_be_read_is_shown_as_it_was_written() -> None:
    """Beside the words of its message."""
    broken = {"type": "invalid_tool_call", "name": "f", "args": '{"city": "Ro', "id": "1", "error": "no JSON"}
    (found,) = to_template_messages([AIMessage("Let me look.", invalid_tool_calls=[broken])])
    assert found == {"role": "assistant", "content": 'Let me look.\n<tool_call>\nf: {"city": "Ro\n</tool_call>'}
