"""Requests of the endpoint: null options, and calls that come back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import ValidationError

from langchain_sea import SEAChatModel
from langchain_sea.serving.config import ServerConfig
from langchain_sea.serving.history import to_langchain_messages
from langchain_sea.serving.protocol import ChatRequest, make_deltas, make_message

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

BASE = {"model": "sea", "messages": [{"role": "user", "content": "Hi"}]}
UNKNOWN = ("prediction", "functions", "function_call", "audio", "reasoning_effort", "service_tier", "invented")


@pytest.mark.parametrize("option", sorted({*ChatRequest.model_fields, *UNKNOWN} - {*BASE}))
def test_null_means_that_nothing_is_given(option: str) -> None:
    """Whether the option is known or not."""
    assert ChatRequest.model_validate({**BASE, option: None}) == ChatRequest.model_validate(BASE)


def test_defaults_change_nothing_and_others_are_refused() -> None:
    """An option that would have an effect is not passed over."""
    defaults = {"logit_bias": {}, "modalities": ["text"], "stream_options": {"include_usage": None}}
    assert ChatRequest.model_validate({**BASE, **defaults}).stream_options is not None
    for option, value in (("logit_bias", {"5": 1}), ("modalities", ["audio"]), ("service_tier", "flex")):
        with pytest.raises(ValidationError):
            ChatRequest.model_validate({**BASE, option: value})


def make_client() -> TestClient:
    """A client of a server in this process, which answers 500 where it fails."""
    client = pytest.importorskip("fastapi.testclient", reason="it comes with the extra ray")
    from langchain_sea.serving.api_server import make_app

    made: TestClient = client.TestClient(make_app(SEAChatModel(model="tiny")), raise_server_exceptions=False)
    return made


def test_the_server_s_limits_hold_for_what_a_request_leaves_out() -> None:
    """The model's own settings may be larger; smaller ones stay."""
    pytest.importorskip("fastapi", reason="it comes with the extra ray")
    from langchain_sea.serving.handlers import ChatHandler

    def options(**limits: int) -> dict[str, Any]:
        handler = ChatHandler(SEAChatModel(model="tiny", max_tokens=60, n=3), ServerConfig(**limits))
        return handler._make_call(ChatRequest.model_validate(BASE)).options

    few = options(max_tokens=5, max_n=2)
    assert (few["max_tokens"], few["n"]) == (5, 2)
    assert not {"max_tokens", "n"} & options(max_tokens=100, max_n=8).keys()


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}", None])
def test_no_arguments_are_an_empty_object(arguments: Any) -> None:
    """However they are written."""
    (message,) = to_langchain_messages([call(arguments)])
    assert isinstance(message, AIMessage)
    assert message.tool_calls[0]["args"] == {}


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "Rome", "[1]", "3"])
def test_what_the_endpoint_returns_it_reads_back(arguments: str) -> None:
    """A call that cannot be read as it was written, beside one that can."""
    sent = call(arguments)
    sent["tool_calls"].append({"id": "2", "type": "function", "function": {"name": "g", "arguments": '{"a": 1}'}})
    (message,) = to_langchain_messages([sent])
    assert isinstance(message, AIMessage)
    assert [c["args"] for c in message.invalid_tool_calls] == [arguments]
    assert [c["args"] for c in message.tool_calls] == [{"a": 1}]
    (again,) = to_langchain_messages([json.loads(json.dumps(make_message(message)))])
    assert isinstance(again, AIMessage)
    assert [c["args"] for c in again.invalid_tool_calls] == [arguments]


def test_nulls_in_messages_are_not_given() -> None:
    """As clients write them that send whole messages back; content may be left out."""
    nulls = {"role": "assistant", "content": "Hi.", "tool_calls": None, "refusal": None, "audio": None, "name": None}
    (message,) = to_langchain_messages([nulls])
    assert message.content == "Hi."
    sent = call("{}")
    del sent["content"]
    assert to_langchain_messages([sent])[0].content == ""


def test_streams_hold_the_reasoning_before_the_text() -> None:
    """As the whole reply has both."""
    chunk = AIMessageChunk("37", additional_kwargs={"reasoning_content": "14 and 23 are 37."})
    assert make_deltas(chunk) == [{"reasoning_content": "14 and 23 are 37."}, {"content": "37"}]


@pytest.mark.parametrize("options", [
    {"tools": [{"type": "web_search"}]}, {"tools": [{"type": "function"}]},
    {"tools": [{"type": "function", "function": {}}]},
    {"tools": [{"type": "function", "function": {"name": "x"}}], "tool_choice": {"function": "x"}},
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_tools_that_are_no_functions_are_mistakes_of_the_request(options: dict[str, Any], *, stream: bool) -> None:
    """With a message that says so."""
    reply = make_client().post("/v1/chat/completions", json={**BASE, **options, "stream": stream})
    assert reply.status_code == (200 if stream else 400)  # of a stream the status is sent before its error
    assert "invalid_request_error" in reply.text
    assert "tool" in reply.text


@pytest.mark.parametrize("changes", [
    {"messages": [{"role": "user", "content": "\ud83d"}]}, {"messages": [{"role": "\ud83d", "content": "a"}]},
    {"tools": [{"type": "function", "function": {"name": "x"}}], "tool_choice": "\ud83d"}, {"model": "\ud83d"},
])  # fmt: skip
def test_half_a_character_is_a_mistake_of_the_request(changes: dict[str, Any]) -> None:
    """Also where the error quotes it."""
    reply = make_client().post(
        "/v1/chat/completions", content=json.dumps({**BASE, **changes}), headers={"content-type": "application/json"}
    )
    assert reply.status_code in (400, 404)
    assert "TextEncodeInput" not in reply.text


@pytest.mark.parametrize("option", ["top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "presence_penalty"])
def test_sampling_options_are_refused_by_name_unless_they_change_nothing(option: str) -> None:
    """As the constructor and `bind` do."""
    neutral = {"top_k": -1, "top_p": 1, "typical_p": 1, "repetition_penalty": 1}.get(option, 0)
    ChatRequest.model_validate({**BASE, option: neutral})
    with pytest.raises(ValidationError, match=option):
        ChatRequest.model_validate({**BASE, option: 0.5})


@pytest.mark.parametrize("calls", [["x"], {"a": 1}, 5, [None]])
def test_calls_that_are_no_list_of_objects_are_refused(calls) -> None:
    """The server answers 400, as for any message of no known form."""
    with pytest.raises(ValueError, match="tool_calls must be a list of objects"):
        to_langchain_messages([{"role": "assistant", "tool_calls": calls}])
