"""Options and rewards as users of LangChain write them."""

import asyncio
import logging
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from doubles import SMALL_PRESET
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from slow_cases import first_fast

from langchain_sea import Budget, RewardTerm, SEAChatModel
from langchain_sea.budget import StopReason
from langchain_sea.chat.aliases import read_options
from langchain_sea.chat.caching import find_cache, is_complete
from langchain_sea.chat.retries import with_new_seed
from langchain_sea.core.code_hash import hash_code
from langchain_sea.rewards import FunctionReward, MathVerifier, PatternRule
from langchain_sea.rewards.registry import describe_reward

SMALL = {"model": "tiny", "budget": Budget(max_steps=0, max_time=None), "preset": SMALL_PRESET, "max_tokens": 4}
QUESTION = "What is 14 + 23?"


def shortest(prompt, completions):
    return [-float(len(text)) for text in completions]


async def ashortest(prompt, completions):
    return shortest(prompt, completions)


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.mark.parametrize("reward", ["safety", shortest, RewardTerm(reward=shortest, name="x")])
def test_one_reward_is_a_list_of_one(reward):
    assert SEAChatModel(model="tiny", rewards=reward).rewards == [reward]


def test_options_have_other_names():
    model = SEAChatModel(model="tiny", max_completion_tokens=7, stop_sequences="x", api_key="secret", top_p=1.0)
    assert (model.max_tokens, model.stop) == (7, ["x"])
    assert "secret" not in repr(model)
    _, options = model._settings_of_call("END", {"max_completion_tokens": 5})
    assert (options.max_tokens, options.stop) == (5, ("END",))
    with pytest.raises(ValueError, match="two names"):
        read_options({"max_tokens": 1, "max_completion_tokens": 2})


@pytest.mark.parametrize("option", ["top_p", "top_k", "min_p", "repetition_penalty"])
def test_sampling_options_are_refused_by_name_when_the_chain_is_built(option):
    with pytest.raises(ValueError, match=f"{option}=0.5 is not supported"):
        SEAChatModel(model="tiny", **{option: 0.5})
    with pytest.raises(ValueError, match=f"{option}=0.5 is not supported"):
        SEAChatModel(model="tiny").bind(**{option: 0.5})


@pytest.mark.parametrize("wrong", [
    {"seed": 1.5}, {"seed": "x"}, {"seed": -1}, {"max_tokens": 2.5}, {"max_tokens": 0}, {"timeout": "soon"},
    {"top_logprobs": -1}, {"top_logprobs": 21}, {"n": 0}, {"temperature": float("nan")}, {"budget": 5},
    {"budget": {"max_tiem": 5}}, {"budget": {"max_time": -1}}, {"max_reasoning_tokens": 0}, {"logprobs": "perhaps"},
])  # fmt: skip
def test_a_call_checks_values_as_the_constructor_does(wrong):
    pattern = next(iter(wrong["budget"] if isinstance(wrong.get("budget"), dict) else wrong))
    with pytest.raises(ValueError, match=pattern):
        SEAChatModel(model="tiny", **wrong)
    with pytest.raises(ValueError, match=pattern):
        SEAChatModel(**SMALL).invoke(QUESTION, **wrong)


def test_a_call_reads_values_as_the_constructor_does():
    given = {"budget": {"max_time": 5}, "max_tokens": "32", "timeout": "5", "seed": np.int64(3), "n": np.int32(2)}
    _, options = SEAChatModel(model="tiny")._settings_of_call(None, given)
    assert (options.budget, options.max_tokens, options.timeout) == (Budget(max_time=5), 32, 5.0)
    assert (options.seed, options.n, type(options.seed)) == (3, 2, int)
    _, changed = SEAChatModel(model="tiny").model_copy(update=given)._settings_of_call(None, {})
    assert changed == options


def test_none_in_a_call_is_the_models_own_value():
    own = {"budget": Budget(max_time=3), "seed": 7, "max_tokens": 9, "n": 2, "refine_reasoning": True, "timeout": 4}
    _, options = SEAChatModel(model="tiny", **own)._settings_of_call(None, dict.fromkeys([*own, "preset", "logprobs"]))
    assert {name: getattr(options, name) for name in own} == own | {"timeout": None}  # None is a value of its own there
    assert with_new_seed({"seed": None}, ["retry:attempt:2"], 0)["seed"] != 0


@pytest.mark.parametrize("blank", ["", [""]])
def test_an_empty_stop_string_ends_nothing(blank):
    assert SEAChatModel(model="tiny", stop=blank).stop == []
    assert SEAChatModel(**SMALL).invoke(QUESTION, stop=["", *blank]).text
    _, options = SEAChatModel(model="tiny", stop="x")._settings_of_call(blank, {})
    assert options.stop == ("x",)


def test_parallel_tool_calls_and_a_single_tool():
    model = SEAChatModel(**SMALL | {"max_tokens": 48}).bind_tools(add, tool_choice="add", parallel_tool_calls=False)
    assert len(model.invoke("What is 1 + 2?").tool_calls) == 1


def single(text):
    return 0.0


@pytest.mark.parametrize("wrong", [{"model": object()}, {"rewards": single}, {"rewards": [5]}, {"gate": single}])
def test_what_cannot_work_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match=r"model|reward|gate"):
        SEAChatModel(**({"model": "tiny"} | wrong))


@pytest.mark.parametrize(
    "reward", first_fast([shortest, ashortest, MathVerifier(gold="37"), FunctionReward(shortest)], 2)
)
def test_terms_of_functions(reward):
    term = RewardTerm(reward=reward, name="x", weight=2.0)
    sea = SEAChatModel(rewards=term, **SMALL).invoke(QUESTION).response_metadata["sea"]
    assert sea["failure"] is None
    assert "x" in sea["rewards_after"]


def test_a_reward_that_fails_is_heard_of_once(caplog):
    def broken(prompt, completions):
        raise KeyError("no such row")

    model = SEAChatModel(rewards=broken, **SMALL)
    with caplog.at_level(logging.WARNING):
        counts = [model.invoke(QUESTION).response_metadata["sea"]["failures_in_a_row"] for _ in range(2)]
    assert counts == [1, 2]
    assert sum("'broken'" in record.getMessage() for record in caplog.records) == 1


def test_the_cache_key_knows_the_code():
    def make(limit):
        def reward(prompt, completions):
            return [float(len(text) < limit) for text in completions]

        return reward

    assert hash_code(make(1)) == hash_code(make(1)) != hash_code(make(2))
    one, other = (lambda p, c: [0.0 for _ in c]), (lambda p, c: [1.0 for _ in c])
    keys = [SEAChatModel(model="tiny", rewards=each)._get_llm_string() for each in (one, other)]
    assert keys[0] != keys[1]


def score_first_letter(letter, prompt, completions):
    return [float(text.startswith(letter)) for text in completions]


class Scorer:
    """Its fields cannot be seen from outside."""

    __slots__ = ("limit",)

    def __init__(self, limit):
        self.limit = limit

    def score_texts(self, prompt, completions):
        return [float(len(text) < self.limit) for text in completions]


@pytest.mark.parametrize(
    "make", [PatternRule, MathVerifier, lambda text: partial(score_first_letter, text), lambda text: PatternRule(text).__call__]
)  # fmt: skip
def test_the_cache_key_knows_the_fields(make):
    """Those of a rule, and what a partial function or a bound method holds; also in another process."""
    assert describe_reward(make("1")) == describe_reward(make("1")) != describe_reward(make("2"))
    code = (
        "from langchain_sea.rewards import PatternRule; from langchain_sea.rewards.registry import describe_reward; "
        "print(describe_reward(PatternRule('1')))"
    )
    if make is PatternRule:
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        assert shown == describe_reward(PatternRule("1"))


def test_an_object_at_the_address_of_a_freed_one_has_a_key_of_its_own():
    """Else a cache would return the answers of another reward."""
    for make in (Scorer, lambda limit: Scorer(limit).score_texts):
        assert len({describe_reward(make(limit)) for limit in range(50)}) == 50
    kept = Scorer(1)
    assert describe_reward(kept) == describe_reward(kept) == describe_reward(kept)
    assert describe_reward(kept.score_texts) == describe_reward(kept.score_texts)


def test_a_batch_asks_the_cache_first():
    calls = []

    def counted(prompt, completions):
        calls.append(prompt)
        return shortest(prompt, completions)

    model = SEAChatModel(rewards=counted, cache=InMemoryCache(), **SMALL)
    model.batch([QUESTION, "What is 1 + 2?"])
    before = len(calls)
    model.batch([QUESTION, "What is 1 + 2?"])
    assert len(calls) == before > 0


def fails_once(returned):
    calls = []

    def function(prompt, completions):
        calls.append(prompt)
        if len(calls) == 1:
            raise KeyError("not yet")
        return returned(completions)

    return function


class FlakyModel(GenericFakeChatModel):
    def _generate(self, *args, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=next(self.messages)())])


def write(text=None):
    if text is None:
        raise ConnectionError("no draft today")
    return AIMessage(text)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("part", ["rewards", "gate", "draft_model"])
def test_an_answer_that_failed_is_not_stored(part, is_async):
    drafts = FlakyModel(messages=iter([write, lambda: write("14 + 23 = 38")]))
    parts = {"rewards": fails_once(lambda texts: [0.0 for _ in texts]), "draft_model": drafts}
    parts["gate"] = fails_once(lambda texts: [1.0 for _ in texts])
    model = SEAChatModel(cache=InMemoryCache(), **SMALL | {part: parts[part]})
    ask = partial(asyncio.run, model.ainvoke(QUESTION)) if is_async else partial(model.invoke, QUESTION)
    failed = ask().response_metadata["sea"]
    assert not is_complete(failed)
    answered, again = (model.invoke(QUESTION) for _ in range(2))
    assert is_complete(answered.response_metadata["sea"])
    assert again.content == answered.content
    assert "total_cost" in again.usage_metadata  # LangChain's mark of an answer from the cache
    assert "total_cost" not in answered.usage_metadata


@pytest.mark.parametrize("reason", list(StopReason))
def test_what_ended_from_outside_is_not_stored(reason):
    outside = ("timeout", "out_of_memory", "reward_unavailable", "interrupted", "cancelled", "closed")
    sea = {"failure": None, "draft_model_error": None, "gate": None, "stop_reason": reason.value}
    cache = InMemoryCache()
    generation = ChatGeneration(message=AIMessage("37", response_metadata={"sea": sea}))
    find_cache(cache).update("p", "m", [generation])
    assert (cache.lookup("p", "m") is None) == (reason in outside)


def test_a_model_without_a_cache_has_none():
    assert find_cache(None) is None
    assert find_cache(False) is False
    assert find_cache(True) is True  # LangChain then asks for a global cache


def test_a_retry_has_its_own_seed():
    second = ["retry:attempt:2"]
    assert with_new_seed({}, second, 0)["seed"] != 0
    assert with_new_seed({"seed": 4}, second, 0) == {"seed": 4}
    assert with_new_seed({}, second, None) == with_new_seed({}, [], 0) == {}


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("2", r"First \boxed{3}, no wait, \boxed{2}", 1),
        ("3", r"First \boxed{3}, no wait, \boxed{2}", 0),
        ("10", "<think>The answer is \\boxed{12}</think>\nHmm, \\boxed{10}", 1),
        ("10", "<think>5 + 5</think><answer>10</answer>", 1),
        ("10", "<answer>11</answer>", 0),
        ("10", "The answer is `10`.", 1),
        ("10", "*10*", 1),
        ("1.5", "The answer is 1 1/2.", 1),
    ],
)
def test_the_last_answer_counts_in_any_marks(gold, text, expected):
    assert MathVerifier(gold=gold)("q", [text]) == [expected]
