"""The table of the plans, and the benchmark that slows a machine down."""

from __future__ import annotations

import re
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from machines import Clock

from langchain_sea import load_model, make_energy, refine
from langchain_sea.budget import Budget
from langchain_sea.engine.speed_model import get_speed
from langchain_sea.plans import PLANS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))


def test_the_page_lists_the_plans():
    """As they are."""
    page = (ROOT / "docs/tuning.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    expected = [(plan.name, plan.num_draws, plan.rounds, plan.tokens, plan.kept) for plan in PLANS]
    assert [(name, *map(int, numbers)) for name, *numbers in rows] == expected


def row(**fields):
    """A row of the benchmark."""
    plain = {"kind": "harmful", "question": "q", "seconds": 10.0, "slowdown": 1.0, "load": False, "plan": None}
    plain |= {"call": 20.0, "draft": 10.0, "longest_step": 0.5, "end": "by_itself", "text": "yes"}
    return plain | {"score_before": 0.0, "score_after": 2.0, "chosen": "tiny: …"} | fields


def test_figures_of_the_benchmark_are_counted_by_hand():
    """Each from the rows that it is about."""
    from any_machine_figures import compute_figures

    rows = [
        row(),
        row(slowdown=16.0, score_after=1.0, call=22.5),
        row(slowdown=16.0, question="other", kind="harmless", end="cut", call=40.0, longest_step=2.0),
        row(seconds=0.1, question="p", text="plain", call=11.0),
        row(seconds=0.1, question="other", text="changed"),
        row(kind="plain", question="p", text="plain", seconds=0.0),
        row(kind="plain", question="other", text="plain", seconds=0.0),
        row(load=True, end="max_tokens", call=21.0),
        row(kind="demo", question="demo", call=90.0, whole_answers=4),
        row(plan="small", call=13.0, score_after=0.5),
    ]
    found = compute_figures(rows)
    assert (found["complete"]["value"], found["complete"]["answers"]) == (0.5, 5)
    assert found["as_plain"]["value"] == 0.5
    assert (found["overshoot"]["value"], found["overshoot"]["allowed"]) == (3.0, 1.35)
    assert found["overshoot"]["within"] == pytest.approx(1 / 3)
    assert (found["gain_kept"]["value"], found["gain_kept"]["questions"]) == (0.5, 1)
    assert found["harmless_cost"]["value"] == 4.0
    assert (found["demo_seconds"]["value"], found["demo_seconds"]["whole_answers"]) == (90.0, 4)
    assert (found["complete_beside_load"]["value"], found["overshoot_beside_load"]["value"]) == (1.0, 1.1)
    assert found["worth"]["small"] == {"seconds": 3.0, "gain": {"harmful": 0.5}, "answers": 1}
    assert compute_figures([]) == {}


@pytest.mark.parametrize("sleeps", [False, True])
def test_a_slow_machine_waits_as_long_as_its_factor_says(monkeypatch, sleeps):
    """Three times as long as a call took, calls inside it apart; the wait is slept, or the clock is put forward."""
    import any_machine_clock

    clock = Clock()
    monkeypatch.setattr(any_machine_clock, "time", SimpleNamespace(monotonic=clock, sleep=clock.call))
    machine = any_machine_clock.SlowMachine(4.0, sleeps=sleeps)
    inner = machine.slow(lambda: clock.call(1.0))
    outer = machine.slow(lambda: (inner(), clock.call(1.0)))
    inner()
    assert machine.clock() == 4.0
    outer()
    assert machine.clock() == 4.0 + 8.0
    assert clock.now == (12.0 if sleeps else 3.0)


def test_a_slow_machine_slows_every_pass(monkeypatch):
    """The clock counts its own readings here. What was measured elsewhere is not known on that machine."""
    import any_machine_clock

    monkeypatch.setattr(any_machine_clock, "time", SimpleNamespace(monotonic=count().__next__, sleep=time.sleep))
    policy = load_model("tiny")
    before = get_speed(policy)
    with any_machine_clock.SlowMachine(1000.0).running():
        assert get_speed(policy) is not before
        prompt = policy.prompt([{"role": "user", "content": "What is 14 + 23?"}])
        (found,) = refine([prompt], energy=make_energy(policy), budget=Budget(max_time=900.0), max_new_tokens=8)
        assert get_speed(policy).is_measured
    assert get_speed(policy) is before
    assert found.draft_seconds > 999 * found.draft_tokens
    assert found.text == found.draft
    assert found.stop_reason == "seconds"
