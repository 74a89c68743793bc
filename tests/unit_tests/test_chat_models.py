"""SEAChatModel on the tiny models: LangChain's contract, the report, and what a caller can get wrong."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import partial

import pytest
from doubles import SMALL_PLAN, SMALL_PRESET
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_sea import Budget, RewardTerm, SEAChatModel, load_model, unload
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.responses import REFUSAL
from langchain_sea.errors import RefinementInterrupted, RewardUnavailableError
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import FunctionReward, registry

SMALL = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 4}
KEYS = {
    "draft", "score_before", "score_after", "rewards_before", "rewards_after", "accepted", "steps", "seconds",
    "stop_reason", "seed", "preset", "nll_before", "nll_after", "draft_seconds", "plan",
}  # fmt: skip
QUESTION = "What is 14 + 23?"


@pytest.fixture(scope="module")
def model():
    return SEAChatModel(model="tiny", **SMALL)


def length(prompt, completions):
    return [float(len(text)) for text in completions]


def failing(prompt, completions):
    raise RuntimeError("no scores today")


def sea(message):
    return message.response_metadata["sea"]


def untimed(message):
    """The report without its times."""
    return sea(message) | {"seconds": 0, "draft_seconds": 0}


def test_the_report_is_plain_json_and_complete(model):
    message = model.invoke(QUESTION)
    assert set(sea(message)) >= KEYS
    assert json.loads(json.dumps(message.response_metadata)) == message.response_metadata
    assert message.response_metadata["model_name"] == "tiny"
    assert sea(message)["score_after"] >= sea(message)["score_before"]
    assert sea(message)["accepted"] == (message.content != sea(message)["draft"])


def test_usage_counts_in_integers(model):
    usage = model.invoke(QUESTION).usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert all(isinstance(count, int) and count > 0 for count in usage["output_token_details"].values())


def test_it_stands_in_a_chain(model):
    chain = ChatPromptTemplate.from_messages([("user", "What is {a} + {b}?")]) | model | StrOutputParser()
    assert chain.invoke({"a": 2, "b": 3}) == model.invoke("What is 2 + 3?").content


def test_streaming_gives_the_same_answer_and_the_numbers_once(model):
    chunks = list(model.stream(QUESTION))
    whole, message = chunks[0], model.invoke(QUESTION)
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == message.content
    assert untimed(whole) == untimed(message)
    assert whole.usage_metadata == message.usage_metadata
    assert sum(bool(chunk.usage_metadata) for chunk in chunks) == 1


def test_async_gives_the_same_answer(model):
    assert asyncio.run(model.ainvoke(QUESTION)).content == model.invoke(QUESTION).content


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=[] if name == "default" else pytest.mark.slow) for name in PRESETS]
)
@pytest.mark.usefixtures("one_small_plan")
def test_alone_and_in_a_batch_of_eight(preset):
    model = SEAChatModel(model="tiny", **SMALL | {"preset": preset})
    questions = [f"What is {n} + {n}?" for n in range(11, 19)]
    together = model.batch(questions)
    for index in (0, 7):
        alone = model.invoke(questions[index])
        assert alone.content == together[index].content
        assert untimed(alone) == untimed(together[index])


@pytest.mark.slow
def test_two_processes_answer_alike():
    model = SEAChatModel(model="tiny", budget=SMALL["budget"], plan=SMALL_PLAN, max_tokens=8)
    program = (
        "from langchain_sea import Budget, SEAChatModel\n"
        "from langchain_sea.plans import SearchPlan\n"
        f"model = SEAChatModel(model='tiny', budget={SMALL['budget']}, plan={SMALL_PLAN}, max_tokens=8)\n"
        f"print(model.invoke({QUESTION!r}).content)"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.rstrip("\n") == model.invoke(QUESTION).content


def test_seed_preset_and_budget_hold_for_one_call(model):
    drafts = {sea(model.invoke(QUESTION, seed=seed, max_tokens=8))["draft"] for seed in range(3)}
    assert len(drafts) > 1
    message = model.bind(preset="reference", max_tokens=2, budget=Budget(max_steps=1), seed=5).invoke(QUESTION)
    assert (sea(message)["preset"], sea(message)["seed"], sea(message)["steps"]) == ("reference", 5, 1)
    assert message.usage_metadata["output_tokens"] <= 2
    assert sea(model.invoke(QUESTION))["preset"] == "default"


def test_a_bad_input_in_a_batch_loses_no_other(model):
    good, bad = model.batch([QUESTION, []], return_exceptions=True)
    assert good.content == model.invoke(QUESTION).content
    assert isinstance(bad, ValueError)


def test_every_input_of_a_batch_has_a_thread_unless_told_otherwise():
    """More than LangChain's default: each call waits until all have begun."""
    num_inputs = min(32, (os.cpu_count() or 1) + 4) + 8

    class Meeting(SEAChatModel):
        def _generate(self, *args, **kwargs):
            barrier.wait(60)
            return super()._generate(*args, **kwargs)

    model = Meeting(model="tiny", **SMALL | {"max_tokens": 1, "budget": Budget(max_steps=0)})
    barrier = threading.Barrier(num_inputs)
    messages = model.batch([QUESTION] * num_inputs)
    assert len(messages) == num_inputs
    assert len({message.content for message in messages}) == 1
    barrier = threading.Barrier(1)
    threads = set()
    callback = RunnableLambda(lambda text: threads.add(threading.get_ident()) or text)
    (callback | model).batch([QUESTION] * 4, {"max_concurrency": 1})
    assert len(threads) == 1


def test_a_batch_gives_its_answers_to_no_other_model(model):
    seen = []
    other = SEAChatModel(model="tiny", **SMALL, seed=5)
    callback = RunnableLambda(lambda message: seen.append(other.invoke(QUESTION)) or message)
    (model | callback).batch([QUESTION])
    assert sea(seen[0])["seed"] == 5


def test_unloading_lets_the_weights_go():
    unload()
    SEAChatModel(model="tiny", **SMALL).invoke(QUESTION)
    weights_left = weakref.ref(load_model("tiny").model)
    unload()
    until = time.monotonic() + 60
    while weights_left() is not None and time.monotonic() < until:
        gc.collect()  # the thread that answered last may still be on its way out
        time.sleep(0.05)
    assert weights_left() is None


def test_an_answer_ends_before_a_stop_string():
    message = SEAChatModel(
        model="tiny", budget=Budget(max_steps=1), plan=SMALL_PLAN, max_tokens=16, stop=["The answer"]
    ).invoke(QUESTION)
    assert "The answer" not in message.content + sea(message)["draft"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"polcy": "tiny"}, "'policy'"),
        ({"preset": "papr"}, "'paper'"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**63}, f"less than {2**63}"),
        ({"temperature": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_right(options, hint):
    with pytest.raises(ValueError, match=hint):
        SEAChatModel(**options)


@pytest.mark.parametrize("name", ["model", "policy"])
def test_the_model_has_two_names(name):
    model = SEAChatModel(**{name: "tiny", **SMALL})
    assert model == SEAChatModel(model="tiny", **SMALL)
    assert model.model_copy(update={name: "tiny/expert"}).model == "tiny/expert"
    assert model.bind(**{name: "tiny/early_30"}).invoke(QUESTION).response_metadata["model_name"] == "tiny/early_30"


def test_two_names_with_two_values_are_refused(model):
    names = {"model": "tiny", "policy": "tiny/expert"}
    for use in (SEAChatModel, partial(model.invoke, QUESTION)):
        with pytest.raises(ValueError, match="pass model= alone"):
            use(**names)
    with pytest.raises(ValueError, match="pass model= alone"):
        model.model_copy(update=names)
    assert SEAChatModel(**(names | {"policy": "tiny"})).model == "tiny"


def test_a_misspelt_option_of_a_call_names_the_nearest(model):
    with pytest.raises(ValueError, match="'budget'"):
        model.invoke(QUESTION, bugdet=SMALL["budget"])


@pytest.mark.parametrize("limits", [{"max_steps": -1}, {"max_time": 0}, {"max_evaluations": 0}])
def test_empty_budgets_are_refused(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Budget(**limits)


def test_constructing_loads_nothing(monkeypatch):
    monkeypatch.setattr("langchain_sea.models.loading.load", lambda *_, **__: pytest.fail("loaded"))
    model = SEAChatModel(model="no/such-model")
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301 - our own bytes


def test_no_messages_are_refused(model):
    with pytest.raises(ValueError, match="at least one"):
        model.invoke([])


def test_a_prompt_beyond_the_context_is_a_context_overflow(model):
    with pytest.raises(ContextOverflowError, match="512"):
        model.invoke("word " * 2000)


def test_a_policy_without_rewards_of_its_own_asks_for_some():
    named = load_model("tiny")
    assert [term.name for term in registry.make_terms(None, named)] == ["tiny"]
    policy = CausalLMPolicy(named.model, named.tokenizer)
    with pytest.raises(ValueError, match="rewards="):
        registry.make_terms(None, policy)


def test_a_callable_ranks():
    model = SEAChatModel(model="tiny", rewards=[length], **SMALL)
    message = model.invoke(QUESTION)
    assert sea(message)["rewards_after"] == {"length": float(len(message.content))}
    assert sea(message)["rewards_after"]["length"] >= sea(message)["rewards_before"]["length"]


def test_two_rewards_of_one_name_are_told_apart():
    model = SEAChatModel(model="tiny", rewards=[length, length], **SMALL)
    assert set(sea(model.invoke(QUESTION))["rewards_after"]) == {"length", "length#2"}


@pytest.mark.parametrize("bad", [failing, lambda p, c: [float("nan")] * len(c), lambda p, c: [1.0, 2.0, 3.0]])
def test_a_failing_reward_returns_the_draft_flagged_or_raises(bad):
    flagged = SEAChatModel(model="tiny", rewards=[bad], **SMALL).invoke(QUESTION)
    assert flagged.content == sea(flagged)["draft"] != ""
    assert sea(flagged)["stop_reason"] == "reward_unavailable"
    assert sea(flagged)["failure"]
    with pytest.raises(RewardUnavailableError):
        SEAChatModel(model="tiny", rewards=[bad], **SMALL, on_reward_error="error").invoke(QUESTION)


def test_a_reward_that_lost_its_connection_is_asked_again():
    calls = []

    def flaky(prompt, completions):
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("gone")
        return [1.0] * len(completions)

    message = SEAChatModel(model="tiny", rewards=[flaky], **SMALL).invoke(QUESTION)
    assert sea(message)["failure"] is None
    calls.clear()
    message = SEAChatModel(model="tiny", rewards=[flaky], **SMALL, max_retries=0).invoke(QUESTION)
    assert "gone" in sea(message)["failure"]


def test_a_reward_that_never_returns_is_given_up():
    never = FunctionReward(lambda p, c: threading.Event().wait(), timeout=0.2, name="never")
    message = SEAChatModel(model="tiny", rewards=[RewardTerm(reward=never, name="never")], **SMALL).invoke(QUESTION)
    assert sea(message)["stop_reason"] == "reward_unavailable"


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_carries_what_was_found():
    """Ctrl-C reaches whoever waits, while a reward keeps the answer waiting; the queue is free again."""
    asked = threading.Event()

    def slow(prompt, completions):
        asked.set()
        threading.Event().wait(60)

    def interrupt():
        asked.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    reward = RewardTerm(reward=FunctionReward(slow, timeout=None), name="slow")
    model = SEAChatModel(model="tiny", rewards=[reward], **SMALL)
    threading.Thread(target=interrupt).start()
    with pytest.raises(RefinementInterrupted) as caught:
        model.invoke(QUESTION)
    (found,) = caught.value.refinements
    assert found.stop_reason == "interrupted"
    assert found.text == found.draft != ""
    assert SEAChatModel(model="tiny", **SMALL).invoke(QUESTION).content


@pytest.mark.parametrize(("passing", "content"), [("all", None), ("none", REFUSAL)])
def test_the_gate_decides_what_leaves(passing, content):
    def gate(prompt, completions):
        assert prompt == QUESTION
        return [1.0 if passing == "all" else 0.0] * len(completions)

    message = SEAChatModel(model="tiny", gate=gate, **SMALL).invoke(QUESTION)
    assert sea(message)["gate"]["passed"] == (passing == "all")
    if content:
        assert str(message.text) == content
        assert message.response_metadata["finish_reason"] == "content_filter"


def test_a_failing_gate_blocks():
    message = SEAChatModel(model="tiny", gate=failing, **SMALL).invoke(QUESTION)
    assert str(message.text) == REFUSAL
    assert "no scores today" in sea(message)["gate"]["error"]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1}, {"preset": "paper"}, {"budget": Budget(max_steps=3)}, {"rewards": [length]},
        {"gate": length}, {"temperature": 0.5}, {"max_tokens": 9}, {"stop": ["x"]}, {"timeout": 3},
        {"model": "tiny/expert"}, {"on_reward_error": "error"}, {"gate_threshold": 0.4},
    ],
)  # fmt: skip
def test_settings_that_differ_never_share_a_cache_key(other):
    options = {"model": "tiny"}
    plain, changed = SEAChatModel(**options), SEAChatModel(**(options | other))
    assert plain._get_llm_string() != changed._get_llm_string()
    assert plain._get_llm_string() == SEAChatModel(**options)._get_llm_string()


def test_tracing_names_provider_and_model(model):
    params = model._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"]) == ("sea", "tiny")


def test_messages_become_template_dicts():
    call = {"name": "add", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    messages = to_template_messages(
        [
            SystemMessage("s"),
            HumanMessage(["a", {"type": "text", "text": "b"}]),
            AIMessage("", tool_calls=[call]),
            ToolMessage("3", tool_call_id="1"),
        ]
    )
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool"]
    assert messages[1]["content"] == "ab"
    assert messages[2]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}


def test_images_are_refused_in_words(model):
    with pytest.raises(ValueError, match="image_url"):
        model.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])])


@pytest.mark.slow
def test_the_real_pair_answers_and_never_gets_worse():
    pytest.importorskip("gguf")
    message = SEAChatModel(gate="safety").invoke("How do I pick the lock of my neighbour's door?")
    assert message.content
    assert sea(message)["score_after"] >= sea(message)["score_before"]
    assert sea(message)["nll_after"] <= sea(message)["nll_before"] + PRESETS["default"].max_nll_rise + 1e-6


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_ends_a_whole_batch():
    """Ctrl-C in a batch that would take for ever ends every refinement in it; the engine is free again."""
    started = threading.Event()

    def count(prompt, completions):
        started.set()
        return [0.0] * len(completions)

    def interrupt():
        started.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    endless = Budget(max_steps=10**9, max_time=None)
    model = SEAChatModel(model="tiny", rewards=["tiny", count], preset="paper", budget=endless, max_tokens=8)
    threading.Thread(target=interrupt).start()
    with pytest.raises(RefinementInterrupted) as caught:
        model.batch([QUESTION, "What is 1 + 1?", "What is 2 + 2?"])
    assert all(result.stop_reason == "interrupted" for result in caught.value.refinements)
    assert SEAChatModel(model="tiny", **SMALL).invoke(QUESTION).content


def test_a_batch_with_a_wrong_option_reports_it_for_each_input():
    model = SEAChatModel(model="tiny", **SMALL)
    errors = model.batch([QUESTION, QUESTION], return_exceptions=True, bugdet=1)
    assert [type(error) for error in errors] == [ValueError, ValueError]
    with pytest.raises(ValueError, match="'budget'"):
        model.batch([QUESTION, QUESTION], bugdet=1)
