"""What callers of a chat model rely on: keys, profiles, log-probabilities, events, errors, streams."""

from __future__ import annotations

import asyncio
import copy
import operator
import pickle
import time
from dataclasses import replace
from functools import reduce

import pytest
import torch
from doubles import SMALL_PLAN, SMALL_PRESET, with_fields
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool
from models import CHATML, tiny_tokenizer
from pydantic import BaseModel, Field
from scripted_policy import make_scripted_policy
from slow_cases import first_fast
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.chat import prepare
from langchain_sea.chat.errors import ContentError
from langchain_sea.chat.logprobs import compute_logprobs
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.responses import _HAS_REFUSAL_BLOCKS, REFUSAL, choose_answer, to_chat_result, to_chunks
from langchain_sea.engine.engines import get_engine
from langchain_sea.errors import OutOfMemoryError, PromptTooLongError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.presets import PRESETS
from langchain_sea.serving.protocol import make_deltas

SMALL = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 4}
LONG = {"budget": Budget(max_steps=1, max_time=None), "plan": SMALL_PLAN, "max_tokens": 18}
QUESTION = "What is 14 + 23?"
# settings of core's own, none of which decides an answer
CORES = {
    "name", "cache", "verbose", "callbacks", "tags", "metadata", "custom_get_token_ids", "rate_limiter",
    "disable_streaming", "output_version", "profile",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return SEAChatModel(model="tiny", **SMALL)


@pytest.fixture(scope="module")
def message(model):
    """The answer to the question."""
    return model.invoke(QUESTION)


def pickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - our own


def longest(prompt, completions):
    return [float(len(text)) for text in completions]


OTHERS = {
    "model": "tiny/expert", "rewards": [longest], "preset": "paper", "budget": Budget(max_steps=3), "seed": 1,
    "gate": longest, "gate_threshold": 0.4, "on_reward_error": "error", "temperature": 0.5, "max_tokens": 9,
    "stop": ["x"], "parallel_tool_calls": False, "max_reasoning_tokens": 5, "refine_reasoning": True, "timeout": 3,
    "on_timeout": "error", "n": 2, "logprobs": True, "top_logprobs": 2,
    "plan": "tiny", "max_retries": 0, "streaming": True, "draft_model": SEAChatModel(model="tiny", seed=7), "device": "cpu",
    "device_map": "auto", "dtype": "float32", "quantization": "int8", "compile_layers": True,
    "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("field", sorted(set(SEAChatModel.model_fields) - CORES))
def test_every_setting_has_a_part_in_the_cache_key(field):
    """A setting that is added, and not to the key, fails here."""
    plain, changed = (SEAChatModel(model="tiny"), SEAChatModel(**({"model": "tiny"} | {field: OTHERS[field]})))
    assert plain._get_llm_string() != changed._get_llm_string()
    assert plain._get_llm_string() == SEAChatModel(model="tiny")._get_llm_string()


def test_it_says_what_it_is(model):
    assert not SEAChatModel.is_lc_serializable()
    assert "langchain-sea" in model.metadata["lc_versions"]
    assert model.profile["max_input_tokens"] == load_model("tiny").context
    assert model.profile["tool_calling"]
    assert not model.profile["image_inputs"]
    assert SEAChatModel(model="someone/unseen").profile is None


def test_a_folder_says_what_it_can(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 77}')
    assert SEAChatModel(model=str(tmp_path), rewards=[longest]).profile["max_input_tokens"] == 77


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_answer_alike(model, message, copied):
    assert copied(model).invoke(QUESTION).content == message.content


def test_configuring_loads_nothing_again(model):
    policy = load_model("tiny")
    free = model.configurable_fields(seed=ConfigurableField(id="seed"))
    found = free.with_config(configurable={"seed": 3}).invoke(QUESTION)
    assert found.response_metadata["sea"]["seed"] == 3
    assert load_model("tiny") is policy


def test_tokens_of_messages_are_those_of_the_prompt(model):
    @tool
    def weather(city: str) -> str:
        """Of a city."""
        return city

    messages = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    counted = model.get_num_tokens_from_messages(messages)
    assert counted == model.invoke(messages, max_tokens=1).usage_metadata["input_tokens"]
    shown = model.get_num_tokens_from_messages(messages, [weather])
    assert shown == model.bind_tools([weather]).invoke(messages, max_tokens=1).usage_metadata["input_tokens"] > counted


def test_n_answers_are_those_of_n_seeds(model):
    found = model.generate([[HumanMessage(QUESTION)]], n=2).generations[0]
    apart = [model.invoke(QUESTION, seed=seed).content for seed in range(2)]
    assert [each.message.content for each in found] == apart
    with pytest.raises(ValueError, match="a stream holds one answer"):
        list(model.stream(QUESTION, n=2))
    with pytest.raises(ValueError, match=r"n: .* greater than or equal to 1"):
        model.invoke(QUESTION, n=0)


def test_log_probabilities_are_the_policys(model, message):
    without, message = message, model.invoke(QUESTION, top_logprobs=2)
    entries = message.response_metadata["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == message.content
    nll = -sum(entry["logprob"] for entry in entries) / len(entries)
    assert nll == pytest.approx(message.response_metadata["sea"]["nll_after"], abs=1e-4)
    for entry in entries:
        best, second = (other["logprob"] for other in entry["top_logprobs"])
        assert best >= second
        assert best >= entry["logprob"]
    assert "top_logprobs" in model.invoke(QUESTION, logprobs=True).response_metadata["logprobs"]["content"][0]
    assert "logprobs" not in without.response_metadata


def make_sentencepiece():
    """A tokenizer with tokens of bytes, which decodes no space at the beginning of a text."""
    words = ["<unk>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "H", "e", "a"]
    bpe = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token=words[0], byte_fallback=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    bpe.decoder = decoders.Sequence(parts)
    special = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


@pytest.mark.parametrize("make_tokenizer", [tiny_tokenizer, make_sentencepiece])
def test_bytes_of_log_probabilities_are_those_of_the_text(make_tokenizer):
    scripted = make_scripted_policy(make_tokenizer(), chat_template=CHATML)
    text = "He é😀 � a"
    prompt = scripted.prompt([{"role": "user", "content": "a"}])
    entries = compute_logprobs(scripted, prompt, text, 1)
    assert "�" in [entry["token"] for entry in entries]  # parts of a character
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == text
    assert all(bytes(entry["bytes"]).decode(errors="replace") == entry["token"] for entry in entries)


class Steps(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_custom_event(self, name, data, *, run_id, tags=None, metadata=None, **kwargs):
        self.seen.append((name, data))


class AsyncSteps(AsyncCallbackHandler):
    def __init__(self):
        self.seen = []

    async def on_custom_event(self, name, data, *, run_id, tags=None, metadata=None, **kwargs):
        await asyncio.sleep(0)
        self.seen.append((name, data))


def check(seen):
    """The plan comes when the draft is written, and then every step."""
    (plan_event, plan), *steps = seen
    assert plan_event == "sea_plan"
    assert set(plan) == {"draft_seconds", "plan", "draws", "rounds", "seconds"}
    assert plan["draft_seconds"] > 0
    assert [name for name, _ in steps] == ["sea_step"] * (SMALL["budget"].max_steps + 1)
    assert [data["step"] for _, data in steps] == list(range(len(steps)))
    assert all(set(data) == {"step", "score", "seconds"} for _, data in steps)


def test_steps_are_told(model):
    alone, chained = Steps(), Steps()
    model.invoke(QUESTION, {"callbacks": [alone]})
    check(alone.seen)
    (RunnableLambda(lambda text: text) | model).invoke(QUESTION, {"callbacks": [chained]})
    check(chained.seen)
    streamed = Steps()
    list((RunnableLambda(lambda text: text) | model).stream(QUESTION, {"callbacks": [streamed]}))
    check(streamed.seen)


async def test_steps_are_told_beside_a_loop(model):
    both = AsyncSteps(), Steps()
    await model.ainvoke(QUESTION, {"callbacks": list(both)})
    for handler in both:
        check(handler.seen)
    chain = RunnableLambda(lambda text: text) | model
    events = [e async for e in chain.astream_events(QUESTION, version="v2") if e["event"] == "on_custom_event"]
    check([(event["name"], event["data"]) for event in events])


def test_a_timeout_is_the_best_so_far_or_an_error(model):
    late = {"timeout": 0.01, "max_tokens": 100}
    assert isinstance(model.invoke(QUESTION, **late), AIMessage)
    strict = SEAChatModel(model="tiny", on_timeout="error", **SMALL)
    with pytest.raises(ModelTimeoutError, match="Raise timeout") as caught:
        strict.invoke(QUESTION, **late)
    assert caught.value.refinement.seconds >= late["timeout"]
    assert strict.invoke(QUESTION, timeout=60).content


def test_errors_are_of_both_families(model, monkeypatch, tmp_path):
    with pytest.raises(ContextOverflowError) as caught:
        model.invoke("word " * 5000)
    assert isinstance(caught.value, PromptTooLongError)
    with pytest.raises(ModelNotFoundError):
        SEAChatModel(model=str(tmp_path / "nothing.gguf"), rewards=[longest]).invoke(QUESTION)
    with pytest.raises(ModelInvalidRequestError, match="image_url"):
        model.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])])
    strict = SEAChatModel(model="tiny", on_reward_error="error", **SMALL)
    config, options = strict._settings_of_call(None, {})
    short = _refined(strict)._replace(failure=OutOfMemoryError("no room"))
    with pytest.raises(ModelError) as caught:
        prepare.raise_failure(config, options, short)
    assert isinstance(caught.value, MemoryError)


def _refined(model):
    call = prepare.prepare_call(*model._settings_of_call(None, {}), [HumanMessage(QUESTION)])
    (refinement,) = call.engine.refine(call.requests)
    return refinement


def test_a_refusal_of_the_gate_is_words_and_a_block():
    refusing = SEAChatModel(model="tiny", gate=lambda _, texts: [0.0] * len(texts), **SMALL)
    chunks = list(refusing.stream("Hi"))
    assert "".join(chunk.text for chunk in chunks) == REFUSAL
    for message in (refusing.invoke("Hi"), reduce(operator.add, chunks)):
        assert str(message.text) == REFUSAL
        assert message.response_metadata["finish_reason"] == "content_filter"
        blocks = [block["type"] for block in message.content_blocks]
        assert blocks == (["text", "refusal"] if _HAS_REFUSAL_BLOCKS else ["text"])


@pytest.mark.parametrize("has_blocks", [True, False])
def test_deltas_of_a_refusal_are_no_content(model, monkeypatch, has_blocks):
    monkeypatch.setattr("langchain_sea.chat.responses._HAS_REFUSAL_BLOCKS", has_blocks)  # older versions have none
    answer = choose_answer(_refined(model), 3, lambda _, texts: [0.0] * len(texts), None, [])
    config, options = model._settings_of_call(None, {})
    for sent in ("", "14 +"):  # a gate may reject the whole of what it passed in parts
        chunks = to_chunks(answer, options, config.model_name, sent=sent)
        assert [delta for chunk in chunks for delta in make_deltas(chunk.message)] == [{"refusal": REFUSAL}]


def test_what_was_thought_is_told_apart(model):
    refinement = _refined(model)._replace(text="<think>14 and 23</think>\n\n37")
    answer = choose_answer(refinement, 3, None, None, [])
    config, options = model._settings_of_call(None, {})
    (found,) = to_chat_result([answer], options, config.model_name).generations
    assert found.message.content == "37"
    assert found.message.additional_kwargs["reasoning_content"] == "14 and 23"
    assert found.message.content_blocks[0] == {"type": "reasoning", "reasoning": "14 and 23"}


@pytest.mark.parametrize("messages", [
    [HumanMessage("\ud800")], [HumanMessage([{"type": "text", "text": "a \ude00"}])], [SystemMessage("\ud83d"), HumanMessage("a")],
    [HumanMessage("a"), AIMessage("", tool_calls=[{"name": "f", "args": {"b": ["\ud83d"]}, "id": "1"}])],
])  # fmt: skip
def test_half_a_character_is_refused_by_name(model, messages):
    for use in (model.invoke, model.get_num_tokens_from_messages):
        with pytest.raises(ContentError, match=r"a message holds .*, a lone surrogate"):
            use(messages)


def test_half_a_character_is_refused_wherever_text_is_read(model):
    tool_of_half = {"name": "f", "description": "\ud800", "parameters": {"type": "object", "properties": {}}}
    with pytest.raises(ContentError, match="a tool"):
        model.bind_tools([tool_of_half]).invoke(QUESTION)
    with pytest.raises(ContentError, match="the schema"):
        model.invoke(QUESTION, response_format={"type": "object", "description": "\ud800"})
    with pytest.raises(ContentError, match="the text"):
        model.get_num_tokens("\ud800")
    message = model.model_copy(update={"draft_model": GenericFakeChatModel(messages=iter(["\ud800"]))}).invoke(QUESTION)
    assert "the draft holds" in message.response_metadata["sea"]["draft_model_error"]
    repaired = "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # as the error says
    assert model.get_num_tokens(repaired) == model.get_num_tokens("😀")


def test_speakers_take_turns():
    call = {"name": "add", "args": {}, "id": "1"}
    found = to_template_messages(
        [
            SystemMessage("a"),
            SystemMessage("b"),
            HumanMessage("c"),
            HumanMessage(""),
            HumanMessage("d"),
            HumanMessage("e", name="Ann"),
            AIMessage("f", tool_calls=[call]),
            ToolMessage("g", tool_call_id="1", status="error"),
            ToolMessage("h", tool_call_id="2"),
        ]
    )
    assert [each["content"] for each in found] == ["a\n\nb", "c\n\nd", "e", "f", "Error: g", "h"]


def test_a_template_without_a_system_gets_it_from_the_user():
    policy = load_model("tiny")

    source = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    )
    template = ChatTemplate(policy.tokenizer, source)
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    system = {"role": "system", "content": "s"}
    merged = [{"role": "user", "content": "s\n\nu"}, turns[1]]
    assert template.chat([system, *turns], None) == template.chat(merged, None)


def merged(chunks):
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def test_long_answers_leave_window_by_window(monkeypatch):
    model = SEAChatModel(model="tiny", **LONG, preset=_engine_preset(stride=6))
    chunks = list(model.stream("Tell me the numbers."))
    whole = merged(chunks)
    assert whole.content
    assert whole.response_metadata["sea"]["score_after"] is not None
    assert [chunk.chunk_position for chunk in chunks].count("last") == 1
    again = merged(list(model.stream("Tell me the numbers.")))
    assert again.content == whole.content


async def test_long_answers_leave_beside_a_loop():
    model = SEAChatModel(model="tiny", **LONG, preset=_engine_preset(stride=6))
    found = merged([chunk async for chunk in model.astream("Tell me the numbers.")])
    assert found.content == merged(list(model.stream("Tell me the numbers."))).content


def _engine_preset(**search_config):

    preset = PRESETS["default"]
    return replace(
        preset, search_config=with_fields(preset.search_config, num_drafts=8, num_kept=2, block_size=4, **search_config)
    )


@pytest.mark.parametrize("stop", first_fast([" th", "a"]))
def test_no_stop_string_leaves(stop):
    model = SEAChatModel(model="tiny", **LONG, preset=_engine_preset(stride=6))
    whole = merged(list(model.stream("Tell me the numbers.", stop=[stop]))).content
    assert stop not in whole
    assert stop not in model.invoke("Tell me the numbers.", stop=[stop]).content


def test_a_blocked_text_does_not_leave():
    def gate(prompt, completions):
        return [float(len(text) < 12) for text in completions]

    model = SEAChatModel(model="tiny", **LONG, preset=_engine_preset(stride=6), gate=gate)
    whole = merged(list(model.stream("Tell me the numbers.")))
    assert whole.response_metadata["finish_reason"] == "content_filter"
    left = str(whole.text).removesuffix(REFUSAL).strip()
    assert len(left) < 12


def test_whoever_stops_listening_ends_the_refinement():
    model = SEAChatModel(model="tiny", **LONG, preset=_engine_preset(stride=6))
    stream = model.stream("Tell me the numbers.")
    next(stream)
    stream.close()

    queue = get_engine(load_model("tiny"))
    for _ in range(1200):
        if queue.is_idle:
            break

        time.sleep(0.05)
    assert queue.is_idle


class Note(BaseModel):
    """A note to somebody."""

    to: str = Field(max_length=20)
    body: str
    urgent: bool


def test_strings_within_a_grammar_are_moved_and_stay_whole():
    """The energy's gradient finds other words; names and braces stay."""
    model = SEAChatModel(model="tiny", **SMALL | {"max_tokens": 60}, rewards=["tiny"])
    note = model.with_structured_output(Note, include_raw=True).invoke("Write to Ann about 14 + 23.")
    assert note["parsing_error"] is None
    assert isinstance(note["parsed"], Note)
    refined = note["raw"].response_metadata["sea"]
    assert refined["steps"] > 0
    assert refined["score_after"] >= refined["score_before"]


def test_only_strings_leave_room():

    policy = load_model("tiny")
    ends = sorted(policy.end_ids)
    grammar = JsonGrammar(Note.model_json_schema(), policy.tokenizer, policy.vocab_size, ends)
    ids = policy.encode('{"to": "Ann", "body": "one two", "urgent": true}')
    assert grammar.is_complete(ids)

    support = torch.arange(policy.vocab_size).expand(len(ids), -1)
    fits = grammar.allowed_candidates(ids, support)
    assert fits.gather(1, torch.tensor(ids)[:, None]).all()
    for place, row in enumerate(fits):
        for other in row.nonzero().flatten().tolist()[:8]:
            assert grammar.is_complete([*ids[:place], other, *ids[place + 1 :]])
    texts = [policy.decode([i]) for i in ids]
    free = {text for text, row in zip(texts, fits, strict=True) if int(row.sum()) > 1}
    assert any("two" in text or "o" in text for text in free)
    assert all('"' not in text and "{" not in text for text in free)
