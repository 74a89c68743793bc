"""On a machine of any speed an answer is whole, never worse than its draft, and hardly late. The clock is a number."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest
from doubles import Vowels
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import ROUNDING, SLACK, Call, Clock, Machine
from slow_cases import first_fast

from langchain_sea.budget import StopReason
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.latent_search import LatentSearch
from langchain_sea.plans import PLANS

bases = st.floats(-2, 1).map(lambda power: 10**power)
machines = st.builds(
    Machine,
    base=bases,
    row=st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]),
    token=st.sampled_from([0.001, 0.01, 0.05, 0.3]),
    gradient=st.sampled_from([1.5, 2.5, 6.0]),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    busy_after=st.none() | st.integers(0, 150),
)
steady_machines = st.builds(Machine, base=bases, row=st.floats(0, 0.3), token=st.floats(0, 0.3))
passes = st.floats(-1, 4).map(lambda power: 10**power)
"""How many passes fit into the seconds that are asked for."""
sizes = {
    "seed": st.integers(0, 10_000),
    "max_tokens": st.sampled_from([1, 3, 10, 30]),
    "stride": st.sampled_from([3, 8, 64]),
    "slow": st.sampled_from([0.0, 1.0, 30.0]),
}
kinds = st.sampled_from(["beginnings", "steered", "texts", "functions"])


def properties(number):
    return settings(derandomize=True, max_examples=number)


@pytest.mark.slow
@given(call=st.builds(Call, machine=machines, kind=kinds, **sizes), passes=passes)
@properties(120)
def test_an_answer_is_whole_never_worse_and_hardly_late(call, passes):
    """Whatever the machine and the time, and however long the reward takes."""
    seconds = passes * call.machine.base
    ((request, found),) = call.run(max_time=seconds)
    assert call.faults(seconds, request, found) == []


together = st.builds(
    Call,
    machine=machines,
    kind=st.sampled_from(["beginnings", "steered", "texts"]),
    num_prompts=st.integers(2, 4),
    **sizes,
)


@pytest.mark.slow
@given(call=together, passes=passes)
@properties(25)
def test_many_answers_that_are_refined_together_are_whole(call, passes):
    check_together(call, passes)


@given(call=together, passes=passes)
@properties(6)
def test_so_are_answers_that_are_refined_together(call, passes):
    """Each has its own time, from the end of its own draft."""
    check_together(call, passes)


def check_together(call, passes):
    """Find no fault in any of the answers."""
    seconds = passes * call.machine.base
    for request, found in call.run(max_time=seconds):
        assert call.faults(seconds, request, found) == []


@given(call=st.builds(Call, machine=steady_machines, kind=kinds, **sizes), passes=passes)
@properties(25)
def test_no_draws_are_begun_that_cannot_be_finished(call, passes):
    """On a machine of constant speed, from the first call on."""
    waves, draw = [], LatentSearch._draw

    def watched(self, rows):
        drawn = yield from draw(self, rows)
        waves.append(drawn is not None)
        return drawn

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LatentSearch, "_draw", watched)
        call.run(max_time=passes * call.machine.base)
    assert all(waves)


@given(call=st.builds(Call, machine=machines, kind=kinds, **sizes), passes=passes)
@properties(25)
def test_only_the_limit_of_the_call_cuts_a_text(call, passes):
    """It is kept to a step, and the report says so."""
    timeout = passes * call.machine.base
    ((_, found),) = call.run(max_time=None, timeout=timeout)
    assert found.seconds <= SLACK * timeout + call.longest_step + call.clock.longest_call + ROUNDING
    is_whole = found.ids in call.policy.ended or len(found.ids) == call.max_tokens or found.text.endswith(".")
    assert is_whole or (found.stop_reason == "timeout" and not found.is_complete)


@pytest.mark.parametrize("kind", first_fast(["beginnings", "texts", "functions"]))
def test_more_time_is_used(kind):
    """For a larger plan, until the largest fits; on a slower machine the same answer takes more of it."""
    calls = [Call(Machine(0.1, 0.02, 0.002), kind, seed=7, max_tokens=12) for _ in range(4)]
    found = [call.run(max_time=seconds)[0][1] for call, seconds in zip(calls, (1.0, 10.0, 100.0, 1000.0), strict=True)]
    plans = [f.plan.partition(":")[0] for f in found]
    order = ["none", *(plan.name for plan in PLANS)]
    assert [order.index(plan) for plan in plans] == sorted(order.index(plan) for plan in plans)
    assert plans[-1] == PLANS[-1].name
    assert len(set(plans)) >= 3
    slower = Call(Machine(10.0, 0.02, 0.002), kind, seed=7, max_tokens=12).run(max_time=1000.0)[0][1]
    assert slower.plan.partition(":")[0] == plans[1]


def test_the_time_of_a_function_counts_in_the_plan():
    """A slow one leaves time for fewer draws."""
    fast, slow = (Call(Machine(0.01, 0.02, 0.002), "functions", seed=3, slow=slow) for slow in (0.0, 100.0))
    plans = [call.run(max_time=20.0)[0][1].plan.partition(":")[0] for call in (fast, slow)]
    sizes = ["none", "drafts", *(plan.name for plan in PLANS)]
    assert plans[0] == sizes[-1]
    assert sizes.index(plans[1]) <= sizes.index("medium")


@dataclass(frozen=True)
class Stuck(Vowels):
    """A function that returns for one text alone."""

    clock: Clock = field(default_factory=Clock)
    released: threading.Event = field(default_factory=threading.Event)

    def score(self, view, texts):
        if len(texts) > 1:
            self.clock.now += 1e6
            self.released.wait()
        return super().score(view, texts)


def test_a_function_that_does_not_return_in_time_ends_the_search():
    """With the best answer so far, and no failure: the draft was scored."""
    call = Call(Machine(0.01, 0.02, 0.002), "functions", seed=3)
    reward = Stuck(clock=call.clock)
    call.energy = replace(call.energy, terms=(RewardTerm(reward=reward, name="r"),))
    ((_, found),) = call.run(max_time=20.0)
    reward.released.set()
    assert (found.stop_reason, found.failure) == (StopReason.SECONDS, None)
    assert found.text == found.draft == found.before.text
