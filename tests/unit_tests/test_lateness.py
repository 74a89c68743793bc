"""Steps begin nothing when it is too late."""

from __future__ import annotations

import pytest
from machines import Clock

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.core.timeouts import LateError
from langchain_sea.engine.lateness import stop_when_late
from langchain_sea.errors import RewardUnavailableError


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
