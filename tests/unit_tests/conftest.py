"""What tests of any module may ask for."""

import signal

import pytest

from langchain_sea.engine import latent_refiner, planning
from langchain_sea.plans import SearchPlan


@pytest.fixture
def ctrl_c():
    """Python's own answer to SIGINT: a shell that started this in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def one_small_plan(monkeypatch):
    """The only plan there is to choose: the largest that fits would follow from the speed of the machine."""
    plan = SearchPlan(name="tiny", groups=2, rows=2, rounds=2, tokens=4, kept=1)
    for module in (planning, latent_refiner):
        monkeypatch.setattr(module, "PLANS", (plan,))
