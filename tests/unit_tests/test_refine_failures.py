"""Rewards that fail, scores that are not finite, and interruptions: there is an answer whatever goes wrong."""

import math
import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import cache

import pytest
from doubles import MarkovPolicy, TokenReward, run
from refining import FAILURE, KINDS, PRESET_NAMES, PROMPTS, TEXT, energy_of, ids, kept, whole
from slow_cases import first_fast
from troubled_rewards import Troubled, raises

from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.queue import Engine, wait_for_calls
from langchain_sea.errors import RefinementInterrupted, RewardUnavailableError
from langchain_sea.sampling.langevin import Langevin


def test_a_score_that_overflows_never_wins():
    """A weight that lifts a finite reward to infinity says nothing about the text."""
    term = RewardTerm(reward=TokenReward.of("e", 1e38), name="huge", weight=100.0)
    energy = replace(energy_of(max_nll_rise=None), terms=(term,))
    (result,) = run(energy, PROMPTS[:1], drafts=[[ids("ab"), ids("ae")]], search_config=whole(max_steps=0))
    assert not result.accepted


# Rewards that fail


MISHAPS = [raises(FAILURE), raises(KeyError("x")), lambda values: values * math.nan]
STEEP = Langevin(step_size=5.0)


@cache
def sound_answers(preset, place):
    """What the prompts get where nothing fails."""
    return run(
        energy_of(Troubled(MISHAPS[0], only="nobody", **KINDS[place])), PROMPTS[:4], preset=preset, langevin=STEEP
    )


# how a reward fails is read in one place for all presets
@pytest.mark.parametrize(
    ("preset", "mishap"),
    first_fast(
        [("default", mishap) for mishap in reversed(MISHAPS)] + [(name, MISHAPS[0]) for name in PRESET_NAMES[1:]], 2
    ),
)
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("place", range(len(KINDS)))
def test_a_failing_reward_gives_the_draft(preset, mishap, at, place):
    """The answer is the draft, the failure is told, and the other prompts are as without it."""
    sound = sound_answers(preset, place)
    troubled = Troubled(mishap, only=PROMPTS[2].key, at=at, **KINDS[place])
    result = run(energy_of(troubled), PROMPTS[:4], preset=preset, langevin=STEEP)
    failed = result.pop(2)
    assert [kept(f) for f in result] == [kept(f) for f in sound[:2] + sound[3:]]
    assert isinstance(failed.failure, RewardUnavailableError)
    assert failed.stop_reason == "reward_unavailable"
    assert (failed.text, failed.accepted) == (sound[2].draft, False)
    assert failed.after == failed.before
    assert (failed.before is None) == (at == 0)


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_reward_that_fails_to_steer_gives_the_draft(preset, kind):
    """At the first gradient, or where the beginnings are ranked: the draft has been written before that."""
    energy = energy_of(Troubled(raises(FAILURE), where="score_soft", **kind))
    sound = run(energy_of(TokenReward.random(0)), PROMPTS, preset=preset)
    for result, expected in zip(run(energy, PROMPTS, preset=preset), sound, strict=True):
        assert result.failure is FAILURE
        assert (result.text, result.accepted) == (expected.draft, False)
        assert result.text == result.draft != ""


def test_a_score_that_is_not_finite_is_named():
    """Which reward, which number, which text."""
    energy = energy_of(Troubled(lambda values: values * math.nan))
    (result,) = run(energy, PROMPTS[:1], drafts=[[ids(TEXT)]])
    assert "'r0' gave nan" in str(result.failure)
    assert repr(TEXT) in str(result.failure)


# Ctrl-C


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("where", ["score", "score_soft"])
@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_interruption_brings_the_best_so_far(preset, where, at, kind):
    """Every prompt has its draft or better, and no `except Exception` swallows it."""
    trouble = Troubled(raises(KeyboardInterrupt()), where=where, at=at, **kind)
    energy = energy_of(trouble, max_nll_rise=None)
    with pytest.raises(RefinementInterrupted) as caught:
        run(energy, PROMPTS[:3], preset=preset, langevin=Langevin(step_size=5.0))
    assert not isinstance(caught.value, Exception)
    trouble.where = "never"
    for prompt, result in zip(PROMPTS, caught.value.refinements, strict=False):
        before, after = (-energy.evaluate_texts(prompt, [result.draft, result.text]).energy).tolist()
        assert result.draft
        assert after >= before
        assert result.accepted == (result.text != result.draft)
    reasons = [result.stop_reason for result in caught.value.refinements]
    assert len(reasons) == 3
    assert "interrupted" in reasons


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_policy_has_nothing_to_tell():
    """Before anything is drafted the answers are empty, and still one for each prompt."""

    class Interrupted(MarkovPolicy):
        def generate_step(self, _writings):
            raise KeyboardInterrupt

    with pytest.raises(RefinementInterrupted, match="best of 2 answers") as caught:
        run(energy_of(policy=Interrupted(0)), PROMPTS[:2])
    assert [result.text for result in caught.value.refinements] == ["", ""]
    assert [result.stop_reason for result in caught.value.refinements] == ["interrupted"] * 2


@pytest.mark.usefixtures("ctrl_c")
def test_an_interruption_between_two_steps_leaves_the_engine_to_other_threads(monkeypatch):
    """The main thread computes for calls of other threads, and gets Ctrl-C while it waits for requests."""
    engine, call = Engine(), Future()

    class Interrupted(threading.Event):
        def wait(self, _timeout=None):
            raise KeyboardInterrupt

    engine._scheduler.has_news = Interrupted()
    monkeypatch.setattr(engine, "cancel", lambda *_: call.set_result(None))
    with pytest.raises(RefinementInterrupted):
        wait_for_calls(engine, [call])
    assert not engine.is_stepped_here


@pytest.mark.usefixtures("ctrl_c")
def test_what_had_ended_keeps_its_reason():
    """A prompt that was done before the interruption is not called interrupted."""
    trouble = Troubled(raises(KeyboardInterrupt()), where="score", at=4, only=PROMPTS[1].key)
    with pytest.raises(RefinementInterrupted) as caught:
        run(
            energy_of(trouble),
            PROMPTS[:2],
            drafts=[[[]], [ids("abcd")]],
            search_config=whole(max_steps=50),
            langevin=Langevin(step_size=5.0),
        )
    assert [result.stop_reason for result in caught.value.refinements] == ["empty", "interrupted"]
