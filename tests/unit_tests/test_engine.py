"""The engine of a policy: requests of any thread, one at a time or many, ended early or not."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
import torch
from doubles import DoublePrompt, MarkovPolicy, TokenReward, Vowels, run, shrunk

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.engines import get_engine
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.queue import Engine
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.request import RequestStatus

PROMPTS = [DoublePrompt(f"question {i}") for i in range(4)]
PATIENT = 60  # seconds, against hanging


def energy_of(policy, reward=None):
    term = RewardTerm(reward=reward or TokenReward.of("e", 3.0), name="r")
    return Energy(policy=policy, terms=(term,), max_nll_rise=None)


def request_of(energy, prompt, *, max_steps=3, **options):
    """A request as `refine` makes it."""
    langevin, search_config = shrunk("paper", max_steps=max_steps)
    return RefinementRequest(
        prompt,
        [],
        energy,
        langevin,
        search_config,
        generators_for(0, prompt.key, search_config.drafts.num_drafts, energy.policy.device),
        BudgetTracker(Budget(max_time=None), max_new_tokens=8),
        **options,
    )


def endless(energy, prompt, **options):
    """A request that does not end by itself."""
    return request_of(energy, prompt, max_steps=10**9, **options)


def wait_until(condition):
    while not condition():  # pytest's own timeout ends a test that hangs
        time.sleep(0.005)


def test_futures_hold_what_the_requests_give_alone():
    """Submitted together or refined one by one."""
    energy = energy_of(MarkovPolicy(0))
    engine = get_engine(energy.policy)
    alone = [engine.refine([request_of(energy, prompt)])[0] for prompt in PROMPTS]
    requests = [request_of(energy, prompt) for prompt in PROMPTS]
    assert {request.status for request in requests} == {RequestStatus.WAITING}
    together = [future.result(PATIENT) for future in engine.submit(requests)]
    assert {request.status for request in requests} == {RequestStatus.FINISHED}
    assert [found.text for found in together] == [found.text for found in alone]
    assert [found.candidates for found in together] == [found.candidates for found in alone]
    wait_until(lambda: engine.is_idle)
    assert engine.submit([]) == []
    assert engine.refine([]) == []


def test_a_cancelled_request_has_the_best_answer_so_far():
    """The reason is the caller's, and requests beside it go on."""
    energy = energy_of(MarkovPolicy(0))
    engine, steps = get_engine(energy.policy), []
    cancelled = endless(energy, PROMPTS[0], watch=steps.append)
    other = request_of(energy, PROMPTS[1], max_steps=40)
    futures = engine.submit([cancelled, other])
    wait_until(lambda: len(steps) > 1)
    assert cancelled.status is RequestStatus.RUNNING
    engine.cancel([cancelled], StopReason.CLOSED)
    first, second = (future.result(PATIENT) for future in futures)
    assert first.stop_reason == "closed"
    assert first.after.score >= first.before.score
    assert second.stop_reason == "steps"
    engine.cancel([cancelled, other], StopReason.CANCELLED)  # which changes nothing any more
    assert cancelled.future.result() is first
    wait_until(lambda: engine.is_idle)


def test_a_draft_that_is_cancelled_keeps_what_was_written():
    """It is the beginning of the draft, and said to be cut off."""
    energy = energy_of(MarkovPolicy(0))
    (whole,) = get_engine(energy.policy).refine([request_of(energy, PROMPTS[0])])
    requests, count = [], 0

    class Cancelled(MarkovPolicy):
        def generate_step(self, writings):
            nonlocal count
            count += 1
            super().generate_step(writings)
            if count == 3:
                get_engine(self).cancel(requests, StopReason.CANCELLED)

    energy = energy_of(Cancelled(0))
    requests.append(request_of(energy, PROMPTS[0]))
    (found,) = get_engine(energy.policy).refine(requests)
    assert found.stop_reason == "cancelled"
    assert found.text == found.draft == whole.draft[: len(found.draft)]
    assert len(found.ids) == 3
    assert not found.is_complete


def test_a_closed_engine_leaves_no_thread_in_a_step():
    """As at the end of a process: a thread that ends there aborts it."""
    energy = energy_of(MarkovPolicy(0))
    engine, steps = Engine(), []
    (future,) = engine.submit([endless(energy, PROMPTS[0], watch=steps.append)])
    wait_until(lambda: len(steps) > 1)
    thread = engine._thread
    engine.close(20)
    assert thread is not None
    assert not thread.is_alive()
    assert not future.done()


def test_a_future_cannot_be_cancelled_behind_the_engine():
    """It would leave the request running."""
    energy = energy_of(MarkovPolicy(0))
    (future,) = get_engine(energy.policy).submit([request_of(energy, PROMPTS[0])])
    assert not future.cancel()
    assert future.result(PATIENT).text


def test_a_cancelled_task_cancels_its_requests():
    """At the next step."""
    energy = energy_of(MarkovPolicy(0))
    engine, steps = get_engine(energy.policy), []
    request = endless(energy, PROMPTS[0], watch=steps.append)

    async def cancel():
        task = asyncio.ensure_future(engine.arefine([request]))
        await asyncio.to_thread(wait_until, lambda: len(steps) > 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert request.future.result(PATIENT).stop_reason == "cancelled"
    wait_until(lambda: engine.is_idle)


def test_a_reward_may_refine_with_the_same_policy():
    """Its requests run at once, in the thread that the others wait for."""
    policy, texts = MarkovPolicy(0), []

    class Nested(TokenReward):
        def score_soft(self, view):
            if not texts:
                texts.append("")
                texts[0] = run(energy_of(policy), PROMPTS[1:2])[0].text
            return super().score_soft(view)

    energy = energy_of(policy, Nested.of("e", 3.0))
    expected = run(energy_of(MarkovPolicy(0)), PROMPTS[1:2])[0].text
    for refine in (lambda: run(energy, PROMPTS[:1]), lambda: _in_a_thread(lambda: run(energy, PROMPTS[:1]))):
        texts.clear()
        assert refine()[0].text
        assert texts == [expected]


def _in_a_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(PATIENT)


def test_gradients_are_taken_where_the_caller_has_switched_them_off():
    """The answer is the same."""
    energy = energy_of(MarkovPolicy(0))
    (expected,) = run(energy, PROMPTS[:1])
    with torch.no_grad():
        (found,) = run(energy, PROMPTS[:1])
    assert (found.text, found.candidates) == (expected.text, expected.candidates)
    assert found.steps


def test_a_reward_sees_the_context_of_the_caller():
    """Whichever thread calls it."""
    name, seen = ContextVar("name", default="nobody"), []

    class Watching(Vowels):
        def score(self, view, texts):
            seen.append(name.get())
            return super().score(view, texts)

    energy = energy_of(MarkovPolicy(0), Watching())
    token = name.set("main")
    run(energy, PROMPTS[:1])
    (future,) = get_engine(energy.policy).submit([request_of(energy, PROMPTS[1])])
    name.reset(token)
    future.result(PATIENT)
    assert set(seen) == {"main"}


def test_an_error_of_the_policy_reaches_every_caller():
    """No request waits for ever."""

    class Broken(MarkovPolicy):
        def generate_step(self, _writings):
            raise RuntimeError("broken")

    energy = energy_of(Broken(0))
    engine = get_engine(energy.policy)
    for future in engine.submit([request_of(energy, prompt) for prompt in PROMPTS]):
        with pytest.raises(RuntimeError, match="broken"):
            future.result(PATIENT)
    with pytest.raises(RuntimeError, match="broken"):
        engine.refine([request_of(energy, PROMPTS[0])])
    wait_until(lambda: engine.is_idle)


def test_the_main_thread_hands_over_what_others_asked_for():
    """It steps the requests of all threads while it waits for its own, and then goes on itself."""
    energy = energy_of(MarkovPolicy(0))
    engine, steps, threads = get_engine(energy.policy), [], set()

    def watch(step):
        steps.append(step)
        threads.add(threading.current_thread())

    other = endless(energy, PROMPTS[1], watch=watch)
    submitted = threading.Thread(target=lambda: (wait_until(lambda: not engine.is_idle), engine.submit([other])))
    submitted.start()

    def hold(_step):
        wait_until(lambda: other.status is not RequestStatus.WAITING or not submitted.is_alive())

    assert engine.refine([request_of(energy, PROMPTS[0], watch=hold)])[0].text
    submitted.join()
    count = len(steps)
    wait_until(lambda: len(steps) > count + 2)
    engine.cancel([other], StopReason.CANCELLED)
    assert other.future.result(PATIENT).stop_reason == "cancelled"
    assert threading.main_thread() not in threads or len(threads) == 2


def test_an_engine_keeps_no_policy_alive():
    """Nor does its thread, once there is nothing to do."""
    policy = MarkovPolicy(0)
    energy = energy_of(policy)
    engine = get_engine(policy)
    engine.submit([request_of(energy, PROMPTS[0])])[0].result(PATIENT)
    run(energy, PROMPTS[:1])
    wait_until(lambda: engine.is_idle)
    reference = weakref.ref(policy)
    del policy, energy
    wait_until(lambda: gc.collect() >= 0 and reference() is None)
