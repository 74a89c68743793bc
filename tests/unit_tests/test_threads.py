"""The number of threads while an engine works: measured against fewer, kept where that gains little, and given back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_sea.engine.threads import ThreadControl, choose_fastest, list_candidates, measure_products

seconds = st.floats(1e-6, 10.0)


@pytest.fixture
def numbers(monkeypatch):
    """All numbers of threads that torch was given, the first by the user; the process keeps its own."""
    numbers = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    return numbers


class Machine:
    """A machine on which work takes these seconds with a number of threads, and a clock that a test sets."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = {int(name.removeprefix("with_")): value for name, value in seconds.items()}
        self.now, self.measured = 0.0, 0

    def measure(self, number: int) -> float:
        self.measured += 1
        return self.seconds[number]

    def control(self, **environ: str) -> ThreadControl:
        return ThreadControl(self.measure, lambda: self.now, environ)


IDLE = {"with_1": 8.0, "with_4": 2.0, "with_8": 1.0}
BUSY = {"with_1": 8.0, "with_4": 30.0, "with_8": 200.0}


@given(st.dictionaries(st.integers(1, 64), st.lists(seconds, min_size=1, max_size=5), min_size=1), st.integers(1, 64))
def test_no_number_is_faster_by_a_margin_than_the_chosen_one(measured, current):
    """The current number stays unless another takes at most 0.8 of its time."""
    means = {number: sum(values) / len(values) for number, values in measured.items()}
    chosen = choose_fastest(current, measured)
    assert 0.8 * means[chosen] <= min(means.values()) * (1 + 1e-9)
    if chosen != current and current in means:
        assert means[chosen] <= 0.8 * means[current] * (1 + 1e-9)
    if current in means and means[current] == min(means.values()):
        assert chosen == current


def test_one_long_wait_of_four_counts():
    """A median would not see it."""
    assert choose_fastest(2, {1: [1.0, 1.0, 1.0, 1.0], 2: [0.6, 0.6, 16.0, 0.6]}) == 1


@pytest.mark.parametrize(("most", "candidates"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (8, [1, 4, 8]), (9, [1, 4, 9])])
def test_one_half_and_all_threads_are_measured(most, candidates):
    assert list_candidates(most) == candidates


@pytest.mark.usefixtures("numbers")
def test_beside_other_load_fewer_threads_compute():
    """And afterwards there are as many as before."""
    control = Machine(**BUSY).control()
    with control.use():
        control.adjust()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 8


def test_an_idle_machine_keeps_its_threads(numbers):
    control = Machine(**IDLE).control()
    with control.use():
        control.adjust()
    assert set(numbers) == {8}


@pytest.mark.usefixtures("numbers")
def test_the_load_is_measured_again_while_an_engine_works():
    """Not at every step, but when it is some seconds ago."""
    machine = Machine(**IDLE)
    control = machine.control()
    with control.use():
        control.adjust()
        machine.seconds = {1: 8.0, 4: 30.0, 8: 200.0}
        control.adjust()
        assert torch.get_num_threads() == 8
        machine.now = 60.0
        control.adjust()
        assert torch.get_num_threads() == 1
        count = machine.measured
        machine.seconds = {1: 8.0, 4: 2.0, 8: 1.0}
        machine.now = 120.0
        control.adjust()
        assert machine.measured > count
        assert torch.get_num_threads() == 8


@pytest.mark.usefixtures("numbers")
def test_two_engines_give_back_what_was_there_before_both():
    """The second one begins while the first has lowered the number."""
    control = Machine(**BUSY).control()
    with control.use():
        control.adjust()
        with control.use():
            control.adjust()
            assert torch.get_num_threads() == 1
        control.adjust()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 8


def test_a_number_that_the_user_lowers_between_two_calls_is_the_most(numbers):
    machine = Machine(**IDLE, with_2=3.0)
    control = machine.control()
    with control.use():
        control.adjust()
    numbers.append(2)
    with control.use():
        control.adjust()
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_nothing_is_changed_where_the_user_has_chosen(name, numbers):
    machine = Machine(**BUSY)
    control = machine.control(**{name: "8"})
    with control.use():
        control.adjust()
    assert machine.measured == 0
    assert set(numbers) == {8}


@pytest.mark.usefixtures("numbers")
def test_engines_may_have_a_number_of_their_own():
    machine = Machine(**BUSY)
    control = machine.control(LANGCHAIN_SEA_THREADS="3")
    with control.use():
        control.adjust()
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 8
    assert machine.measured == 0


@pytest.mark.usefixtures("numbers")
@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5"])
def test_a_number_that_is_none_is_refused(value):
    control = Machine(**BUSY).control(LANGCHAIN_SEA_THREADS=value)
    with control.use(), pytest.raises(ValueError, match=f"LANGCHAIN_SEA_THREADS='{value}'.*at least 1"):
        control.adjust()


def test_one_thread_is_never_measured(numbers):
    """There is nothing to choose."""
    numbers.append(1)
    machine = Machine(**BUSY)
    control = machine.control()
    with control.use():
        control.adjust()
    assert machine.measured == 0


def test_a_measurement_is_of_some_milliseconds_on_the_clock(numbers):
    """It is the mean of the products that a window has room for, and of one at least."""
    ticks = iter(range(1000))
    assert measure_products(3, lambda: next(ticks) * 0.001) == pytest.approx(0.0015)
    assert numbers[-1] == 3
    ticks = iter(range(1000))
    assert measure_products(1, lambda: next(ticks) * 10.0) == 20.0
