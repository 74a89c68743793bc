"""Forty things that a client of OpenAI's endpoint relies on, through `openai` and LangChain's `ChatOpenAI`."""

import asyncio
import json
import socket
import time

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from served import CONFIG, KEY, MODEL, PRESET, idle, served

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.serving.config import ServerConfig

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
    ),
]
BEGAN = int(time.time())  # before any reply
QUESTION = [{"role": "user", "content": "What is 14 + 23?"}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99}, "b": {"type": "integer", "maximum": 99}},
            "required": ["a", "b"],
        },
    },
}
FORCED = {"type": "function", "function": {"name": "add"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "sum", "schema": ADD["function"]["parameters"]}}


class Sum(BaseModel):
    """A sum."""

    a: int
    b: int


@pytest.fixture(scope="module")
def server():
    with served() as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server[0]}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def chat(server):
    return ChatOpenAI(base_url=f"{server[0]}/v1", api_key=KEY, model="sea", max_retries=0)


def ask(client, messages=QUESTION, **options):
    return client.chat.completions.create(model="sea", messages=messages, **options)


@pytest.fixture(scope="module")
def plain(client):
    """The reply to the question and nothing else, with which many behaviours are compared."""
    return ask(client)


@pytest.fixture(scope="module")
def short(client):
    return ask(client, max_tokens=3)


@pytest.fixture(scope="module")
def seeded(client):
    return ask(client, seed=5)


@pytest.fixture(scope="module")
def three(client):
    return ask(client, n=3)


@pytest.fixture(scope="module")
def chunks(client):
    return list(ask(client, stream=True))


@pytest.fixture(scope="module")
def forced(client):
    return ask(client, tools=[ADD], tool_choice=FORCED, max_tokens=64).choices[0]


def refused(client, status, **options):
    """The body of an error of that status."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, **options)
    assert caught.value.status_code == status
    return caught.value


def test_01_the_answer_is_the_models(plain):
    assert plain.choices[0].message.content == MODEL.invoke("What is 14 + 23?").content


def test_02_the_reply_has_openais_form(plain):
    assert (plain.object, plain.model, plain.choices[0].index) == ("chat.completion", "sea", 0)
    assert plain.id.startswith("chatcmpl-")
    assert BEGAN <= plain.created <= time.time()


def test_03_usage_counts_prompt_and_answer(plain):
    usage = plain.usage
    assert usage.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_04_finish_reason_is_stop_at_the_end(client):
    assert ask(client, max_tokens=100).choices[0].finish_reason == "stop"


def test_05_finish_reason_is_length_at_the_limit(short):
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)


def test_06_max_completion_tokens_is_the_same(client, short):
    assert ask(client, max_completion_tokens=3).choices[0].message.content == short.choices[0].message.content


def test_07_the_same_seed_gives_the_same_answer(client, seeded):
    assert ask(client, seed=5).choices[0].message.content == seeded.choices[0].message.content


def test_08_a_seed_is_the_models_own(seeded):
    assert seeded.choices[0].message.content == MODEL.invoke("What is 14 + 23?", seed=5).content


def test_09_n_answers_are_numbered(three):
    assert [choice.index for choice in three.choices] == [0, 1, 2]


def test_10_the_prompt_of_n_answers_is_counted_once(three, plain):
    assert three.usage.prompt_tokens == plain.usage.prompt_tokens


def test_11_a_stop_string_does_not_leave(client, plain):
    whole = plain.choices[0].message.content
    found = ask(client, stop=whole[5:8]).choices[0].message.content
    assert whole[5:8] not in found


def test_12_several_stop_strings(client):
    assert not set("3=") & set(ask(client, stop=["3", "="]).choices[0].message.content)


def test_13_log_probabilities(client):
    found = ask(client, logprobs=True, top_logprobs=2).choices[0]
    assert "".join(token.token for token in found.logprobs.content) == found.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in found.logprobs.content)


def test_14_none_unless_asked(plain):
    assert plain.choices[0].logprobs is None


def test_15_a_system_message_is_taken(client):
    assert ask(client, [{"role": "system", "content": "Add."}, *QUESTION]).choices[0].message.content


def test_16_content_in_parts_is_taken(client, plain):
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is 14 + 23?"}]}]
    assert ask(client, parts).choices[0].message.content == plain.choices[0].message.content


def test_17_an_image_is_refused_with_its_reason(client):
    parts = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    assert "image" in refused(client, 400, messages=parts).message


def test_18_a_stream_is_the_same_text(chunks, plain):
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == plain.choices[0].message.content


def test_19_a_streams_chunks_have_one_id_and_one_end(chunks):
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"


def test_20_usage_at_a_streams_end_if_asked(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_21_a_forced_call(forced):
    (call,) = forced.message.tool_calls
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("add", {"a", "b"})
    assert forced.finish_reason == "tool_calls"


def test_22_required_forces_some_call(client):
    assert ask(client, tools=[ADD], tool_choice="required", max_tokens=64).choices[0].message.tool_calls


def test_23_none_shows_no_tool(client):
    assert ask(client, tools=[ADD], tool_choice="none").choices[0].message.tool_calls is None


def test_24_a_streamed_call_is_the_same(client, forced):
    whole = forced.message.tool_calls[0]
    parts = [
        c.choices[0].delta.tool_calls[0]
        for c in ask(client, tools=[ADD], tool_choice=FORCED, max_tokens=64, stream=True)
        if c.choices[0].delta.tool_calls
    ]
    assert parts[0].id
    assert parts[0].function.name == "add"
    assert json.loads("".join(p.function.arguments for p in parts)) == json.loads(whole.function.arguments)


def test_25_a_tools_result_goes_back(client):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 14, "b": 23}'}}
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "37"},
    ]
    assert ask(client, history, tools=[ADD]).choices[0].message.content


def test_26_a_schema_is_kept(client):
    Sum.model_validate_json(ask(client, response_format=SCHEMA, max_tokens=64).choices[0].message.content)


def test_27_a_json_object(client):
    assert isinstance(
        json.loads(ask(client, response_format={"type": "json_object"}, max_tokens=64).choices[0].message.content), dict
    )


def test_28_no_key_no_answer(server):
    bare = openai.OpenAI(base_url=f"{server[0]}/v1", api_key="wrong", max_retries=0)
    assert refused(bare, 401).code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        bare.models.list()


def test_29_every_key_opens(server):
    assert ask(openai.OpenAI(base_url=f"{server[0]}/v1", api_key="another", max_retries=0)).choices


def test_30_the_models_are_listed_with_what_may_be_chosen(client):
    (model,) = client.models.list().data
    assert model.id == "sea"
    assert model.sea == {"rewards": ["arithmetic"], "presets": ["default", "paper"], "budgets": ["quick"]}


def test_31_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="served is 'sea'"):
        client.chat.completions.create(model="gpt-9", messages=QUESTION)


def test_32_reward_preset_and_budget_by_name(client):
    found = ask(client, extra_body={"sea": {"reward": "arithmetic", "preset": "paper", "budget": "quick"}})
    assert found.choices[0].sea["steps"] == 0
    assert found.choices[0].sea["preset"] == "paper"


@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "os.system", "safety", ""])
def test_33_a_reward_that_is_not_listed_is_refused(client, value):
    assert refused(client, 400, extra_body={"sea": {"reward": value}}).code == "unknown_reward"


def test_34_the_refinement_is_told_beside_the_answer(plain):
    sea = plain.choices[0].sea
    assert sea["score_after"] >= sea["score_before"]


def test_35_an_unknown_key_is_refused_not_ignored(client):
    assert "temprature" in refused(client, 400, extra_body={"temprature": 1}).message


def test_36_more_than_may_be_asked_is_refused(client):
    assert "200" in refused(client, 400, max_tokens=201).message
    assert "8" in refused(client, 400, n=9).message


def test_37_a_prompt_that_is_too_long_is_told_by_its_code(client):
    assert refused(client, 400, messages=[{"role": "user", "content": "1 + " * 3000}]).code == "context_length_exceeded"


def test_38_a_reward_that_fails_is_a_server_error_and_no_answer():
    def broken(prompt, completions):
        raise ConnectionRefusedError("no judge there")

    model = SEAChatModel(
        model="tiny", rewards=[broken], on_reward_error="error", max_retries=0, plan="tiny", max_tokens=8
    )
    with served(model, ServerConfig()) as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert refused(client, 503).code == "reward_unavailable"
        with pytest.raises(openai.APIError, match="reward"):  # in a stream it is the last event
            list(ask(client, stream=True))


def test_39_too_many_at_once_are_told_when_to_come_again():
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=10, max_time=None), preset=PRESET, max_tokens=24)
    with served(model, ServerConfig(max_requests=2)) as (url, app):
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        async def one():
            try:
                return await client.chat.completions.create(model="sea", messages=QUESTION)
            except openai.RateLimitError as error:
                return int(error.response.headers["retry-after"])

        async def all_of_them():
            return await asyncio.gather(*[one() for _ in range(8)])

        found = asyncio.run(all_of_them())
        waits = [each for each in found if isinstance(each, int)]
        assert 0 < len(waits) < 8
        assert min(waits) >= 1
        assert app.state.handler.slots.num_taken == 0


def test_40_a_client_that_leaves_ends_its_refinement():
    """At the next step, the place is free and the queue is empty."""

    model = SEAChatModel(model="tiny", budget=Budget(max_steps=100_000, max_time=None), preset=PRESET, max_tokens=24)
    with served(model, ServerConfig()) as (url, app):
        body = json.dumps({"model": "sea", "messages": QUESTION}).encode()
        host, port = url.removeprefix("http://").split(":")
        raw = socket.create_connection((host, int(port)))
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        until = time.monotonic() + 60
        while not app.state.handler.slots.num_taken and time.monotonic() < until:
            time.sleep(0.02)
        assert app.state.handler.slots.num_taken == 1
        raw.close()
        while app.state.handler.slots.num_taken and time.monotonic() < until:
            time.sleep(0.02)
        assert app.state.handler.slots.num_taken == 0
        assert idle(load_model("tiny"))


def test_41_langchains_client_invokes_streams_and_calls(chat):
    message = chat.invoke("What is 14 + 23?")
    assert message.content == MODEL.invoke("What is 14 + 23?").content
    assert message.usage_metadata["total_tokens"] > 0
    assert "".join(chunk.content for chunk in chat.stream("What is 14 + 23?")) == message.content
    (call,) = chat.bind_tools([ADD], tool_choice="add").invoke("What is 14 + 23?", max_tokens=64).tool_calls
    history = [
        HumanMessage("What is 14 + 23?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("37", tool_call_id=call["id"]),
    ]
    assert chat.invoke(history).content is not None


def test_42_langchains_structured_output(chat):
    for method in ("json_schema", "function_calling"):
        assert isinstance(
            chat.with_structured_output(Sum, method=method).invoke("What is 14 + 23?", max_tokens=64), Sum
        )


def test_43_the_metrics_count_what_left(client, server):
    import urllib.request

    request = urllib.request.Request(f"{server[0]}/metrics", headers={"Authorization": f"Bearer {KEY}"})  # noqa: S310 - loopback

    def counted():
        with urllib.request.urlopen(request) as reply:  # noqa: S310 - loopback
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("sea_answers_total"))

    before = counted()
    ask(client)
    assert counted() == before + 1


def test_44_limits_are_those_of_the_file():
    config = ServerConfig.from_table(
        {"api_keys": ["k"], "max_tokens": 5, "presets": ["paper"], "budgets": {"quick": {"max_steps": 1}}}
    )
    assert (config.api_keys, config.max_tokens, config.presets) == (("k",), 5, ("paper",))
    assert config.budgets["quick"].max_steps == 1
    with pytest.raises(ValueError, match="did you mean 'max_tokens'"):
        ServerConfig.from_table({"max_token": 5})
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        ServerConfig.from_table({"presets": ["papr"]})
    assert CONFIG.max_requests == 8


def test_45_an_open_door_is_for_loopback_alone():
    """And a wrong setting is found before anything starts."""
    from langchain_sea.serving.ray_serve import serve

    with pytest.raises(ValueError, match="set api_keys"):
        serve({"model": "tiny"}, host="0.0.0.0")  # noqa: S104 - refused
    with pytest.raises(ValueError, match="did you mean 'model'"):
        serve({"modle": "tiny"})


def test_requests_without_a_seed_differ_unless_the_settings_name_one(client, plain):
    """Clients that ask for a question's best of n answers need n answers, and not one n times."""
    warm = SEAChatModel(
        model="tiny", rewards=[], temperature=2.0, budget=Budget(max_steps=0), preset=PRESET, max_tokens=8
    )
    with served(warm) as (url, _):
        drawn = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        texts = {ask(drawn, extra_body={"extra_body": {}}).choices[0].message.content for _ in range(6)}
        assert len(texts) > 1
        named = {ask(drawn, seed=5).choices[0].message.content for _ in range(2)}
        assert len(named) == 1
    assert ask(client).choices[0].message.content == plain.choices[0].message.content
