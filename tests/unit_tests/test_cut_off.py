"""An answer that a limit cuts off: the model's own words or an error that names the limit, and nothing filled in."""

from __future__ import annotations

import json
from copy import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel
from slow_cases import first_fast

from langchain_sea import SEAChatModel
from langchain_sea.budget import StopReason
from langchain_sea.chat.cut_off import describe_limit
from langchain_sea.chat.errors import IncompleteAnswerError
from langchain_sea.chat.responses import REFUSAL, GatedAnswer, to_chat_result, to_chunks
from langchain_sea.engine.selection import Refinement
from langchain_sea.errors import GrammarError, OutOfMemoryError
from langchain_sea.models.template_fallbacks import CLOSING, OPENING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.outputs import ChatGenerationChunk, ChatResult


class Person(BaseModel):
    """A person."""

    name: str
    age: int


PEOPLE = st.builds(Person, name=st.text('aé "\\}{', max_size=5), age=st.integers(-10, 1000))
SCHEMAS = st.sampled_from([Person, Person.model_json_schema()])
LIMITS = st.sampled_from([("max_tokens=64", StopReason.STEPS), ("timeout=3.0", StopReason.TIMEOUT)])


def make_refinement(text: str, **values: Any) -> Refinement:
    fields: dict[str, Any] = {"stop_reason": StopReason.STEPS, "is_complete": True} | values
    return Refinement(
        text=text, ids=(5,) * 3, draft=text, before=None, after=None, accepted=False, steps=0, seconds=0.0,
        draft_tokens=3, refine_tokens=0, evaluations=0, **fields,
    )  # fmt: skip


class Typist(SEAChatModel):
    """Answers with a given refinement, whatever is asked."""

    answer: Any

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        _, options = self._settings_of_call(stop, kwargs)
        return to_chat_result([self.answer], options, "typist")

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        _, options = self._settings_of_call(stop, kwargs)
        yield from to_chunks(self.answer, options, "typist")


def typist(text: str, **values: Any) -> Typist:
    refinement = make_refinement(text, **values)
    return Typist(model="tiny", max_tokens=64, timeout=3.0, answer=GatedAnswer(refinement, text, 3, None))


def merge(chunks: Any) -> Any:
    whole: Any = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


@pytest.mark.parametrize("tags", [(OPENING, CLOSING), pytest.param(("", ""), marks=pytest.mark.slow)])
@settings(max_examples=3)
@given(PEOPLE, LIMITS)
def test_a_forced_call_that_is_cut_off_is_invalid(tags: tuple[str, str], person: Person, cut_by: Any) -> None:
    """At every letter, whole or streamed; never with arguments that nobody wrote."""
    (limit, reason), args = cut_by, person.model_dump()
    call = json.dumps({"name": "Person", "arguments": args}, ensure_ascii=False)
    text = f"{tags[0]}{call}{tags[1]}"
    for cut in range(len(text)):
        model = typist(text[:cut], stop_reason=reason, is_complete=False).bind_tools([Person], tool_choice="Person")
        message, streamed = model.invoke("Who?"), merge(model.stream("Who?"))
        for each in (message, streamed):
            assert each.response_metadata["finish_reason"] == "length"
            assert each.response_metadata["sea"]["cut_off_by"] == limit
            assert [c["args"] for c in each.tool_calls] in ([], [args])
            assert each.content == ""
            assert len(each.tool_calls) + len(each.invalid_tool_calls) == 1
        if message.tool_calls:
            assert call in text[:cut]
        else:
            (invalid,) = message.invalid_tool_calls
            assert invalid["name"] == "Person"
            assert describe_limit(limit) in invalid["error"]
    whole = typist(text).bind_tools([Person], tool_choice="Person")
    for each in (whole.invoke("Who?"), merge(whole.stream("Who?"))):
        assert [c["args"] for c in each.tool_calls] == [args]
        assert each.response_metadata["finish_reason"] == "tool_calls"
        assert each.response_metadata["sea"]["cut_off_by"] is None


@pytest.mark.parametrize("method", first_fast(["function_calling", "json_schema", "json_mode"]))
@settings(max_examples=2)
@given(PEOPLE, LIMITS, SCHEMAS)
def test_structured_output_that_is_cut_off_is_an_error(method: str, person: Person, cut_by: Any, schema: Any) -> None:
    """At every letter; the raw message stands beside it."""
    (limit, reason), value = cut_by, person.model_dump()
    call = {"name": "Person", "arguments": value}
    text = json.dumps(call if method == "function_calling" else value, ensure_ascii=False)
    for cut in range(len(text)):
        model = typist(text[:cut], stop_reason=reason, is_complete=False)
        found = model.with_structured_output(schema, method=method, include_raw=True).invoke("Who?")
        assert found["parsed"] is None
        assert isinstance(found["parsing_error"], IncompleteAnswerError)
        assert describe_limit(limit) in str(found["parsing_error"])
        assert found["raw"].response_metadata["finish_reason"] == "length"
    whole = typist(text).with_structured_output(schema, method=method)
    for parsed in (whole.invoke("Who?"), list(whole.stream("Who?"))[-1]):
        assert parsed == (person if schema is Person else value)


def test_the_error_is_of_both_families_and_survives_a_copy() -> None:
    """It holds what the model wrote; a stream raises it, too."""
    model = typist('{"name": "An', is_complete=False).with_structured_output(Person)
    for call in (lambda: model.invoke("Who?"), lambda: list(model.stream("Who?"))):
        with pytest.raises(IncompleteAnswerError, match="max_tokens=64; raise max_tokens") as caught:
            call()
    assert isinstance(caught.value, GrammarError)
    assert isinstance(caught.value, OutputParserException)
    copied = copy(caught.value)
    assert (str(copied), copied.llm_output) == (str(caught.value), '{"name": "An')


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({"is_complete": False}, "max_tokens=64"),
        ({"is_complete": False, "stop_reason": StopReason.SECONDS}, "max_tokens=64"),
        ({"is_complete": False, "stop_reason": StopReason.TIMEOUT}, "timeout=3.0"),
        ({"is_complete": False, "failure": OutOfMemoryError("full")}, "memory"),
        ({"is_complete": True}, None),
        ({"is_complete": True, "stop_reason": StopReason.TIMEOUT}, None),
    ],
)
def test_plain_text_says_which_limit_cut_it_off(values: dict[str, Any], limit: str | None) -> None:
    """An answer that the model ended is not cut off, whatever ended the search for a better one."""
    message = typist("It is 2", **values).invoke("How much?")
    assert message.content == "It is 2"
    assert message.response_metadata["sea"]["cut_off_by"] == limit
    assert message.response_metadata["finish_reason"] == ("stop" if limit is None else "length")


def test_a_full_context_is_not_taken_for_max_tokens() -> None:
    """Raising `max_tokens` would not help."""
    answer = GatedAnswer(make_refinement("{", is_complete=False), "{", 3, None, max_tokens=40)
    model = Typist(model="tiny", max_tokens=64, answer=answer).with_structured_output(Person)
    with pytest.raises(IncompleteAnswerError, match="the model's context; shorten the conversation"):
        model.invoke("Who?")


def test_a_stop_string_within_json_is_named() -> None:
    """More tokens would not help."""
    model = typist('{"name": "Ann').with_structured_output(Person, stop=['"}'])
    with pytest.raises(IncompleteAnswerError, match="leave out the stop strings"):
        model.invoke("Who?")


def test_a_refusal_is_no_call_that_was_cut_off() -> None:
    """Neither a call nor an invalid one, but the gate's text."""
    refusal = GatedAnswer(make_refinement("{", is_complete=False), REFUSAL, 3, {"passed": False})
    model = Typist(model="tiny", answer=refusal).bind_tools([Person], tool_choice="Person")
    message = model.invoke("Who?")
    assert not message.tool_calls
    assert not message.invalid_tool_calls
    assert message.response_metadata["finish_reason"] == "content_filter"
    assert REFUSAL in str(message.text)


def test_calls_before_the_limit_are_kept() -> None:
    """Who runs them learns that more may have followed."""
    call = json.dumps({"name": "Person", "arguments": {"name": "Ann", "age": 3}})
    text = f"{OPENING}{call}{CLOSING}\n{OPENING}{call[:-9]}"
    model = typist(text, is_complete=False).bind_tools([Person])
    for message in (model.invoke("Who?"), merge(model.stream("Who?"))):
        assert [c["args"] for c in message.tool_calls] == [{"name": "Ann", "age": 3}]
        assert [c["name"] for c in message.invalid_tool_calls] == ["Person"]
        assert message.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("text", ['{"name": "launch", "arguments": {}}', '{"name": "Person", "arguments": 3}'])
def test_an_invalid_call_stays_invalid_in_a_stream(text: str) -> None:
    """LangChain takes every JSON object in a chunk for arguments."""
    streamed = merge(typist(f"{OPENING}{text}{CLOSING}").bind_tools([Person]).stream("Who?"))
    assert not streamed.tool_calls
    assert len(streamed.invalid_tool_calls) == 1
