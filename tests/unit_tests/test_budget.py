"""Budgets and what meters them."""

import math

import pytest

from langchain_sea.budget import Budget, BudgetTracker


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_steps": -1}, "max_steps=-1"),
        ({"max_time": 0.0}, "max_time=0.0"),
        ({"max_time": math.inf}, "max_time=inf"),
        ({"max_evaluations": 0}, "max_evaluations=0"),
    ],
)
def test_a_budget_refuses(options, match):
    """By the field's name and the offending value."""
    with pytest.raises(ValueError, match=match):
        Budget(**options)


def test_an_answer_needs_room_for_a_token():
    """At least one."""
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        BudgetTracker(Budget(), max_new_tokens=0)


class Clock:
    """Stands still unless it is moved."""

    now = 100.0

    def __call__(self):
        return self.now


def tracked(draft_seconds=None, seconds=0.0, timeout=None, **limits):
    """A tracker and its clock: of a draft that took so long, and so many seconds after it."""
    clock = Clock()
    tracker = BudgetTracker(Budget(**limits), timeout=timeout, clock=clock)
    tracker.start()
    if draft_seconds is not None:
        clock.now += draft_seconds
        tracker.start_refinement()
    clock.now += seconds
    return tracker, clock


def test_no_limit_is_never_over():
    """Without limits there is always more to spend."""
    tracker, _ = tracked(1e9, 1e9, max_time=None)
    tracker.evaluations = 10**9
    assert tracker.exhausted_limit() is None
    assert tracker.remaining(0.5) == math.inf


def test_the_first_limit_reached_is_named():
    """Seconds at their share, evaluations at their number."""
    tracker, _ = tracked(0.0, 4.0, max_time=10.0, max_evaluations=3)
    assert tracker.exhausted_limit() is None
    assert tracker.exhausted_limit(0.4) == "seconds"
    assert tracker.remaining(0.5) == pytest.approx(1.0)
    assert tracker.remaining(0.1) == 0.0
    tracker.evaluations = 3
    assert tracker.exhausted_limit() == "evaluations"
    assert tracker.exhausted_limit(0.4) == "seconds"


def test_the_time_limit_begins_at_the_end_of_the_draft():
    """However long the draft takes; a second call of `start_refinement` does not give more time."""
    tracker, clock = tracked(max_time=10.0)
    clock.now += 1e6
    assert tracker.exhausted_limit() is None
    assert tracker.remaining() == math.inf
    assert tracker.draft_seconds == 1e6
    tracker.start_refinement()
    clock.now += 7
    tracker.start_refinement()
    assert tracker.draft_seconds == 1e6
    assert tracker.seconds == 1e6 + 7
    assert tracker.remaining() == pytest.approx(3.0)
    clock.now += 3
    assert tracker.exhausted_limit() == "seconds"


def test_the_timeout_counts_the_draft_too():
    """It is the limit of the whole call, and is named before the others."""
    tracker, clock = tracked(timeout=5.0, max_time=None)
    clock.now += 2
    assert (tracker.remaining(), tracker.is_timed_out) == (3.0, False)
    tracker.start_refinement()
    assert tracker.remaining(0.1) == 3.0  # a share is of `max_time` alone
    clock.now += 3
    assert (tracker.exhausted_limit(), tracker.remaining(), tracker.is_timed_out) == ("timeout", 0.0, True)


def test_the_smaller_of_both_limits_counts():
    """Whichever it is."""
    assert tracked(2.0, 1.0, timeout=5.0, max_time=1.5)[0].remaining() == 0.5
    assert tracked(2.0, 1.0, timeout=3.5, max_time=9.0)[0].remaining() == 0.5


def test_time_in_a_queue_does_not_count():
    """The clock starts with the first step, and runs."""
    clock = Clock()
    tracker = BudgetTracker(Budget(max_time=1.0), timeout=1.0, clock=clock)
    clock.now += 50
    tracker.start()
    assert (tracker.seconds, tracker.exhausted_limit()) == (0.0, None)
    clock.now += 0.5
    assert tracker.seconds == 0.5
