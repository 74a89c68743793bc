"""Whatever goes wrong with one request: it ends, it says so, and no other answer changes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from doubles import SMALL_PRESET
from slow_cases import first_fast

from langchain_sea import Budget, RewardTerm, SEAChatModel, load_model, make_energy, refine
from langchain_sea.engine.engines import get_engine
from langchain_sea.errors import RefinementInterrupted
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards import FunctionReward

SMALL = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 8}
QUESTIONS = [f"What is {n} + {n + 3}?" for n in range(11, 15)]
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CONTEXT = 512  # of the tiny policy


@pytest.fixture(scope="module")
def model():
    return SEAChatModel(model="tiny", **SMALL)


@pytest.fixture(scope="module")
def alone(model):
    return [model.invoke(question).content for question in QUESTIONS]


def sea(message):
    return message.response_metadata["sea"]


def kept(message):
    """All of an answer but its seconds."""
    return message.content, sea(message) | {"seconds": None, "draft_seconds": None}


def steered(call, **options):
    """A model whose answers a function ranks."""
    reward = RewardTerm(reward=FunctionReward(call, timeout=None), name="slow")
    return SEAChatModel(model="tiny", rewards=[reward], **SMALL | options)


@pytest.fixture
def policy():
    return load_model("tiny")


def idle(policy):
    """The engine becomes idle again."""
    while not get_engine(policy).is_idle:  # pytest's own timeout ends a test that hangs
        time.sleep(0.01)
    return True


@contextmanager
def failing(monkeypatch, name, fails):
    """A method of the policy that raises what `fails(number of the call, its arguments)` gives, if any."""
    real, calls = getattr(CausalLMPolicy, name), [0]

    def method(self, *args, **kwargs):
        calls[0] += 1
        error = fails(calls[0], *args)
        if error is not None:
            raise error
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(CausalLMPolicy, name, method)
        yield calls


def count_prompts(parts):
    """The prompts that share a pass: of requests for a forward pass, or of unfinished answers."""
    return len({id(part.prompt) for part in parts for part in getattr(part, "groups", [part])})


def rows(asks):
    return sum(len(ask.tokens.mask) for ask in asks)


# Memory


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forward_all", "generate_step"])
@pytest.mark.parametrize("at", [1, pytest.param(3, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)])
def test_memory_that_runs_out_once_changes_no_answer_of_a_batch(monkeypatch, policy, method, at):
    """Fewer are computed together, and each gets what it gets alone.

    Where a pass of one request fails, its result says so; only a pass that requests share is nobody's own.
    """
    prompts = [policy.prompt([{"role": "user", "content": question}]) for question in QUESTIONS]
    options = {"energy": make_energy(policy, ["tiny"]), "budget": SMALL["budget"], "max_new_tokens": 8}
    alone = [refine([prompt], **options)[0] for prompt in prompts]

    num_shared = 0

    def once(_number, parts, *_):
        nonlocal num_shared
        num_shared += count_prompts(parts) > 1
        return torch.OutOfMemoryError("CUDA out of memory") if num_shared == at and count_prompts(parts) > 1 else None

    with failing(monkeypatch, method, once):
        together = refine(prompts, **options)
    assert num_shared > at
    assert [found.text for found in together] == [found.text for found in alone]
    assert {found.stop_reason for found in together} <= {"steps", "converged", "empty"}


def test_memory_that_holds_few_chains_gives_an_answer_of_few_chains(monkeypatch, model):
    """The steps go on with half of the chains, and the report says why."""

    def narrow(_number, asks):
        climbs = [ask for ask in asks if ask.tokens.soft.requires_grad]
        return RuntimeError("can't allocate memory") if climbs and rows(asks) > 1 else None

    with failing(monkeypatch, "forward_all", narrow):
        found = sea(model.invoke(QUESTIONS[0]))
    assert found["stop_reason"] == "out_of_memory"
    assert found["steps"] >= 1
    assert found["score_after"] >= found["score_before"]


@pytest.mark.parametrize("method", ["forward_all", "generate_step"])
def test_memory_that_holds_nothing_ends_in_words(monkeypatch, model, policy, method):
    with failing(monkeypatch, method, lambda *_: MemoryError()):
        found = model.invoke(QUESTIONS[0])
    assert sea(found)["stop_reason"] == "out_of_memory"
    assert found.content == sea(found)["draft"]
    assert idle(policy)
    assert model.invoke(QUESTIONS[0]).content


# Company


@pytest.mark.parametrize("error", first_fast([RuntimeError("broken"), SystemExit(1)]))
def test_a_reward_that_raises_fails_its_own_request_alone(policy, model, alone, error):
    def broken(prompt, completions):
        raise error

    with ThreadPoolExecutor(9) as pool:
        bad = pool.submit(steered(broken).invoke, QUESTIONS[0])
        good = list(pool.map(model.invoke, QUESTIONS))
    assert sea(bad.result())["stop_reason"] == "reward_unavailable"
    assert [message.content for message in good] == alone
    assert idle(policy)


def test_a_reward_that_blocks_holds_up_nobody(policy, model, alone):
    """Other requests are answered while it blocks."""
    is_blocked, may_return = threading.Event(), threading.Event()

    def blocked(prompt, completions):
        is_blocked.set()
        may_return.wait()
        return [0.0] * len(completions)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(steered(blocked).invoke, "Hello")
        try:
            is_blocked.wait()
            others = model.batch(QUESTIONS)
            assert not slow.done()
        finally:
            may_return.set()
    assert [message.content for message in others] == alone
    assert sea(slow.result())["failure"] is None
    assert idle(policy)


def test_a_reward_that_never_returns_ends_its_request_at_the_time_limit(policy):
    """With the draft."""
    never = threading.Event()
    slow = steered(lambda prompt, completions: never.wait(), budget=Budget(max_steps=1, max_time=0.3), preset="default")
    answer = slow.invoke("Hello")
    assert sea(answer)["stop_reason"] == "reward_unavailable"
    assert answer.content == sea(answer)["draft"]
    never.set()


@pytest.mark.slow
def test_64_threads_on_one_instance_get_what_each_gets_alone(policy, model, alone):
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda n: model.invoke(QUESTIONS[n % 4]).content, range(64)))
    assert found == alone * 16
    assert idle(policy)


def test_two_instances_share_one_set_of_weights_and_one_queue(model, alone):
    other = SEAChatModel(model="tiny", **SMALL, seed=1)
    expected = [kept(other.invoke(question)) for question in QUESTIONS[:2]]
    with ThreadPoolExecutor(8) as pool:
        mine = [pool.submit(model.invoke, question) for question in QUESTIONS]
        theirs = [pool.submit(other.invoke, question) for question in QUESTIONS[:2]]
    assert [future.result().content for future in mine] == alone
    assert [kept(future.result()) for future in theirs] == expected


def test_abatch_gives_what_each_gets_alone(model, alone):
    found = asyncio.run(model.abatch(QUESTIONS))
    assert [message.content for message in found] == alone


def test_a_request_that_is_cancelled_leaves_the_others_alone(policy, model, alone):
    """It would never end by itself; those beside it do."""

    async def all_of_them():
        endless = model.ainvoke(QUESTIONS[0], budget=Budget(max_steps=10**6, max_time=600))
        cancelled = asyncio.create_task(endless)
        others = [asyncio.create_task(model.ainvoke(question)) for question in QUESTIONS[1:]]
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        assert cancelled.cancelled()
        return [message.content for message in await asyncio.gather(*others)]

    assert asyncio.run(all_of_them()) == alone[1:]
    assert idle(policy)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_ends_what_the_main_thread_asked_and_nothing_else(policy, model, alone):
    """Another thread waits for its own, and gets it."""
    asked = threading.Event()

    def slow(prompt, completions):
        asked.set()
        threading.Event().wait(60)

    others = []

    def beside():
        asked.wait(60)
        others.append(model.invoke(QUESTIONS[0]).content)

    def press():
        asked.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threads = [threading.Thread(target=target) for target in (beside, press)]
    for thread in threads:
        thread.start()
    with pytest.raises(RefinementInterrupted):
        steered(slow).invoke("Hello")
    for thread in threads:
        thread.join(60)
    assert others == alone[:1]
    assert idle(policy)


FORK = """
import os, sys, threading
from langchain_sea import Budget, SEAChatModel
model = SEAChatModel(policy="tiny", budget=Budget(max_steps=2, max_time=None), max_tokens=8)
before = model.invoke("What is 11 + 14?").content
# while another thread refines
long = Budget(max_steps=400, max_time=20)
busy = threading.Thread(target=lambda: model.invoke("Hello", budget=long, max_tokens=8))
busy.start()
child = os.fork()
if child == 0:
    os._exit(0 if model.invoke("What is 11 + 14?").content == before else 3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
busy.join()
sys.exit(status or model.invoke("What is 11 + 14?").content != before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_answers_too():
    """One thread computes: OpenMP's own workers do not survive a fork, here as in any program."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, env=environment, timeout=100, check=False)
    assert done.returncode == 0
