"""What tests of any module may ask for."""

import signal
from dataclasses import replace

import pytest
from doubles import with_fields

from langchain_sea.engine import latent_refiner, planning
from langchain_sea.models import static_attention, static_decode
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS


@pytest.fixture
def ctrl_c():
    """Python's own answer to SIGINT: a shell that started this in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def one_small_plan(monkeypatch):
    """The only plan there is to choose: the largest that fits would follow from the speed of the machine.

    A plan counts for no reward that is a sum over tokens, so the default preset has few drafts and chains, too.
    """
    plan = SearchPlan(name="tiny", groups=2, rows=2, rounds=2, tokens=4, kept=1)
    for module in (planning, latent_refiner):
        monkeypatch.setattr(module, "PLANS", (plan,))
    default = PRESETS["default"]
    search_config = with_fields(default.search_config, num_drafts=8, num_kept=2, num_chains=2, max_steps=2)
    monkeypatch.setitem(PRESETS, "default", replace(default, search_config=search_config))


@pytest.fixture
def _prompts(request, monkeypatch):
    """Whether rows have a copy of their prompt; both ways are for prompts of any length."""
    if request.param == "shared":
        monkeypatch.setattr(static_attention, "_MAX_COPIED_POSITIONS", 0)
        monkeypatch.setattr(static_decode, "_MAX_COPIED_POSITIONS", 0)
        monkeypatch.setattr(static_decode, "_MAX_PADDING", 100)
