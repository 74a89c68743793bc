"""`SEALLM` answers as the chat model does, in every way in which LlamaIndex asks, and loses no figure."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from doubles import SMALL_PRESET
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea import Budget, SEAChatModel
from langchain_sea.errors import ExtraMissingError
from langchain_sea.models import loading

QUESTION = "What is 14 + 23?"


@pytest.fixture(scope="module")
def core():
    """LlamaIndex, which takes seconds to import: not where a process only collects these tests."""
    import llama_index.core

    return llama_index.core


@pytest.fixture(scope="module")
def interop(core):
    import langchain_sea.interop.llama_index

    return langchain_sea.interop.llama_index


@pytest.fixture(scope="module")
def messages(core):
    message = core.llms.ChatMessage
    return [message(role="system", content="You add numbers."), message(role="user", content=QUESTION)]


@pytest.fixture(scope="module")
def llm(interop):
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=1), preset=SMALL_PRESET, max_tokens=4)
    return interop.SEALLM(chat_model=model)


async def collect(stream):
    return [part async for part in await stream]


async def test_all_ways_to_ask_give_the_models_answer(llm, interop, messages):
    """A text and a conversation, whole and in parts, in a thread and on the event loop."""
    asked = [interop.to_langchain_messages(each) for each in (messages[1:], messages)]
    alone, conversation = (llm.chat_model.invoke(each).content for each in asked)
    assert llm.complete(QUESTION).text == (await llm.acomplete(QUESTION)).text == alone
    assert llm.chat(messages).message.content == (await llm.achat(messages)).message.content == conversation
    streams = [list(llm.stream_complete(QUESTION)), await collect(llm.astream_complete(QUESTION))]
    for parts in streams:
        assert "".join(part.delta for part in parts) == parts[-1].text == alone
    for parts in [list(llm.stream_chat(messages)), await collect(llm.astream_chat(messages))]:
        assert "".join(part.delta for part in parts) == parts[-1].message.content == conversation


def test_figures_and_the_report_arrive(llm):
    """LangChain's `response_metadata` and the numbers of tokens."""
    response, message = llm.complete(QUESTION), llm.chat_model.invoke(QUESTION)
    assert response.raw["sea"]["draft"] == message.response_metadata["sea"]["draft"]
    assert response.raw["finish_reason"] == message.response_metadata["finish_reason"]
    assert response.additional_kwargs["completion_tokens"] == message.usage_metadata["output_tokens"]
    assert list(llm.stream_complete(QUESTION))[-1].additional_kwargs == response.additional_kwargs


def test_options_of_a_call_are_those_of_the_model(llm):
    """They reach the model, and unknown ones are refused by it."""
    assert llm.complete(QUESTION, max_tokens=2).additional_kwargs["completion_tokens"] == 2
    with pytest.raises(ValueError, match="max_token"):
        llm.complete(QUESTION, max_token=2)


def test_metadata_is_the_models(interop):
    """LlamaIndex cuts documents by the context window, less the answer."""
    metadata = interop.SEALLM(chat_model=SEAChatModel(model="tiny", max_tokens=77)).metadata
    assert (metadata.context_window, metadata.num_output, metadata.model_name) == (512, 77, "tiny")
    assert metadata.is_chat_model
    assert not metadata.is_function_calling_model


def test_an_answer_leaves_room_for_a_prompt(interop, core):
    """LlamaIndex subtracts its length from the context window; both are 512 by default."""
    from llama_index.core.indices.prompt_helper import PromptHelper

    metadata = interop.SEALLM(chat_model=SEAChatModel(model="tiny")).metadata
    assert metadata.num_output == 256
    helper = PromptHelper.from_llm_metadata(metadata)
    texts = helper.repack(core.PromptTemplate("Sum up: {context_str}"), ["one two three " * 200])
    assert len(texts) > 1


def test_the_context_window_is_that_of_the_configuration_or_of_the_loaded_model(interop, tmp_path, monkeypatch):
    """A hub id's configuration is in the hub's cache; what has none is loaded."""
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 77}')
    monkeypatch.setattr(loading, "where", lambda _: SimpleNamespace(path=tmp_path))
    models = [SEAChatModel(model=name, rewards=["safety"]) for name in ("someone/unseen", "model.gguf")]
    assert interop.SEALLM(chat_model=models[0]).metadata.context_window == 77
    monkeypatch.setattr(loading, "where", lambda _: SimpleNamespace(path=tmp_path / "model.gguf"))
    monkeypatch.setattr(SEAChatModel, "_load_policy", lambda _: SimpleNamespace(context=99))
    assert interop.SEALLM(chat_model=models[1]).metadata.context_window == 99


def test_messages_of_every_role_are_converted(core, interop):
    """With the calls of an assistant and the results of its tools."""
    message, types = core.llms.ChatMessage, core.base.llms.types
    call = types.ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"a": 1})
    messages = [
        message(role="developer", content="Be short."),
        message(role="user", blocks=[types.TextBlock(text="a"), types.TextBlock(text="b")]),
        message(role="assistant", blocks=[types.TextBlock(text="I add."), call]),
        message(role="tool", content="3", additional_kwargs={"tool_call_id": "1"}),
        message(role="model", content="3"),
    ]
    calls = [{"name": "add", "args": {"a": 1}, "id": "1", "type": "tool_call"}]
    assert interop.to_langchain_messages(messages) == [
        SystemMessage("Be short."),
        HumanMessage("a\nb"),
        AIMessage("I add.", tool_calls=calls),
        ToolMessage("3", tool_call_id="1"),
        AIMessage("3"),
    ]


def test_an_image_is_refused(llm, core):
    """The model would answer without having seen it."""
    image = core.base.llms.types.ImageBlock(url="https://example.org/a.png")
    message = core.llms.ChatMessage(role="user", blocks=[image])
    with pytest.raises(ValueError, match="block of the type 'image'"):
        llm.chat([message])


def test_a_refused_answer_has_the_words_of_the_refusal(interop):
    """As LangChain's text of the message has."""
    refusing = SEAChatModel(
        model="tiny", budget=Budget(max_steps=0), preset=SMALL_PRESET, max_tokens=4, gate=lambda p, c: [0.0] * len(c)
    )
    text = interop.SEALLM(chat_model=refusing).complete(QUESTION).text
    assert text
    assert text == refusing.invoke(QUESTION).text


def test_a_query_engine_answers(llm, core):
    """From documents, by the prompts of LlamaIndex."""
    index = core.SummaryIndex.from_documents([core.Document(text="14 + 23 is 37.")])
    response = index.as_query_engine(llm=llm, response_mode="simple_summarize").query(QUESTION)
    assert str(response)
    assert response.source_nodes[0].text == "14 + 23 is 37."


def test_without_the_extra_the_error_says_what_to_install(interop, monkeypatch):
    monkeypatch.delitem(sys.modules, "langchain_sea.interop.llama_index")
    monkeypatch.setitem(sys.modules, "llama_index.core.base.llms.types", None)
    with pytest.raises(ExtraMissingError, match=r"langchain-sea\[llama-index\]"):
        __import__("langchain_sea.interop.llama_index")
