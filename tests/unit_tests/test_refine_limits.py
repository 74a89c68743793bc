"""What ends a refinement: steps, evaluations, convergence, seconds and the hard timeout."""

import math
import threading
from dataclasses import replace
from functools import partial
from importlib import import_module

import pytest
import torch
from doubles import (
    AdditiveReward,
    EndlessPolicy,
    MarkovPolicy,
    PrefixReward,
    TokenReward,
    Vowels,
    run,
    shrunk,
    with_fields,
)
from refining import FREE, PRESET_NAMES, PROMPTS, energy_of, ids, whole
from slow_cases import first_fast

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.policy import DenseModelOutput
from langchain_sea.engine.generators import generators_for
from langchain_sea.presets import ChainConfig, ContinuationConfig, DraftConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_steps_end_it(preset):
    """By the budget's number, or the window's own; zero drafts and ranks."""
    for steps, expected in ((None, 3), (0, 0), (2, 2)):
        (result,) = run(
            energy_of(TokenReward.random(0)), PROMPTS[:1], preset=preset, budget=replace(FREE, max_steps=steps)
        )
        assert (result.stop_reason, result.steps) == ("steps", expected)
        assert result.before is not None


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("kind", first_fast([TokenReward, AdditiveReward, PrefixReward], 2))
def test_evaluations_end_it_and_cut_no_text(preset, kind):
    """No step begins beyond the limit, and what is written then is written to its end."""
    energy = energy_of(kind.random(0), policy=Endless(0))
    for limit in (1, 10, 14):
        budget = Budget(max_time=None, max_evaluations=limit, max_steps=50)
        for result in run(energy, PROMPTS, preset=preset, budget=budget, max_new_tokens=9):
            assert result.stop_reason == "evaluations"
            assert result.evaluations >= limit
            assert {len(text.text) for text in result.candidates} == {9}
        assert limit > 1 or result.steps == 0


def test_all_chains_ended_is_converged():
    """By patience, or because none is finite."""
    still = Langevin(step_size=1e-6, noise_scale=0.0)
    patient = run(energy_of(TokenReward.random(0)), PROMPTS, search_config=whole(patience=1), langevin=still)
    assert {(f.stop_reason, f.steps) for f in patient} == {("converged", 1)}

    class Broken(AdditiveReward):
        score = TokenReward.score

        def score_soft(self, view):
            return super().score_soft(view) + (math.inf if view.tokens.soft.requires_grad else 0.0)

    for preset in PRESET_NAMES:
        for result in run(energy_of(Broken.random(0)), PROMPTS, preset=preset):
            assert (result.stop_reason, result.steps, result.trace) == ("not_finite", 0, ())
            assert result.draft
            assert result.failure is None


def test_beginnings_that_are_not_finite_rank_last():
    """NaN is no energy to start from."""

    class Picky(TokenReward):
        def score_soft(self, view):
            first = view.tokens.ids[:, 0]
            return super().score_soft(view) + torch.where(first % 2 == 0, torch.nan, 0.0)

    starts = []

    class Watching(Picky):
        def score_soft(self, view):
            if view.tokens.soft.requires_grad:
                starts.append(view.tokens.ids[:, 0].tolist())
            return super().score_soft(view)

    run(
        energy_of(Watching.random(0)),
        PROMPTS,
        search_config=SearchConfig(
            chains=ChainConfig(num_chains=2, max_steps=0), drafts=DraftConfig(num_drafts=32), block_size=2
        ),
    )
    run(
        energy_of(Watching.random(0)),
        PROMPTS,
        search_config=SearchConfig(
            chains=ChainConfig(num_chains=2, max_steps=1), drafts=DraftConfig(num_drafts=32), block_size=2
        ),
    )
    assert starts
    assert all(i % 2 for i in starts[0])


class Clock:
    """A clock that stands still unless it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    set_tracker(monkeypatch, clock=clock)
    return clock


def set_tracker(monkeypatch, **options):
    """Give every request of `refine` a tracker with these options."""
    module = import_module("langchain_sea.engine.refine")
    monkeypatch.setattr(module, "BudgetTracker", partial(BudgetTracker, **options))


class Endless(EndlessPolicy):
    """Writes one token a second."""

    def __init__(self, seed=0, clock=None, **options):
        super().__init__(seed, **options)
        self.clock = clock or Clock()
        self.began = []

    def start_generation(self, prompt, prefixes, **options):
        self.began.append(max(map(len, prefixes)))
        return super().start_generation(prompt, prefixes, **options)

    def generate_step(self, writings):
        self.clock.now += 1
        super().generate_step(writings)


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("kind", first_fast([TokenReward, AdditiveReward, PrefixReward, Vowels], 2))
def test_the_time_limit_cuts_no_draft_and_no_answer(clock, preset, kind):
    """The draft is whole, however slow the policy is; the time counts from its end, and bounds what follows."""
    reward = kind() if kind is Vowels else kind.random(0)
    energy = energy_of(reward, policy=Endless(0, clock))
    search_config = shrunk(preset, plan=None)[1]
    for seconds in (0.5, 6.0, 60.0):
        clock.now = 0.0
        (result,) = run(
            energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=seconds), max_new_tokens=50
        )
        assert result.draft_seconds == 50
        assert clock.now <= 50 + seconds + 1
        assert {len(text.text) for text in result.candidates} == {50}
        assert result.failure is None
        if seconds < 50 and preset == "default":  # no other answer can be written, but those beside the draft
            assert (result.stop_reason, result.trace) == ("seconds", ())
            assert len(result.candidates) <= 8


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_without_time_the_answer_is_what_the_policy_samples(preset):
    """By the same generator, token for token. Chains on whole answers start from drafts of their own, which compete."""
    policy = MarkovPolicy(0)
    budget = Budget(max_time=1e-9)
    search_config = shrunk(preset, plan=None)[1]
    temperature = search_config.drafts.temperature
    energy = energy_of(TokenReward.random(0), policy=policy)
    result = run(energy, PROMPTS, budget=budget, search_config=search_config, max_new_tokens=50, seed=3)
    for prompt, refinement in zip(PROMPTS, result, strict=True):
        generators = generators_for(3, prompt.key, 1, policy.device)
        options = {"tokens": 50, "temperature": temperature, "generators": generators}
        writing = policy.start_generation(prompt, [[]], **options)
        while writing.num_unfinished:
            policy.generate_step([writing])
        assert refinement.draft == policy.decode(writing.written[0])
        assert refinement.is_complete == (len(refinement.ids) < 50)
        assert refinement.text == refinement.draft or preset != "default"


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_only_the_timeout_cuts_a_text(monkeypatch, preset):
    """And it is said that the text is not complete, and why."""
    clock = Clock()
    set_tracker(monkeypatch, clock=clock, timeout=6.0)
    energy = energy_of(TokenReward.random(0), policy=Endless(0, clock))
    (result,) = run(energy, PROMPTS[:1], preset=preset, budget=Budget(max_time=99.0), max_new_tokens=50)
    assert clock.now <= 6
    assert (result.stop_reason, result.is_complete) == ("timeout", False)
    assert (result.text, len(result.text), result.refine_tokens) == (result.draft, 6, 0)
    assert (result.candidates, result.failure) == ((), None)


def test_beginnings_leave_time_to_write_on(clock):
    """Drafting beginnings stops at its share of the time; what is written on from them and cut off is no answer."""
    energy = energy_of(AdditiveReward.random(0), policy=Endless(0, clock))
    search_config = SearchConfig(
        chains=ChainConfig(num_chains=2),
        drafts=DraftConfig(num_drafts=3, num_kept=2),
        block_size=8,
        continuation=ContinuationConfig(optimise_fraction=0.5),
    )
    for draft, began in (([], [0, 0, 5]), ([ids("abcdefghijkl")], [0, 5])):
        clock.now, energy.policy.began = 0.0, []
        (result,) = run(
            energy,
            PROMPTS[:1],
            search_config=search_config,
            budget=Budget(max_time=10.0),
            max_new_tokens=50,
            drafts=[draft],
        )
        written = 0 if draft else 50
        assert result.stop_reason == "seconds"
        assert clock.now == written + 10
        assert result.text == result.draft
        assert len(result.draft) == (12 if draft else 50)
        assert energy.policy.began == began


def test_a_functions_time_is_not_the_policys(monkeypatch):
    """What the policy computes of texts is done before a function's thread begins, with its limit of seconds.

    Else the texts of a large batch, read on a slow machine, would look like a function that hangs.
    """
    threads, original = set(), DenseModelOutput.log_probs

    def log_probs(output, tokens):
        threads.add(threading.current_thread().name)
        return original(output, tokens)

    monkeypatch.setattr(DenseModelOutput, "log_probs", log_probs)
    run(energy_of(Vowels()), PROMPTS)
    assert threads
    assert "langchain-sea-call" not in threads


def test_prompts_refine_at_once(clock):
    """All write together, so that each has all of its seconds."""
    energy = energy_of(TokenReward.random(0), policy=Endless(0, clock))
    for search_config in (None, whole()):
        clock.now = 0.0
        results = run(energy, PROMPTS[:3], search_config=search_config, budget=Budget(max_time=48.0), max_new_tokens=50)
        assert clock.now <= 50 + 48 + 1 or search_config is None
        assert {result.draft_seconds for result in results} == {50.0}
        assert {len(result.draft) for result in results} == {50}


def test_time_that_runs_out_while_stepping_ends_the_steps(clock):
    """Whole answers step to the end of the time, beginnings to the window's share of it."""

    class Ticking(AdditiveReward):
        def score_soft(self, view):
            clock.now += view.tokens.soft.requires_grad
            return super().score_soft(view)

    blocks = with_fields(shrunk("default")[1], max_steps=99, plan=None)
    for search_config, steps in ((whole(max_steps=99), 9), (blocks, 4)):
        clock.now = 0.0
        soft = Relaxation(kind="soft")  # so that every step is read
        energy = energy_of(Ticking.random(0), policy_relaxation=soft, reward_relaxation=soft)
        (result,) = run(
            energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=10.0), max_new_tokens=8
        )
        assert (result.stop_reason, result.steps) == ("seconds", steps)


@pytest.mark.parametrize("options", [{"num_kept": 1, "max_steps": 0}, {"num_kept": 0, "max_steps": 20}])
def test_the_best_beginnings_are_written_on(options):
    """Those of the lowest energy, kept as drafted or moved: where an `e` was drawn, one that begins so."""
    search_config = with_fields(SearchConfig(), block_size=1, num_chains=1, num_drafts=64, temperature=2.0, **options)
    energy = energy_of(TokenReward.of("e", 5.0), max_nll_rise=None)
    energy = replace(energy, policy=MarkovPolicy(0, spread=0.5))
    result = run(energy, PROMPTS, search_config=search_config, langevin=Langevin(step_size=0.5, noise_scale=10.0))
    assert sum("e" in (f.text[0], f.draft[0]) for f in result) >= 6
