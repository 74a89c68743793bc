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


def at(now, **limits):
    """A tracker that began so many seconds ago, for the test's purposes exactly."""

    class At(BudgetTracker):
        seconds = property(lambda _self: now)

    return At(Budget(**limits))


def test_no_limit_is_never_over():
    """Without limits there is always more to spend."""
    tracker = at(1e9, max_time=None)
    tracker.evaluations = 10**9
    assert tracker.exhausted_limit() is None
    assert tracker.remaining(0.5) == math.inf


def test_the_first_limit_reached_is_named():
    """Seconds at their share, evaluations at their number."""
    tracker = at(4.0, max_time=10.0, max_evaluations=3)
    assert tracker.exhausted_limit() is None
    assert tracker.exhausted_limit(0.4) == "seconds"
    assert tracker.remaining(0.5) == pytest.approx(1.0)
    assert tracker.remaining(0.1) == 0.0
    tracker.evaluations = 3
    assert tracker.exhausted_limit() == "evaluations"
    assert tracker.exhausted_limit(0.4) == "seconds"


def test_the_clock_starts_with_the_meter():
    """And runs."""
    tracker = BudgetTracker(Budget())
    first = tracker.seconds
    assert 0 <= first <= tracker.seconds
