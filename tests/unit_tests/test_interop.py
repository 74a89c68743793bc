"""Judges of other libraries as rewards: the same scores, in every form that these libraries use."""

from __future__ import annotations

import asyncio
import json
import pickle
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from doubles import SMALL_PLAN
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langsmith.evaluation import EvaluationResult, RunEvaluator, run_evaluator
from reward_cases import QUESTION, policy

from langchain_sea import Budget, SEAChatModel
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.interop import as_trl, from_langsmith, from_openevals, from_runnable, from_trl
from langchain_sea.rewards import FunctionReward

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = ["the answer is five.", "no", "", "fünf 5"]
LAST = "what is two and three?"


def share(prompt, completions):
    """A score from 0 to 1 that depends on both texts."""
    return [(len(prompt) + sum(map(ord, text))) % 97 / 96 for text in completions]


def turns(messages, completions):
    """A score from 0 to 1 that depends on the whole conversation."""
    seen = json.dumps(messages)
    return share(seen, completions)


@dataclass(frozen=True)
class Judge:
    """A reward in the form of another library; picklable, and known by the reward's name."""

    reward: Callable

    @property
    def __name__(self):
        return self.reward.__name__


class OpenEvalsJudge(Judge):
    def __call__(self, *, inputs, outputs, **_):
        messages = [{"role": "user", "content": inputs}] if isinstance(inputs, str) else inputs
        text = outputs if isinstance(outputs, str) else outputs[-1]["content"]
        return {"key": "judge", "score": single(self.reward, messages, text)}


class LangSmithJudge(Judge):
    def __call__(self, inputs, outputs):
        return {"key": "judge", "score": single(self.reward, inputs["messages"], outputs["completion"])}


class RunnableJudge(Judge):
    def __call__(self, pair):
        messages = pair.get("messages") or [{"role": "user", "content": pair["prompt"]}]
        return single(self.reward, messages, pair["completion"])


def single(reward, messages, text):
    """The score of one answer, of a reward of the last question or of the conversation; None has none."""
    prompt = messages if reward is turns else messages[-1]["content"]
    values = reward(prompt, [text])
    return values[0] if values and len(values) == 1 else None


JUDGES = {
    "trl": lambda reward: from_trl(as_trl(reward)),
    "trl conversational": lambda reward: from_trl(as_trl(reward), conversational=True),
    "openevals": lambda reward: from_openevals(OpenEvalsJudge(reward)),
    "openevals conversational": lambda reward: from_openevals(OpenEvalsJudge(reward), conversational=True),
    "langsmith": lambda reward: from_langsmith(LangSmithJudge(reward)),
    "runnable": lambda reward: from_runnable(named_runnable(reward)),
    "runnable with messages": lambda reward: from_runnable(named_runnable(reward), write=with_messages),
}
WHOLE = [name for name in JUDGES if "conversational" in name or "messages" in name] + ["langsmith"]


def named_runnable(reward):
    return RunnableLambda(RunnableJudge(reward), name=reward.__name__)


def with_messages(messages, completion):
    return {"messages": messages, "completion": completion}


def scores(reward, texts=TEXTS, messages=QUESTION):
    """As the engine asks a function."""
    writer = policy()
    view = AnswerBatch.from_ids(writer, writer.prompt(messages), [[5]] * len(texts))
    return FunctionReward(reward).score(view, texts).tolist()


# The same reward through each library


@pytest.mark.parametrize("name", JUDGES)
@given(texts=st.lists(st.text(max_size=9), min_size=1, max_size=4))
@settings(max_examples=6)
def test_a_reward_keeps_its_scores_behind_every_interface(name, texts):
    assert scores(JUDGES[name](share), texts) == pytest.approx(scores(share, texts), abs=1e-7)


@pytest.mark.parametrize("name", WHOLE)
def test_the_conversation_comes_through_whole(name):
    assert scores(JUDGES[name](turns)) == pytest.approx(scores(turns), abs=1e-7)


@pytest.mark.parametrize("name", JUDGES)
def test_an_imported_reward_can_be_pickled_and_keeps_its_name(name):
    found = JUDGES[name](share)
    expected = scores(found)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes
    assert scores(again) == expected
    assert again.__name__ == found.__name__ == "share"


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("bad", [[float("nan")], [None], [1.0, 2.0], None, ["1"]])
def test_a_reward_that_fails_fails_behind_every_interface(name, bad):
    """The error is a `RewardUnavailableError` with the name of the reward."""
    with pytest.raises(RewardUnavailableError, match="broken"):
        scores(JUDGES[name](broken_with(bad)), ["no"])


def broken_with(value):
    def broken(prompt, completions):
        return value

    return broken


@pytest.mark.parametrize("convert", [as_trl, from_trl, from_openevals, from_langsmith])
def test_what_cannot_be_called_is_no_reward(convert):
    with pytest.raises(TypeError, match="cannot be called"):
        convert(SimpleNamespace(score=None))


# TRL


def trl_plain(completions, **kwargs):
    return [float(len(completion)) for completion in completions]


def trl_conversational(prompts, completions, solution, **kwargs):
    """As accuracy rewards are: one message each, a gold answer, None where there is nothing to check."""
    rows = zip(prompts, completions, solution, strict=True)
    return [None if not gold else float(gold in answer[0]["content"]) + len(prompt) for prompt, answer, gold in rows]


def trl_logging(*, prompts, completions, log_extra, log_metric, trainer_state, completion_ids):
    log_extra("column", completions)
    log_metric("mean", 1.0)
    assert trainer_state is None
    return [len(ids) for ids in completion_ids]


async def trl_async(prompts, completions, **kwargs):
    await asyncio.sleep(0.001)
    return [float(len(prompt) + len(text)) for prompt, text in zip(prompts, completions, strict=True)]


def test_a_trl_reward_sees_texts_or_messages():
    assert scores(from_trl(trl_plain)) == [len(text) for text in TEXTS]
    found = from_trl(trl_conversational, conversational=True, solution="five")
    assert scores(found) == [5, 4, 4, 4]
    ids = from_trl(trl_logging, encode=policy().encode)
    assert scores(ids) == [len(policy().encode(text)) for text in TEXTS]


def test_a_trl_column_may_depend_on_the_conversation():
    gold = from_trl(trl_conversational, conversational=True, solution=lambda messages: messages[-1]["content"])
    assert scores(gold, [LAST, "no"]) == [5, 4]


def test_none_of_a_trl_reward_is_a_failure_or_what_was_said():
    nothing = partial(from_trl, trl_conversational, conversational=True, solution=None)
    with pytest.raises(RewardUnavailableError, match="'trl_conversational' returned None"):
        scores(nothing())
    assert scores(nothing(none=-1.5)) == [-1.5] * 4


def test_columns_that_a_trl_reward_does_not_take_are_refused_at_once():
    with pytest.raises(TypeError, match="solution"):
        from_trl(trl_conversational)
    with pytest.raises(TypeError, match="encode="):
        from_trl(trl_logging)
    with pytest.raises(TypeError, match="gold"):
        from_trl(trl_logging, encode=list, gold="5")


def test_a_trl_reward_of_ours_takes_batches_of_many_prompts():
    """Each prompt's completions are judged together, and the order stays."""
    calls = []

    def counted(prompt, completions):
        calls.append(len(completions))
        return share(prompt, completions)

    found = as_trl(counted)(prompts=["a", "bb", "a", "bb"], completions=TEXTS, solution=[1] * 4, trainer_state=0)
    expected = [share(prompt, [text])[0] for prompt, text in zip(["a", "bb", "a", "bb"], TEXTS, strict=True)]
    assert found == pytest.approx(expected, abs=1e-7)
    assert calls == [2, 2]
    assert as_trl(share)(prompts=[], completions=[]) == []
    with pytest.raises(ValueError, match="shorter"):
        as_trl(share)(prompts=["a", "a"], completions=["x"])


# Async


async def openevals_async(*, inputs, outputs, **kwargs):
    await asyncio.sleep(0.001)
    return {"key": "length", "score": len(inputs) + len(outputs)}


async def langsmith_async(inputs, outputs):
    await asyncio.sleep(0.001)
    return {"score": len(inputs["prompt"]) + len(outputs["completion"])}


ASYNC = {
    "trl": from_trl(trl_async),
    "openevals": from_openevals(openevals_async),
    "langsmith": from_langsmith(langsmith_async),
}


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_async_judges_end_whether_a_loop_runs_or_not(name, timeout):
    """With one in the caller's thread, and without; in a thread of the reward's own, and without."""
    writer = policy()
    view = AnswerBatch.from_ids(writer, writer.prompt(QUESTION), [[5]] * len(TEXTS))
    reward = FunctionReward(ASYNC[name], timeout=timeout)
    expected = [len(LAST) + len(text) for text in TEXTS]

    async def inside():
        return reward.score(view, TEXTS).tolist()

    assert reward.score(view, TEXTS).tolist() == asyncio.run(inside()) == expected


def test_async_evaluators_run_side_by_side():
    """None ends before all have begun."""
    together = asyncio.Barrier(len(TEXTS))

    async def waits_for_the_others(*, inputs, outputs):
        async with asyncio.timeout(5):
            await together.wait()
        return 1.0

    assert scores(from_openevals(waits_for_the_others)) == [1.0] * 4


def test_an_async_judge_that_raises_is_a_failure():
    async def broken(*, inputs, outputs):
        raise ValueError("no connection")

    with pytest.raises(RewardUnavailableError, match="no connection"):
        scores(from_openevals(broken))


# openevals


def exact(*, outputs, reference_outputs, **kwargs):
    return {"key": "exact", "score": outputs == reference_outputs, "comment": None, "metadata": None}


def several(*, inputs, outputs, **kwargs):
    return [{"key": "length", "score": len(outputs)}, {"key": "asked", "score": len(inputs)}]


def test_an_openevals_evaluator_gives_bools_numbers_or_several():
    assert scores(from_openevals(exact, reference_outputs="no")) == [0, 1, 0, 0]
    assert scores(from_openevals(several, key="length")) == [len(text) for text in TEXTS]
    with pytest.raises(RewardUnavailableError, match=r"keys length, asked.*key="):
        scores(from_openevals(several))
    with pytest.raises(RewardUnavailableError, match="'wit'"):
        scores(from_openevals(several, key="wit"))


def test_an_openevals_evaluator_may_see_messages():
    def last_role(*, inputs, outputs):
        return {"key": "k", "score": len(inputs) + (outputs[0]["role"] == "assistant")}

    assert scores(from_openevals(last_role, conversational=True)) == [5] * 4


# LangSmith


class Graded(RunEvaluator):
    def evaluate_run(self, run, example=None, evaluator_run_id=None):
        length = len(run.outputs["answer"]) + len(example.inputs["question"])
        return EvaluationResult(key="graded", score=length)


def by_run(run, example):
    return {"key": "by_run", "score": len(run.outputs["answer"]) + len(run.inputs["question"])}


def by_other_names(ran, gold):
    return [{"key": "one", "score": 1}, {"key": "two", "score": len(gold.outputs["gold"])}]


def by_parts(outputs, reference_outputs):
    return outputs["answer"] == reference_outputs["gold"]


NAMED = {"inputs": "question", "outputs": "answer"}


@pytest.mark.parametrize("evaluator", [Graded(), by_run, run_evaluator(by_run)])
def test_langsmith_evaluators_see_run_and_example(evaluator):
    found = from_langsmith(evaluator, **NAMED)
    assert scores(found) == [len(text) + len(LAST) for text in TEXTS]


def test_langsmith_functions_see_what_they_name():
    gold = {"gold": "no"}
    assert scores(from_langsmith(by_parts, **NAMED, reference_outputs=gold)) == [0, 1, 0, 0]
    found = from_langsmith(by_other_names, key="two", reference_outputs=lambda _: gold)
    assert scores(found) == [2] * 4


# Runnables


def test_a_runnable_is_asked_in_one_batch():
    batches = []

    class Counted(RunnableLambda):
        def batch(self, inputs, *args, **kwargs):
            batches.append(len(inputs))
            return super().batch(inputs, *args, **kwargs)

    def judge(pair):
        assert set(pair) == {"prompt", "completion"}
        return {"score": len(pair["completion"]), "why": "it is so"}

    assert scores(from_runnable(Counted(judge))) == [len(text) for text in TEXTS]
    assert batches == [4]


@pytest.mark.parametrize("said", ["safe", " Safe\n", AIMessage("SAFE")])
def test_a_verdict_in_words_has_the_score_that_was_given(said):
    judge = RunnableLambda(lambda _: said)
    assert scores(from_runnable(judge, read={"safe": 1.0, "Unsafe": 0.0}), ["no"]) == [1.0]
    assert scores(from_runnable(judge, read=lambda _: 0.5), ["no"]) == [0.5]


@pytest.mark.parametrize("said", ["", "not safe", AIMessage("I am not sure.")])
def test_any_other_verdict_is_a_failure(said):
    judge = from_runnable(RunnableLambda(lambda _: said), read={"safe": 1, "unsafe": 0}, name="guard")
    with pytest.raises(RewardUnavailableError, match=r"'guard' answered .* none of \['safe', 'unsafe'\]"):
        scores(judge, ["no"])
    with pytest.raises(RewardUnavailableError):
        scores(from_runnable(RunnableLambda(lambda _: said)), ["no"])


# In the model


@pytest.mark.parametrize(
    "reward",
    [
        from_trl(trl_plain),
        from_trl(trl_async),
        from_openevals(several, key="length"),
        from_langsmith(langsmith_async),
        from_runnable(named_runnable(share)),
    ],
    ids=lambda reward: reward.__name__,
)
def test_each_ranks_the_answers_of_a_model(reward):
    model = SEAChatModel(model="tiny", rewards=[reward], budget=Budget(max_steps=0), plan=SMALL_PLAN, max_tokens=3)
    found = model.invoke("What is 2 + 3?").response_metadata["sea"]
    assert found["failure"] is None
    assert set(found["rewards_after"]) == {reward.__name__}
