"""Tool calls in the forms of many families of models: all are read, and nothing of a text is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

from call_forms import CASES, CLOSINGS, FORMS, MARKED, TOOLS, disturb, judge

from langchain_sea.chat.tools import read_answer

MARKERS = ("<tool_call>", "[TOOL_CALLS]", "<|tool_call|>", "functools[", "<|python_tag|>", "Action:", "</tool_call>")
PIECES = st.sampled_from(
    [*MARKERS, '{"name": "add", "arguments": {"a": 1}}', "[now()]", "{", "}", "[", '"', "see", " "]
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read_whatever_is_around_it(form: str, case: str) -> None:
    assert judge(*disturb(form, case)) == (False, False)


@settings(max_examples=200)
@given(form=st.sampled_from(sorted(MARKED)), city=st.text(max_size=20), words=st.sampled_from(["", "I will look."]))
def test_arguments_arrive_as_they_were_written(form: str, city: str, words: str) -> None:
    """Whatever a string holds."""
    call = ("get_weather", {"city": city + CLOSINGS})
    read = read_answer(f"{words}{FORMS[form]([call])}", TOOLS)
    assert [(each["name"], each["args"]) for each in read.calls] == [call]
    assert read.content == words


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=8))
def test_nothing_of_a_text_is_lost(pieces: list[str]) -> None:
    """Each word stands once, so that none is counted for another."""
    words = [f"word{number}" for number in range(len(pieces) + 1)]
    text = words[0] + "".join(f"{piece}{word}" for piece, word in zip(pieces, words[1:], strict=True))
    read = read_answer(text, TOOLS)
    if not read.calls and not read.invalid:
        assert read.content == text
    kept = f"{read.content} {[each['args'] for each in (*read.calls, *read.invalid)]}"
    assert [word for word in words if word not in kept] == []


@pytest.mark.parametrize(
    "text",
    [
        "Use the <tool_call> tag to call tools.",
        'Write it as <tool_call>{"name": …}</tool_call>, you see.',
        '{"name": "Ada", "age": 36}',
        '{"name": "my-app", "version": "1.0.0"}',
        '[{"name": "Ada", "age": 36}]',
        '{"name": "get_weather", "city": "Rome"}',
        "[see(below)]",
        "Action: I went home.",
        "Action: [1] see the note.",
        "We have functools[0] here.",
    ],
)
def test_words_and_data_stay_words(text: str) -> None:
    read = read_answer(text, TOOLS)
    assert (read.content, read.calls, read.invalid) == (text, (), ())


@pytest.mark.parametrize("arguments", ["", ', "arguments": {}', ', "arguments": null', ', "arguments": ""'])
def test_a_tool_that_takes_nothing_is_called_in_many_ways(arguments: str) -> None:
    read = read_answer(f'<tool_call>\n{{"name": "now"{arguments}}}\n</tool_call>', TOOLS)
    assert [(each["name"], each["args"]) for each in read.calls] == [("now", {})]


@pytest.mark.parametrize("value", ["{1: 2}", "{[1]: 2}", "{1, 2}", "b'x'", "...", "1j", "f(1)", "**x"])
def test_what_json_cannot_hold_is_no_argument(value: str) -> None:
    """And is never raised."""
    text = f"<|python_tag|>[add({value if value == '**x' else f'a={value}'})]"
    read = read_answer(text, TOOLS)
    assert (read.calls, [each["name"] for each in read.invalid]) == ((), ["add"])


def test_numbers_that_are_none_are_no_arguments() -> None:
    read = read_answer('<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>', TOOLS)
    assert (read.calls, [each["name"] for each in read.invalid]) == ((), ["add"])


def test_words_of_json_are_values_in_pythonic_calls() -> None:
    read = read_answer("<|python_tag|>[add(a=null, b=[true, false], c={'d': -1})]", TOOLS)
    assert read.calls[0]["args"] == {"a": None, "b": [True, False], "c": {"d": -1}}
