"""Tools: shown in any template, forced by grammar, read in every common form; answers of a schema."""

from __future__ import annotations

import json
from typing import Any, Literal, TypedDict

import pytest
from doubles import SMALL_PRESET
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from slow_cases import first_fast

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.chat.errors import IncompleteAnswerError
from langchain_sea.chat.schemas import forced_schema
from langchain_sea.chat.tool_formats import parse_calls
from langchain_sea.chat.tools import ParsedToolCalls, ToolChoice, parse_tool_choice, read_answer, to_openai_tools
from langchain_sea.errors import GrammarError
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.template_fallbacks import ways_to_write


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return city


@tool
def magic_function(input: int) -> int:  # noqa: A002 - as LangChain's own tests name it
    """Apply a magic function to an input."""
    return input + 2


TOOLS = to_openai_tools([get_weather, magic_function])
FREE = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 64}


def model(**options: Any) -> SEAChatModel:
    return SEAChatModel(model="tiny", **(FREE | options))


# Reading calls

CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
FORMS = {
    "hermes": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>",
    "hermes, cut": f"<tool_call>\n{json.dumps(CALL)}",
    "mistral": f"[TOOL_CALLS] [{json.dumps(CALL)}]",
    "mistral, named": '[TOOL_CALLS]get_weather{"city": "Paris"}',
    "granite": f"<|tool_call|> [{json.dumps(CALL)}]",
    "phi": '<|tool_call|>[{"name": "get_weather", "parameters": {"city": "Paris"}}]<|/tool_call|>',
    "llama, json": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "llama, tagged": '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "llama, pythonic": "[get_weather(city='Paris')]",
    "arguments as text": '{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}',
    "nested": json.dumps({"type": "function", "function": CALL}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_call_is_read_in_every_form(form: str) -> None:
    """Name and arguments, and no words beside them."""
    found = read_answer(FORMS[form], TOOLS)
    assert [(c["name"], c["args"]) for c in found.calls] == [("get_weather", {"city": "Paris"})]
    assert (found.content, found.invalid) == ("", ())
    assert found.calls[0]["id"]


@pytest.mark.parametrize(
    "text",
    [
        f"Let me look.\n{FORMS['hermes']}\n{FORMS['hermes']}",
        f"Let me look. [TOOL_CALLS] [{json.dumps(CALL)}, {json.dumps(CALL)}]",
    ],
)
def test_words_and_parallel_calls_are_kept_apart(text: str) -> None:
    """In their order, each with an id of its own."""
    found = read_answer(text, TOOLS)
    assert found.content == "Let me look."
    assert len({call["id"] for call in found.calls}) == 2


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": \n</tool_call>',
        '<tool_call>\n{"name": "launch", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "get_weather", "arguments": 3}\n</tool_call>',
        "[get_weather(place())]",
        "[TOOL_CALLS] [1, 2]",
    ],
)
def test_what_cannot_be_read_is_an_invalid_call(text: str) -> None:
    """With what is wrong, and never raised."""
    found = read_answer(text, TOOLS)
    assert not found.calls
    assert found.invalid
    assert all(call["error"] for call in found.invalid)


@pytest.mark.parametrize("text", ["It is sunny.", '{"city": "Paris"}', "[1, 2]", "{broken", "a <b> c", ""])
def test_other_text_is_text(text: str) -> None:
    """Whatever it looks like."""
    assert read_answer(text, TOOLS) == ParsedToolCalls(text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Nor does any behind a call's beginning."""
    for start in ("", "<tool_call>", "[TOOL_CALLS]", "{", "[f("):
        content, calls = parse_calls(start + text)
        assert isinstance(content, str)
        assert all(isinstance(call.text, str) for call in calls)


# Choices


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        (False, ToolChoice()),
        ("none", ToolChoice("none")),
        ("any", ToolChoice("any")),
        ("required", ToolChoice("any")),
        (True, ToolChoice("any")),
        ("get_weather", ToolChoice("any", "get_weather")),
        ({"type": "function", "function": {"name": "get_weather"}}, ToolChoice("any", "get_weather")),
        ({"type": "auto"}, ToolChoice()),
    ],
)
def test_every_form_of_tool_choice(given_: Any, expected: ToolChoice) -> None:
    """LangChain's, OpenAI's and Anthropic's."""
    assert parse_tool_choice(given_, TOOLS) == expected


def test_a_choice_of_nothing_is_refused_where_tools_are_bound() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="names no tool; there are 'get_weather'"):
        model().bind_tools([get_weather], tool_choice="launch")
    assert len(to_openai_tools([get_weather, get_weather])) == 1


@pytest.mark.parametrize("tool", [
    {"type": "web_search"}, {"type": "web_search_20250305", "name": "web"}, {"type": "custom", "name": "x"},
    {"type": "function"}, {"type": "function", "function": {}}, {"type": "function", "function": "x"},
    {"type": "function", "function": {"name": ""}}, {"type": "function", "function": {"name": 5}},
    {"type": "function", "function": {"name": "x", "parameters": "none"}}, {"type": ["function"]}, {}, 5,
])  # fmt: skip
def test_what_is_no_function_is_refused_where_tools_are_bound(tool: Any) -> None:
    """Such as the tools that a provider runs itself."""
    with pytest.raises(ValueError, match=r"the tool|Unsupported function"):
        model().bind_tools([tool])


def test_functions_are_read_in_the_forms_of_providers() -> None:
    """OpenAI's without parameters, Anthropic's, and a JSON schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    forms = [{"type": "function", "function": {"name": "a", "parameters": None}}, schema | {"title": "c"}]
    forms.append({"type": "custom", "name": "b", "description": "Of a city.", "input_schema": schema})
    assert [tool["function"]["name"] for tool in to_openai_tools(forms)] == ["a", "c", "b"]


@pytest.mark.parametrize("choice", [{"function": "get_weather"}, {"function": None}, {"function": {}}, {}])
def test_a_choice_without_a_name_is_refused(choice: dict[str, Any]) -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match=r"tool_choice=\{.*names no tool; there are 'get_weather'"):
        parse_tool_choice(choice, TOOLS)


def test_templates_without_tools_get_them_in_words() -> None:
    """Calls and results of the past too; the system message stays first."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": CALL, "id": "1"}]},
        {"role": "tool", "content": "sunny", "tool_call_id": "1"},
    ]
    # the last ways are the same words with the system message in the user's, and as parts
    found = [way for way, shown in ways_to_write(messages, TOOLS) if shown is None and len(way) == 4][-2]
    assert [m["role"] for m in found] == ["system", "user", "assistant", "user"]
    assert found[0]["content"].startswith("Be brief.")
    assert "get_weather" in found[0]["content"]
    assert read_answer(found[2]["content"], TOOLS).calls[0]["args"] == {"city": "Paris"}
    assert "sunny" in found[3]["content"]


# The model


def test_the_policy_calls_of_its_own_accord() -> None:
    """`auto` is its decision; usage and reason say so."""
    message = model().bind_tools([get_weather]).invoke("What is the weather in Paris?")
    assert [(c["name"], c["args"]) for c in message.tool_calls] == [("get_weather", {"city": "Paris"})]
    assert message.content == ""
    assert message.response_metadata["finish_reason"] == "tool_calls"
    quiet = model().bind_tools([get_weather], tool_choice="none").invoke("What is 1 + 2?")
    assert not quiet.tool_calls


@pytest.mark.parametrize("choice", first_fast(["magic_function", "any"]))
def test_a_forced_call_is_one_and_streams_as_one(choice: str) -> None:
    """Whole and in chunks."""
    bound = model().bind_tools([magic_function], tool_choice=choice)
    question = "What is the value of magic_function(3)? Use the tool."
    whole = bound.invoke(question)
    streamed: Any = None
    for chunk in bound.stream(question):
        streamed = chunk if streamed is None else streamed + chunk
    for message in (whole, streamed):
        assert [(c["name"], set(c["args"])) for c in message.tool_calls] == [("magic_function", {"input"})]
        assert isinstance(message.tool_calls[0]["args"]["input"], int)


def test_results_go_back_into_the_conversation() -> None:
    """A call, its result, and an answer in words or another call."""
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "1", "type": "tool_call"}
    history = [
        HumanMessage("What is the weather in Paris?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("sunny", tool_call_id="1"),
    ]
    message = model().bind_tools([get_weather]).invoke(history)
    assert message.content or message.tool_calls


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Adult(BaseModel):
    """A schema without numbers, in which a policy may write digits without end."""

    is_adult: bool


class Trip(TypedDict):
    """A trip."""

    city: Literal["Paris", "Rome"]
    days: int


class Deep(BaseModel):
    """Nested, optional, and a list."""

    who: Person
    tags: list[Literal["a", "b"]] = Field(max_length=3)
    note: str | None = None


METHODS = ("json_schema", "function_calling", "json_mode")
SHAPES = (Deep, Trip, Person, Person.model_json_schema())


@pytest.mark.parametrize(
    ("method", "schema"),
    [
        pytest.param(method, schema, marks=[] if (a, b) in {(0, 3), (1, 1), (2, 2)} else pytest.mark.slow)
        for a, method in enumerate(METHODS)
        for b, schema in enumerate(SHAPES)
    ],
)
def test_structured_output_is_always_of_the_schema(method: str, schema: Any) -> None:
    """Of whatever kind, by whatever method, from a policy that has never seen any; else the limit is named."""
    short = {"max_tokens": 96}
    chain = model(**short).with_structured_output(schema, method=method, include_raw=True)
    answer = chain.invoke("Tom is 14 years old.")
    if answer["parsing_error"] is not None:  # this policy may write digits without end
        assert "max_tokens=96" in str(answer["parsing_error"])
        return
    found = answer["parsed"]
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        assert isinstance(found, schema)
    else:
        assert set(found) >= set(schema["required"] if isinstance(schema, dict) else Trip.__annotations__)


def test_raw_messages_stand_beside_what_was_parsed() -> None:
    """And no error is raised."""
    found = model(max_tokens=96).with_structured_output(Adult, include_raw=True).invoke("Tom is 14.")
    assert isinstance(found["raw"], AIMessage)
    assert isinstance(found["parsed"], Adult)
    assert found["parsing_error"] is None


def test_too_few_tokens_are_a_typed_error_with_the_partial_text() -> None:
    """Whose text is not lost."""
    with pytest.raises(IncompleteAnswerError, match="max_tokens=4; raise max_tokens") as caught:
        model(max_tokens=4).with_structured_output(Person).invoke("Tom is 14 years old.")
    assert str(caught.value.llm_output).startswith("{")


def test_what_cannot_be_enforced_is_said() -> None:
    """Rather than passed over."""
    policy = load_model("tiny")
    with pytest.raises(GrammarError, match="cannot be enforced"):
        JsonGrammar({"type": "string", "contentEncoding": 3, "if": {}}, policy.tokenizer, policy.vocab_size, [2])


names = st.text("abc_", min_size=1, max_size=5)
leaves = st.sampled_from(
    [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"}, {"enum": ["x", 3, None]}]
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(names, inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": list(p), "additionalProperties": False}
        )
        | inner.map(lambda i: {"type": "array", "items": i, "maxItems": 2})
    ),
    max_leaves=6,
)


@settings(max_examples=15)
@given(schemas, st.integers(0, 24))
def test_an_answer_that_is_completed_validates(schema: Any, begun: int) -> None:
    """From wherever the policy stopped; where more than one way to go on is left, it is not completed."""
    import jsonschema
    import torch

    policy = load_model("tiny")
    whole = {"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": False}
    grammar = JsonGrammar(whole, policy.tokenizer, policy.vocab_size, sorted(policy.end_ids))
    prompt = policy.prompt([{"role": "user", "content": "go"}], grammar=grammar)
    rng = torch.Generator().manual_seed(begun)
    (ids,) = policy.generate(prompt, [[]], tokens=begun, temperature=1.0, generators=[rng])
    found = prompt.complete(ids, 200)
    if found is not None:
        assert found[: len(ids)] == ids
        jsonschema.validate(json.loads(policy.decode(found)), whole)


@pytest.mark.parametrize(
    ("kind", "begun"),
    [({"type": "integer"}, "7"), ({"type": "number"}, "-"), ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, "[4")],
)  # fmt: skip
def test_a_number_in_the_middle_is_not_completed(kind: dict[str, Any], begun: str) -> None:
    """The model might have written more digits: what it did not write is not made up."""
    policy = load_model("tiny")
    schema = {"type": "object", "properties": {"a": kind, "b": kind}, "required": ["a", "b"]}
    grammar = JsonGrammar(schema, policy.tokenizer, policy.vocab_size, sorted(policy.end_ids))
    prompt = policy.prompt([{"role": "user", "content": "go"}], grammar=grammar)
    assert prompt.complete(policy.encode(f'{{"a": {begun}'), 60) is None


def test_a_call_of_any_tool_may_be_forced() -> None:
    """The schema is one of them all."""
    found = forced_schema(TOOLS, ToolChoice("any"))
    assert [each["properties"]["name"]["const"] for each in found["anyOf"]] == ["get_weather", "magic_function"]


def test_options_of_calls_are_known() -> None:
    """And a misspelt one is not."""
    with pytest.raises(ValueError, match="did you mean 'tool_choice'"):
        model().invoke("Hi", tool_choise="any")


def test_numbers_that_cannot_be_enforced_exactly_are_refused() -> None:
    """A constant would silently become its neighbour."""
    schema = {"type": "object", "properties": {"a": {"const": 2**53 + 1}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    with pytest.raises(GrammarError, match="digits"):
        model().invoke("Write it.", response_format=wanted)
