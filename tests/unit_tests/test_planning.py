"""The choice of a plan by measured speed, the table of plans, and the limits on a text that replaces the draft."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_sea.core.limits import TextLimits, repeated_share
from langchain_sea.core.trace import ScoredText
from langchain_sea.engine.planning import (
    Workload,
    choose_draws,
    choose_plan,
    plan_seconds,
    round_costs,
    writing_seconds,
)
from langchain_sea.engine.speed_model import SpeedModel, get_speed
from langchain_sea.plans import PLANS, SearchPlan, find_plan

WORK = Workload(draw_tokens=None, written_tokens=56, answer_tokens=64)


def measured(factor=1.0, *, rows=(1, 8, 64), base=0.02, slope=0.001):
    """The speed of a machine on which a pass takes a constant time and some for each row."""
    speed = SpeedModel()
    for number in rows:
        speed.record_decode(number, factor * (base + slope * number))
        speed.record_forward(8 * number, factor * (base + slope * 8 * number))
    return speed


factors = st.floats(0.01, 1000)


def test_passes_that_a_coarse_clock_did_not_see_take_no_time():
    """Larger ones are expected to take as long as they would by that."""
    speed = measured(0.0)
    assert speed.decode(1000) == speed.forward(10_000) == 0.0


# The speed


def test_nothing_measured_takes_no_time():
    """And it is said that nothing is known."""
    speed = SpeedModel()
    assert not speed.is_measured
    assert (speed.decode(8), speed.forward(8), speed.gradient(8)) == (0, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(1e-4, 10)), min_size=1, max_size=12), st.integers(1, 4000))
def test_more_rows_never_take_less_beyond_what_was_measured(samples, rows):
    """A pass is at least as long as that of the largest smaller size."""
    speed = SpeedModel()
    for number, seconds in samples:
        speed.record_decode(number, seconds)
    largest = max(number for number, _ in samples)
    beyond = 2 * largest + rows
    assert speed.decode(rows) > 0
    assert speed.decode(2 * largest) <= speed.decode(beyond) < math.inf


def test_a_measured_size_is_its_median():
    """One slow pass, such as the first, does not change the estimate."""
    speed = SpeedModel()
    for seconds in (50.0, 1.0, 2.0, 1.0, 2.0):
        speed.record_decode(64, seconds)
    assert speed.decode(64) == 2.0


def test_old_measurements_are_forgotten():
    """The machine may be busy now."""
    speed = SpeedModel()
    for seconds in [1.0] * 50 + [7.0] * 9:
        speed.record_decode(16, seconds)
    assert speed.decode(16) == 7.0


def test_sizes_between_measured_ones_lie_on_the_line():
    """And below the smallest one a pass takes as long as there: it reads the weights."""
    speed = SpeedModel()
    speed.record_decode(16, 1.0)
    speed.record_decode(64, 4.0)
    assert speed.decode(40) == pytest.approx(2.5)
    assert speed.decode(4) == 1.0


@given(tokens=st.integers(8, 512))
def test_reading_fewer_tokens_than_ever_is_between_one_token_of_rows_and_the_least_that_was_read(tokens):
    """A first draft is long; what is read next may be short."""
    speed = SpeedModel()
    speed.record_decode(8, 1.0)
    speed.record_forward(512, 50.0)
    assert speed.forward(tokens) == pytest.approx(1.0 + 49.0 * (tokens - 8) / (512 - 8))


def test_few_rows_beyond_the_measured_take_about_as_long():
    """Small passes read the weights, whatever their size; large ones grow with their rows."""
    speed = SpeedModel()
    speed.record_decode(1, 1.0)
    assert speed.decode(2) < 1.1
    assert 2 < speed.decode(64) < 8


def test_passes_of_no_tokens_are_no_measurement():
    """Nothing was read."""
    speed = SpeedModel()
    speed.record_forward(0, 9.0)
    assert speed.forward(100) == 0


def test_a_gradient_is_guessed_until_it_is_measured():
    """From the forward passes; they are guessed from the drafting."""
    speed = SpeedModel()
    speed.record_decode(64, 1.0)
    assert speed.forward(64) == 1.0
    assert speed.gradient(64) > speed.forward(64)
    speed.record_forward(64, 3.0)
    assert speed.forward(64) == 3.0
    guessed = speed.gradient(64)
    assert guessed > 3.0
    speed.record_gradient(64, 4.0)
    assert speed.gradient(64) == 4.0


def test_a_policy_has_one_speed():
    """All its requests learn together, and the speed does not keep the policy alive."""

    class Policy:
        pass

    policy, other = Policy(), Policy()
    get_speed(policy).record_decode(1, 1.0)
    assert get_speed(policy).decode(1) == 1.0
    assert not get_speed(other).is_measured


# The choice


@given(factors, st.floats(0.001, 1000), st.integers(1, 16))
def test_the_chosen_plan_fits(factor, seconds, requests):
    """It is expected to end in time, the smallest one perhaps only if answers end early; no larger plan is."""
    speed = measured(factor)
    speed.num_requests = requests
    plan, reason = choose_plan(speed, seconds, WORK)
    larger = PLANS if plan is None else PLANS[PLANS.index(plan) + 1 :]
    work = WORK._replace(written_tokens=8, answer_tokens=16) if "end early" in reason else WORK
    assert plan is None or plan_seconds(plan, speed, work) <= seconds
    assert "end early" not in reason or plan == PLANS[0]
    assert all(plan_seconds(each, speed, WORK) > seconds for each in larger)
    assert f"{seconds:.3g} s" in reason


@given(factors, st.floats(0.1, 100), st.floats(1, 50))
def test_more_time_is_never_a_smaller_plan(factor, seconds, more):
    """Nor is a faster machine."""
    sizes = [
        -1 if plan is None else PLANS.index(plan)
        for plan in (
            choose_plan(measured(factor), seconds, WORK)[0],
            choose_plan(measured(factor), seconds * more, WORK)[0],
            choose_plan(measured(factor / more), seconds, WORK)[0],
        )
    ]
    assert sizes[0] <= min(sizes[1:])


def test_every_plan_is_chosen_by_some_machine():
    """As is none of them, on the slowest."""
    chosen = {choose_plan(measured(0.1 * 1.1**power), 30.0, WORK)[0] for power in range(120)}
    assert chosen == {None, *PLANS}


def test_without_a_limit_the_largest_is_chosen_and_without_a_measurement_the_smallest():
    """The reason says which of both it was."""
    assert choose_plan(measured(1e9), math.inf, WORK) == (PLANS[-1], "there is no time limit")
    plan, reason = choose_plan(SpeedModel(), 1.0, WORK)
    assert (plan, "not known" in reason) == (PLANS[0], True)


def make_text_work(tokens):
    return WORK._replace(draw_tokens=tokens, written_tokens=max(0, 56 - tokens))


@given(factor=factors, seconds=st.floats(0.1, 100), whole=st.integers(8, 400))
def test_as_many_drafts_as_fit_where_no_plan_does(factor, seconds, whole):
    """At least two; a plan is preferred, and fits into the time itself or as answers that end early."""
    speed = measured(factor)

    plan, reason, tokens = choose_draws(speed, seconds, whole, make_text_work)
    if plan is None:
        two = SearchPlan(groups=1, rows=2, rounds=1, tokens=whole, kept=1)
        assert plan_seconds(two, speed, make_text_work(whole)) > seconds
        assert "two more drafts" in reason
    elif plan.name == "drafts":
        assert 2 <= plan.num_draws <= 16
        assert tokens == whole
        assert plan_seconds(plan, speed, make_text_work(whole)) <= seconds
        assert choose_plan(speed, seconds, make_text_work(whole))[0] in {None, *PLANS[:2]}
    else:
        assert plan in PLANS
        assert tokens in {whole, min(whole, 48)}


def test_some_machines_write_drafts_alone():
    def choose(power):
        plan, _, _ = choose_draws(measured(1.1**power), 30.0, 64, make_text_work)
        return plan and plan.name

    assert {"drafts", "tiny", None} <= {choose(power) for power in range(60)}


def test_other_requests_take_their_share():
    """Rows of all of them are in one pass."""
    alone, together = measured(), measured()
    together.num_requests = 8
    assert plan_seconds(PLANS[2], together, WORK) > 2 * plan_seconds(PLANS[2], alone, WORK)


def test_costs_are_what_is_drawn_scored_and_written():
    """Counted by hand on a machine whose passes take a second each."""
    speed = measured(rows=(1, 4096), base=1.0, slope=0.0)
    speed.record_gradient(1, 3.0)
    speed.record_gradient(10**6, 3.0)
    plan = SearchPlan(groups=2, rows=4, rounds=3, tokens=5, kept=2)
    assert round_costs(plan, speed, WORK) == pytest.approx((5 + 1, 3))
    assert round_costs(plan, speed, WORK._replace(draw_tokens=20))[0] == pytest.approx(21)
    assert writing_seconds(2, speed, WORK) == pytest.approx(58.5)
    total = 3 * 6 + 2 * 3 + 57
    assert total < plan_seconds(plan, speed, WORK) < 1.2 * total


# Plans


def test_plans_grow():
    """Each draws more than the one before it, and has a name of its own."""
    draws = [plan.num_draws * plan.rounds * plan.tokens for plan in PLANS]
    assert draws == sorted(set(draws))
    assert len({plan.name for plan in PLANS}) == len(PLANS)


def test_a_plan_is_found_by_its_name():
    """A plan itself is taken as it is; a name that is not there brings the nearest one."""
    for plan in PLANS:
        assert find_plan(plan.name) is plan
    own = SearchPlan(rows=3)
    assert find_plan(own) is own
    with pytest.raises(ValueError, match=r"no plan 'medum': choose 'tiny'.*medium"):
        find_plan("medum")
    with pytest.raises(ValueError, match="or pass a SearchPlan"):
        find_plan("?")


@pytest.mark.parametrize("name", ["groups", "rows", "rounds", "tokens", "kept"])
def test_a_plan_draws_something(name):
    """No part of it is zero."""
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        SearchPlan(**{name: 0})


# Limits


LIMITS = TextLimits(max_surprise_rise=1.0, max_first_surprise=6.9, max_repeat_rise=0.05)
DRAFT = ScoredText("one two three four five six", 0.0, 2.0, {}, max_surprise=5.0, first_surprise=1.0)


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"max_surprise": 5.9}, True),
        ({"max_surprise": 6.1}, False),
        ({"first_surprise": 6.8}, True),
        ({"first_surprise": 7.0}, False),
        ({"text": "one two three four"}, True),
        ({"text": "a b c d a b c d a b c d"}, False),
    ],
)
def test_a_text_reads_as_well_as_the_draft(change, accepted):
    """No token is much more surprising, the first word is a likely one, and nothing is said again and again."""
    assert (LIMITS.excess(DRAFT._replace(**change), DRAFT) == 0) == accepted


def test_what_the_draft_does_is_allowed():
    """A first token as unlikely as the draft's, and as much repetition."""
    odd = DRAFT._replace(first_surprise=9.0, max_surprise=9.0, text="a b c d a b c d a b c d")
    assert LIMITS.excess(odd, odd) == 0
    assert LIMITS.excess(odd._replace(first_surprise=9.1), odd) > 0


def test_the_excess_is_in_nats():
    """What exceeds the limits is added up, so that a search can leave it."""
    assert LIMITS.excess(DRAFT._replace(max_surprise=8.0), DRAFT) == pytest.approx(2.0)
    assert LIMITS.excess(DRAFT._replace(max_surprise=8.0, first_surprise=7.9), DRAFT) == pytest.approx(3.0)
    repeated = DRAFT._replace(text="a b c d a b c d")  # one of five 4-grams is there before
    assert LIMITS.excess(repeated, DRAFT) == pytest.approx(10 * (0.2 - 0.05))


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_the_repeated_share_counts_those_that_were_there_before(words):
    """By the definition, one 4-gram after another."""
    seen, repeated, ngrams = set(), 0, [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    for ngram in ngrams:
        repeated += ngram in seen
        seen.add(ngram)
    assert repeated_share(words) == pytest.approx(repeated / max(1, len(ngrams)))


@pytest.mark.parametrize("name", ["max_surprise_rise", "max_first_surprise", "max_repeat_rise", "min_gain_spreads"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_limits_are_numbers(name, value):
    """Finite, and not negative."""
    with pytest.raises(ValueError, match=name):
        replace(TextLimits(), **{name: value})


def test_what_was_measured_on_a_busier_machine_is_scaled():
    """Only drafts are measured at every call: a size that looked too slow once must not be excluded for ever."""
    speed = SpeedModel()
    for _ in range(9):
        speed.record_decode(1, 1.0)
    speed.record_decode(16, 4.0)
    speed.record_gradient(128, 8.0)
    for _ in range(9):
        speed.record_decode(1, 0.25)
    assert speed.decode(16) == pytest.approx(1.0)
    assert speed.gradient(128) == pytest.approx(2.0)
    assert speed.decode(1) == 0.25
