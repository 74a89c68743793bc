"""Plan and steps are told by every kind of call, and a stream holds the beginning of the answer and nothing else."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from doubles import with_fields
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_sea import Budget, RewardTerm, SEAChatModel
from langchain_sea.budget import StopReason
from langchain_sea.chat import prepare
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS

QUESTION, EASY_QUESTION = "What is 14 + 23?", "Who are you?"
QUESTIONS = [f"What is {n} + {n}?" for n in range(11, 15)]


PLAN = SearchPlan(groups=2, rows=2, rounds=1, tokens=4, kept=2)


def vowels(prompt, completions):
    """More vowels are better, as a share: a longer answer is none."""
    return [sum(letter in "aeiou" for letter in text) / (len(text) or 1) for text in completions]


def model_of(**options):
    """A model that draws under latents, window after window of four tokens, without answers beside the draft."""
    preset = PRESETS["default"]
    latent = replace(preset.search_config.latent, companions=None)
    search_config = with_fields(preset.search_config, stride=4, latent=latent)
    preset = replace(preset, limits=None, max_nll_rise=None, search_config=search_config)
    small = {"plan": PLAN, "max_tokens": 24, "budget": Budget(max_steps=1)}
    return SEAChatModel(model="tiny", **{"preset": preset, "rewards": [vowels]} | small | options)


class Told(BaseCallbackHandler):
    """The custom events of a call, with the run that each belongs to."""

    def __init__(self):
        self.events, self.runs, self.started = [], set(), set()

    def on_chat_model_start(self, serialized, messages, *, run_id, **_):
        self.started.add(run_id)

    def on_custom_event(self, name, data, *, run_id, **_):
        self.events.append((name, data))
        self.runs.add(run_id)

    def check(self, *, calls=1):
        """One plan for each call before its steps, and all of them belong to the runs of the calls."""
        names = [name for name, _ in self.events]
        assert names[0] == "sea_plan"
        assert names.count("sea_plan") >= calls
        assert names.count("sea_step") >= calls
        assert set(names) == {"sea_plan", "sea_step"}
        assert self.runs == self.started
        assert len(self.runs) == calls


@pytest.mark.parametrize("streaming", [False, True])
def test_plan_and_steps_are_told(streaming):
    """By `invoke` and `stream`, and by `invoke` where it streams; with the handlers of the model, too."""
    model = model_of(streaming=streaming, max_tokens=6)
    for call in (lambda config: model.invoke(QUESTION, config), lambda config: list(model.stream(QUESTION, config))):
        told = Told()
        call({"callbacks": [told]})
        told.check()
    told = Told()
    list(model.model_copy(update={"callbacks": [told]}).stream(QUESTION))
    told.check()


def test_plan_and_steps_of_a_batch_are_told():
    told = Told()
    model_of(max_tokens=6).batch(QUESTIONS, {"callbacks": [told]})
    told.check(calls=len(QUESTIONS))


@pytest.mark.usefixtures("one_small_plan")
def test_a_plan_tells_what_follows():
    """The rounds are at most those of the plan, and the limit is that of the refinement."""
    told = Told()
    model = model_of(max_tokens=12, plan=None, budget=Budget(max_steps=1, max_time=1000.0))
    message = model.invoke(QUESTION, {"callbacks": [told]})
    (_, plan), *steps = told.events
    assert plan["draft_seconds"] == message.response_metadata["sea"]["draft_seconds"] > 0
    assert message.response_metadata["sea"]["plan"].startswith(f"{plan['plan']}: ")
    assert plan["draws"] >= 1
    assert plan["rounds"] == 2  # a draw without a step, and one after it
    assert plan["seconds"] == 1000.0
    assert len([name for name, _ in steps if name == "sea_step"]) >= 1


async def test_plan_and_steps_are_told_beside_a_loop():
    """By `ainvoke`, `astream` and `astream_events`, to handlers of both kinds."""

    class AsyncTold(AsyncCallbackHandler):
        def __init__(self):
            self.names = []

        async def on_custom_event(self, name, data, *, run_id, **_):
            await asyncio.sleep(0)
            self.names.append(name)

    model = model_of(max_tokens=6)
    for call in (model.ainvoke, lambda *args: _consume(model.astream(*args))):
        told, beside = Told(), AsyncTold()
        await call(QUESTION, {"callbacks": [told, beside]})
        told.check()
        assert beside.names == [name for name, _ in told.events]
    events = await _consume(model.astream_events(QUESTION, version="v2"))
    assert [e["name"] for e in events if e["event"] == "on_custom_event"] == beside.names
    chain = RunnableLambda(lambda text: text) | model
    events = await _consume(chain.astream_events(QUESTION, version="v2"))
    assert [e["name"] for e in events if e["event"] == "on_custom_event"] == beside.names


async def _consume(stream):
    return [each async for each in stream]


@pytest.fixture
def ends(monkeypatch):
    """For each stream what it holds before its last part, and the text of its answer."""
    from langchain_sea.chat import generate

    ends, to_chunks = [], generate.to_chunks

    def noting(answer, options, model_name, *, sent=""):
        ends.append((sent, answer.text))
        return to_chunks(answer, options, model_name, sent=sent)

    monkeypatch.setattr(generate, "to_chunks", noting)
    return ends


def test_a_stream_is_the_answer_of_invoke(ends):
    """Windows leave when they are final; where the draft stands, it leaves at the end."""
    for question in (QUESTION, EASY_QUESTION):
        model = model_of()
        whole = "".join(chunk.text for chunk in model.stream(question))
        assert whole == model.invoke(question).content
        sent, answer = ends[-1]
        assert answer.startswith(sent)
        assert bool(sent) == (question == QUESTION)


async def test_a_stream_beside_a_loop_is_the_same(ends):
    model = model_of()
    whole = "".join([chunk.text async for chunk in model.astream(QUESTION)])
    assert whole == model.invoke(QUESTION).content
    assert ends[-1][1].startswith(ends[-1][0])


def _request(model):
    call = prepare.prepare_call(*model._settings_of_call(None, {}), [HumanMessage(QUESTION)])
    return call.engine, call.requests[0]


def _streamed_seed():
    """A seed with which a window is final before the answer ends."""
    for seed in range(20):
        engine, request = _request(model_of(seed=seed))
        committed = []
        request.commit = committed.append
        engine.refine([request])
        if len(committed) > 1:  # rewards are asked again after the first
            return seed
    raise AssertionError("no window was better than the draft")


def test_what_has_left_stays_the_beginning_of_the_answer_where_a_reward_fails():
    """The failure is reported; nothing is better than the draft by a score that a reward did not give."""
    seed, committed = _streamed_seed(), []

    def failing(prompt, completions):
        if committed:
            raise RuntimeError("no scores any more")
        return vowels(prompt, completions)

    engine, request = _request(model_of(seed=seed, rewards=[failing]))
    request.commit = committed.append
    (found,) = engine.refine([request])
    assert found.stop_reason == StopReason.REWARD_UNAVAILABLE
    assert found.text.startswith(request.energy.policy.decode(committed[-1]).rstrip())
    assert found.after.score > found.before.score


def test_a_stream_that_is_closed_ends_its_request():
    """At its first window, whose text it keeps."""
    seed = _streamed_seed()
    engine, request = _request(model_of(seed=seed))
    committed = []

    def close(ids):
        committed.append(ids)
        engine.cancel([request], StopReason.CLOSED)

    request.commit = close
    (found,) = engine.refine([request])
    assert found.stop_reason == StopReason.CLOSED
    assert len(committed) == 1
    assert found.text.startswith(request.energy.policy.decode(committed[0]).rstrip())


def test_a_reward_may_ask_the_same_model_for_a_batch():
    """Inside of the engine's thread the calls follow one another: other threads would wait for it for ever."""
    questions, answers, done = QUESTIONS[:2], [], threading.Event()
    model = model_of(max_tokens=5)

    class Asking:
        def score(self, view, texts):
            if not answers:
                answers.append(None)
                answers[0] = [message.content for message in model.batch(questions)]
            return view.tokens.mask.sum(1).float()

    asking = model_of(max_tokens=5, rewards=[RewardTerm(reward=Asking(), name="asking")])
    threading.Thread(target=lambda: (asking.invoke(QUESTION), done.set()), daemon=True).start()
    assert done.wait(60)
    assert answers[0] == [model.invoke(question).content for question in questions]


def test_a_batch_inside_of_the_engine_reports_wrong_options():
    """As any batch does."""
    model, found, done = model_of(max_tokens=8), [], threading.Event()

    class Asking:
        def score(self, view, texts):
            if not found:
                found.extend(model.batch(QUESTIONS[:2], return_exceptions=True, bugdet=1))
            return view.tokens.mask.sum(1).float()

    asking = model_of(max_tokens=5, rewards=[RewardTerm(reward=Asking(), name="asking")])
    threading.Thread(target=lambda: (asking.invoke(QUESTION), done.set()), daemon=True).start()
    assert done.wait(60)
    assert [type(error) for error in found] == [ValueError, ValueError]
