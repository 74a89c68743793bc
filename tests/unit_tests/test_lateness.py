"""Steps begin nothing when it is too late."""

from __future__ import annotations

import pytest
from doubles import DoublePrompt, MarkovPolicy, TokenReward, Vowels, shrunk
from machines import Clock

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.core.timeouts import LateError
from langchain_sea.engine.baselines import BestOfN, QAlign, RandomEdits
from langchain_sea.engine.drafting import Drafter
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.lateness import stop_when_late
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.engine.search import SearchRequest
from langchain_sea.errors import RewardUnavailableError

PROMPT = DoublePrompt("question")


def late_tracker(**limits):
    clock = Clock()
    tracker = BudgetTracker(Budget(**limits), clock=clock)
    tracker.start_refinement()
    return tracker, clock


@pytest.mark.parametrize(("seconds", "is_late"), [(0.0, False), (11.4, False), (11.5, True), (100.0, True)])
def test_an_op_begins_until_little_more_than_the_time_is_over(seconds, is_late):
    """A seventh more; then the steps are closed, and the tracker says why."""
    tracker, clock = late_tracker(max_time=10.0)
    events = []

    def steps():
        try:
            events.append((yield "first"))
            events.append((yield "second"))
        finally:
            events.append("end")

    running = stop_when_late(steps(), tracker)
    assert next(running) == "first"
    clock.now = seconds
    if is_late:
        with pytest.raises(StopIteration):
            running.send(1)
        assert (events, tracker.stop_reason) == ([1, "end"], StopReason.SECONDS)
    else:
        assert running.send(1) == "second"
        with pytest.raises(StopIteration):
            running.send(2)
        assert (events, tracker.stop_reason) == ([1, 2, "end"], StopReason.STEPS)


def test_other_limits_leave_the_decision_to_the_steps():
    """They may still write and score what they have."""
    tracker, _ = late_tracker(max_time=None, max_evaluations=1)
    tracker.evaluations = 5

    def steps():
        yield "first"

    assert list(stop_when_late(steps(), tracker)) == ["first"]


def test_errors_reach_the_steps():
    """Which may go on after them, or let them pass."""
    tracker, clock = late_tracker(max_time=10.0)

    def steps():
        with pytest.raises(MemoryError):
            yield "first"
        yield "second"

    running = stop_when_late(steps(), tracker)
    next(running)
    assert running.throw(MemoryError()) == "second"
    clock.now = 99.0
    with pytest.raises(RewardUnavailableError):
        running.throw(RewardUnavailableError("of the reward's own"))


def test_a_reward_that_is_late_before_the_end_of_the_time_has_failed():
    """Its own timeout was over, not the budget's."""
    tracker, clock = late_tracker(max_time=10.0)

    def steps():
        yield "first"

    for seconds, is_failure in ((5.0, True), (10.0, False)):
        running = stop_when_late(steps(), tracker)
        next(running)
        clock.now = seconds
        error = RewardUnavailableError("late")
        error.__cause__ = LateError()
        with pytest.raises(RewardUnavailableError if is_failure else StopIteration):
            running.throw(error)
    assert tracker.stop_reason == "seconds"


class Hanging(Vowels):
    """A reward that still runs, or fails, at one of its calls."""

    def __init__(self, clock, at, *, is_late=True):
        self.clock, self.at, self.is_late, self.calls = clock, at, is_late, 0

    def score(self, view, texts):
        self.calls += 1
        if self.calls == self.at:
            self.clock.now += 99.0
            raise RewardUnavailableError("late") from (LateError() if self.is_late else OSError())
        return super().score(view, texts)


def make_search(method):
    def make(energy, tracker):
        drafter = Drafter(energy.policy, 0.8, generators_for(0, "q", 8, energy.policy.device), tracker)
        return SearchRequest(PROMPT, method, energy, drafter)

    return make


def make_refinement(energy, tracker):
    langevin, search_config = shrunk("paper", max_steps=8)
    return RefinementRequest(
        PROMPT, [], energy, langevin, search_config, generators_for(0, "q", 8, energy.policy.device), tracker
    )


REQUESTS = [
    make_search(BestOfN(rows=4)),
    make_search(QAlign(rows=4)),
    make_search(RandomEdits(rows=4, span=4, top=6)),
    make_refinement,
]


@pytest.mark.parametrize("make", REQUESTS)
@pytest.mark.parametrize(("at", "is_late", "fails"), [(4, True, False), (4, False, True), (1, True, True)])
def test_a_reward_that_runs_when_the_time_is_over_loses_no_answer(make, at, is_late, fails):
    """What was scored before counts; a reward that fails, or hangs over the draft, leaves the draft."""
    clock = Clock()
    tracker = BudgetTracker(Budget(max_time=10.0), 8, clock=clock)
    terms = (
        RewardTerm(reward=Hanging(clock, at, is_late=is_late), name="vowels"),
        RewardTerm(reward=TokenReward.random(0), name="tokens", weight=0.0),
    )
    energy = Energy(policy=MarkovPolicy(0), terms=terms, policy_weight=0.0, max_nll_rise=None)
    refined = run_to_completion(make(energy, tracker).steps())
    assert (refined.failure is not None) == fails
    assert refined.stop_reason == (StopReason.REWARD_UNAVAILABLE if fails else StopReason.SECONDS)
    assert refined.text == (refined.draft if fails else max(refined.candidates, key=lambda each: each.score).text)
