"""The loop's promises: never worse, the same for the same seed, and an answer whatever goes wrong."""

import itertools
import math
from dataclasses import replace
from functools import cache, partial
from importlib import import_module

import pytest
import torch
from doubles import (
    ALPHABET,
    END,
    AdditiveReward,
    DoublePrompt,
    EndlessPolicy,
    MarkovPolicy,
    MergingPolicy,
    PrefixReward,
    TokenReward,
    Vowels,
    run,
    shrunk,
    with_fields,
)
from random_cases import broken_promises, random_case, refined, transformer_policy
from slow_cases import first_fast, named_fast
from troubled_rewards import Troubled, raises

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.chains import generators_for
from langchain_sea.engine.refine import refine
from langchain_sea.engine.selection import BestSoFar
from langchain_sea.errors import RefinementInterrupted, RewardUnavailableError
from langchain_sea.presets import PRESETS, ChainConfig, ContinuationConfig, DraftConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

PROMPTS = [DoublePrompt(f"question {i}") for i in range(8)]
PRESET_NAMES = ["default", "paper", "reference"]
FREE = Budget(max_time=None)
KINDS = [{}, {"scores_prefixes": True}, {"is_token_additive": True}]
"""What a reward says of itself, which decides how it is searched: by texts, by beginnings, by chains."""
FAILURE = RewardUnavailableError("gone")
TEXT = "abca"


def energy_of(*rewards, policy=None, **options):
    terms = tuple(RewardTerm(reward=reward, name=f"r{i}") for i, reward in enumerate(rewards))
    return Energy(policy=policy or MarkovPolicy(0), terms=terms, **options)


def ids(text):
    return [ALPHABET.index(character) for character in text]


def whole(**options):
    """A window that moves the whole answer."""
    return with_fields(
        SearchConfig(), **{"block_size": None, "num_chains": 2, "num_candidates": None, "max_steps": 3} | options
    )


def kept(found):
    """What must be equal for equal seeds: all but the time it took."""
    trace = tuple(step._replace(seconds=0.0) for step in found.trace)
    return found._replace(seconds=0.0, draft_seconds=0.0, trace=trace)


# Never worse


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 5))])
def test_never_worse(block):
    """100 random problems, and 400 slowly: score, ties, fluency, ids and draft are all as promised, by another evaluation."""
    broken, accepted = {}, 0
    for number in range(10_000 + 100 * block, 10_100 + 100 * block):
        case = random_case(number)
        found = refined(case)
        accepted += found.accepted
        if faults := broken_promises(case, found):
            broken[number] = faults
    assert broken == {}
    assert accepted > 15


def test_the_check_would_notice(monkeypatch):
    """With keep-best replaced by keep-last, the same problems break their promises."""

    def keep_last(self, scored):
        self._offered[scored.text] = None
        self.draft = self.draft or scored
        self.best = scored

    monkeypatch.setattr(BestSoFar, "_add_candidate", keep_last)
    cases = [random_case(number) for number in range(10_000, 10_050)]
    assert sum(bool(broken_promises(case, refined(case))) for case in cases) > 5


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
def test_a_reward_is_climbed(preset):
    """A soft reward and a callable one both raise the score of most prompts; the text says why."""
    for reward in (TokenReward.of("e", 3.0), Vowels()):
        found = run(energy_of(reward, max_nll_rise=None), PROMPTS, preset=preset)
        assert sum(f.accepted for f in found) >= 3
        assert all(f.after.score > f.before.score for f in found if f.accepted)


def test_a_constant_energy_keeps_the_draft():
    """Nothing is better than the draft, so it stays, wherever the chains went."""
    energy = energy_of(TokenReward(torch.zeros(END + 2)), policy_weight=0.0, max_nll_rise=None)
    for found in run(energy, PROMPTS, langevin=Langevin(step_size=9.0), search_config=whole()):
        assert not found.accepted
        assert found.text == found.draft
        assert found.after == found.before


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_what_is_scored_is_the_text(preset):
    """Where decoding merges tokens, ids are the text's own and its score is the energy of that text."""
    policy = MergingPolicy(3)
    energy = energy_of(TokenReward.of("e", 3.0), policy=policy, max_nll_rise=None)
    found = run(energy, PROMPTS, preset=preset)
    assert any(f.accepted for f in found)
    for prompt, f in zip(PROMPTS, found, strict=True):
        assert f.ids == tuple(policy.encode(f.text))
        assert "ee" not in f.text
        scores = (-energy.evaluate_texts(prompt, [f.draft, f.text]).energy).tolist()
        assert [f.before.score, f.after.score] == pytest.approx(scores, abs=1e-5)
    if preset != "default":
        gaps = [gap for f in found for step in f.trace for gap in step.gap]
        assert max(map(abs, gaps)) > 0.1


def test_broken_text_is_rejected_and_counted():
    """A reward for an unlikely token wins without the guard, and is counted by the guard."""
    policy = MarkovPolicy(0)
    likely = [0]
    while len(likely) < 4:
        likely.append(int(policy.transition[likely[-1], :END].argmax()))
    rare = int(policy.transition[likely[2], :END].argmin())
    free = energy_of(TokenReward.of(ALPHABET[rare], 20.0), policy=policy, max_nll_rise=None)
    drafts = [[likely, [*likely[:3], rare]] for _ in PROMPTS]
    options = {"drafts": drafts, "search_config": whole(max_steps=10), "langevin": Langevin(step_size=5.0)}
    without = run(free, PROMPTS, **options)
    assert all(f.rejected == 0 and f.after.nll > f.before.nll + 0.1 for f in without)
    for found in run(replace(free, max_nll_rise=0.1), PROMPTS, **options):
        assert found.after.nll <= found.before.nll + 0.1
        assert found.rejected > 0


def test_blank_text_never_wins():
    """Not even where the reward wants nothing to be said."""
    energy = energy_of(TokenReward(-torch.ones(END + 2) * (torch.arange(END + 2) != ALPHABET.index(" "))))
    energy = replace(energy, max_nll_rise=None, policy_weight=0.0)
    drafts = [[ids("ab"), ids("  ")] for _ in PROMPTS]
    for found in run(energy, PROMPTS, drafts=drafts, search_config=whole(max_steps=20), langevin=Langevin(step_size=3)):
        assert found.text.strip()


# The same seed


@pytest.mark.parametrize(
    ("preset", "kind"),
    named_fast(
        itertools.product(PRESET_NAMES, [MarkovPolicy, MergingPolicy]),
        fast=[("default", MarkovPolicy), ("paper", MergingPolicy)],
    ),
)
def test_the_same_seed_gives_the_same_answer(preset, kind):
    """In a batch of eight, in another order, and two of them alone: everything but the time is equal."""
    energy = energy_of(TokenReward.random(1), Vowels(), policy=kind(1))
    options = {"preset": preset, "budget": replace(FREE, max_evaluations=60), "langevin": Langevin(kernel="ula")}
    together = [kept(found) for found in run(energy, PROMPTS, **options)]
    again = [kept(found) for found in run(energy, PROMPTS[::-1], **options)]
    assert again[::-1] == together
    for index in (0, 5):
        (alone,) = run(energy, [PROMPTS[index]], **options)
        assert kept(alone) == together[index]
    other = run(energy, PROMPTS, seed=1, **options)
    assert sum(a.draft != b.draft for a, b in zip(together, other, strict=True)) > 4


@pytest.mark.parametrize(
    ("architecture", "preset"),
    first_fast([("llama", "default"), ("gpt2", "default"), ("llama", "paper"), ("gpt2", "reference")]),
)
def test_a_transformers_answer_is_the_same_in_a_batch(architecture, preset):
    """To the last bit: texts, ids, scores and traces, alone and among three."""
    policy = transformer_policy(architecture)
    energy = energy_of(TokenReward.random(1, policy.vocab_size), policy=policy, max_nll_rise=None)
    prompts = [policy.prompt([{"role": "user", "content": "why " * (1 + i % 4) + str(i)}]) for i in range(2)]
    options = {"preset": preset, "budget": replace(FREE, max_evaluations=60)}
    together = run(energy, prompts, **options)
    assert any(found.accepted for found in together)
    for index in range(2):
        (alone,) = run(energy, [prompts[index]], **options)
        assert kept(alone) == kept(together[index])


def test_more_rows_than_generators_differ():
    """Rows beyond the generators share them, and still write each its own continuation."""
    policy = MarkovPolicy(1)
    search_config = SearchConfig(
        chains=ChainConfig(num_chains=1, max_steps=0),
        drafts=DraftConfig(num_drafts=1, num_kept=1, temperature=1.5),
        block_size=1,
    )
    given = [[[0, 1], [2, 3], [4, 5]]]
    texts, offer = [], BestSoFar.offer

    def watched(self, offered):
        texts.extend(offered)
        return offer(self, offered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BestSoFar, "offer", watched)
        wide = replace(search_config, drafts=replace(search_config.drafts, num_kept=4, num_drafts=4))
        refine(
            PROMPTS[:1],
            drafts=given,
            energy=energy_of(policy=policy),
            langevin=Langevin(),
            budget=FREE,
            max_new_tokens=30,
            generators=[generators_for(0, "x", 1, policy.device)],
            search_config=wide,
        )
    assert len(texts) == 7
    assert len(set(texts)) == 7


def test_too_few_generators_for_the_chains_are_refused():
    """Chains never share one."""
    with pytest.raises(ValueError, match="1 generators for 2 chains"):
        refine(
            PROMPTS[:1],
            drafts=[[ids("ab"), ids("cd")]],
            energy=energy_of(),
            langevin=Langevin(),
            budget=FREE,
            generators=[generators_for(0, "x", 1, torch.device("cpu"))],
            search_config=whole(),
        )


# The record


@pytest.mark.parametrize("kernel", ["ula", "mala", "adam"])
def test_the_trace_has_a_number_for_each_chain(kernel):
    """Straight-through tokens and an exact decoding leave no gap between the energy and the text's."""
    energy = energy_of(TokenReward.random(2), policy=MarkovPolicy(2, spread=1.0))
    method = Langevin(kernel=kernel, step_size=1.0)
    (found,) = run(energy, PROMPTS[:1], drafts=[[ids("abcd"), ids("dcb")]], search_config=whole(), langevin=method)
    assert [step.step for step in found.trace] == [0, 1, 2, 3]
    assert found.trace[0].changed == (0, 0)
    for step in found.trace:
        assert step.chains == (0, 1)
        assert {len(part) for part in step[1:7]} == {2}
        assert max(map(abs, step.gap)) < 1e-4
        assert all(len(row) == 1 for row in step.rewards)
        assert step.seconds >= 0
    assert found.steps == 3
    assert (found.evaluations, found.refine_tokens) == (found.evaluations, 4 * 7)
    assert found.seconds >= 0


def test_a_window_scores_nothing_on_the_way():
    """Beginnings have no text of their own, so the trace has no gaps; what is drafted is counted."""
    (found,) = run(energy_of(TokenReward.random(2)), PROMPTS[:1])
    assert found.trace
    assert all(gap is None for step in found.trace for gap in step.gap)
    assert found.draft_tokens >= len(found.ids)


def test_prompts_and_an_energy_are_enough():
    """The default preset refines, from generators of seed 0."""
    energy = energy_of(TokenReward.random(2))
    limits = {"budget": Budget(max_steps=1, max_time=None), "max_new_tokens": 4}
    (found,) = refine(PROMPTS[:1], energy=energy, **limits)
    assert found.draft
    assert found.steps == 1
    assert len(found.ids) <= 4
    preset = PRESETS["default"]
    rngs = [generators_for(0, PROMPTS[0].key, preset.search_config.drafts.num_drafts, torch.device("cpu"))]
    expert = {"langevin": preset.langevin, "search_config": preset.search_config, "generators": rngs}
    (same,) = refine(PROMPTS[:1], energy=energy, preset="paper", drafts=[[]], **expert, **limits)
    assert kept(same) == kept(found)


# Drafts and windows of every size


def test_given_drafts_are_the_drafts():
    """The first one is the draft, however long; the others are candidates."""
    long = ids("abcdefghijklabcdefghijkl")
    for preset in PRESET_NAMES:
        for drafts in ([long], [long, ids("a")], [ids("a"), long], [[], ids("b")], [ids("ab")]):
            (found,) = run(energy_of(TokenReward.random(0)), PROMPTS[:1], drafts=[drafts], preset=preset)
            assert found.draft == "".join(ALPHABET[i] for i in drafts[0])
            assert found.after.score >= found.before.score
    best = ids("eeee")
    (found,) = run(
        energy_of(TokenReward.of("e", 9.0), max_nll_rise=None),
        PROMPTS[:1],
        drafts=[[ids("ab"), best]],
        budget=replace(FREE, max_steps=0),
        search_config=whole(),
    )
    assert found.text == "eeee"


class Silent(MarkovPolicy):
    """Ends at once."""

    def generate_step(self, writings):
        for writing in writings:
            writing.alive.clear()


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_an_empty_draft_is_an_empty_answer(preset):
    """With nothing to move, nothing is moved, and it is said why."""
    (found,) = run(energy_of(TokenReward.random(0), policy=Silent(0)), PROMPTS[:1], preset=preset)
    assert (found.text, found.ids, found.stop_reason) == ("", (), "empty")
    assert (found.steps, found.accepted, found.trace) == (0, False, ())


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_answers_keep_to_their_length(preset, tokens):
    """One token, fewer than the window, just the window, more: no answer is longer than the budget's."""
    energy = energy_of(TokenReward.random(1), max_nll_rise=None)
    for found in run(energy, PROMPTS, preset=preset, budget=Budget(max_time=None), max_new_tokens=tokens):
        assert len(found.ids) <= tokens
        assert found.draft


def test_a_window_longer_than_the_answer_moves_all_of_it():
    """And what ended by itself is not written on."""

    class Brief(MarkovPolicy):
        def start_generation(self, prompt, prefixes, *, tokens, **options):
            assert all(prefix == [] for prefix in prefixes)
            return super().start_generation(prompt, prefixes, tokens=min(tokens, 2), **options)

    search_config = with_fields(shrunk("default")[1], block_size=5)
    found = run(energy_of(TokenReward.random(1), policy=Brief(0)), PROMPTS, search_config=search_config)
    assert all(len(f.ids) <= 2 for f in found)
    assert any(f.accepted for f in found)


def test_no_prompts_no_answers():
    """An empty list is answered by one."""
    assert run(energy_of(), []) == []


def test_every_prompt_needs_drafts_and_generators():
    """Lists of different length are refused."""
    with pytest.raises(ValueError, match="zip"):
        refine(PROMPTS[:2], drafts=[[]], energy=energy_of(), budget=FREE)
    with pytest.raises(ValueError, match="zip"):
        refine(PROMPTS[:2], energy=energy_of(), budget=FREE, generators=[[]])


# Limits


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_steps_end_it(preset):
    """By the budget's number, or the window's own; zero drafts and ranks."""
    for steps, expected in ((None, 3), (0, 0), (2, 2)):
        (found,) = run(
            energy_of(TokenReward.random(0)), PROMPTS[:1], preset=preset, budget=replace(FREE, max_steps=steps)
        )
        assert (found.stop_reason, found.steps) == ("steps", expected)
        assert found.before is not None


@pytest.mark.parametrize("preset", first_fast(PRESET_NAMES))
@pytest.mark.parametrize("kind", first_fast([TokenReward, AdditiveReward, PrefixReward], 2))
def test_evaluations_end_it_and_cut_no_text(preset, kind):
    """No step begins beyond the limit, and what is written then is written to its end."""
    energy = energy_of(kind.random(0), policy=Endless(0))
    for limit in (1, 10, 14):
        budget = Budget(max_time=None, max_evaluations=limit, max_steps=50)
        for found in run(energy, PROMPTS, preset=preset, budget=budget, max_new_tokens=9):
            assert found.stop_reason == "evaluations"
            assert found.evaluations >= limit
            assert {len(text.text) for text in found.candidates} == {9}
        assert limit > 1 or found.steps == 0


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
        for found in run(energy_of(Broken.random(0)), PROMPTS, preset=preset):
            assert (found.stop_reason, found.steps, found.trace) == ("not_finite", 0, ())
            assert found.draft
            assert found.failure is None


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
        (found,) = run(
            energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=seconds), max_new_tokens=50
        )
        assert found.draft_seconds == 50
        assert clock.now <= 50 + seconds + 1
        assert {len(text.text) for text in found.candidates} == {50}
        assert found.failure is None
        if seconds < 50 and preset == "default":  # no other answer can be written
            assert (found.text, found.stop_reason) == (found.draft, "seconds")


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_without_time_the_answer_is_what_the_policy_samples(preset):
    """By the same generator, token for token. Chains on whole answers start from drafts of their own, which compete."""
    policy = MarkovPolicy(0)
    budget = Budget(max_time=1e-9)
    search_config = shrunk(preset, plan=None)[1]
    temperature = search_config.drafts.temperature
    energy = energy_of(TokenReward.random(0), policy=policy)
    found = run(energy, PROMPTS, budget=budget, search_config=search_config, max_new_tokens=50, seed=3)
    for prompt, refinement in zip(PROMPTS, found, strict=True):
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
    (found,) = run(energy, PROMPTS[:1], preset=preset, budget=Budget(max_time=99.0), max_new_tokens=50)
    assert clock.now <= 6
    assert (found.stop_reason, found.is_complete) == ("timeout", False)
    assert (found.text, len(found.text), found.refine_tokens) == (found.draft, 6, 0)
    assert (found.candidates, found.failure) == ((), None)


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
        (found,) = run(
            energy,
            PROMPTS[:1],
            search_config=search_config,
            budget=Budget(max_time=10.0),
            max_new_tokens=50,
            drafts=[draft],
        )
        written = 0 if draft else 50
        assert found.stop_reason == "seconds"
        assert clock.now == written + 10
        assert found.text == found.draft
        assert len(found.draft) == (12 if draft else 50)
        assert energy.policy.began == began


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
        (found,) = run(energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=10.0), max_new_tokens=8)
        assert (found.stop_reason, found.steps) == ("seconds", steps)


@pytest.mark.parametrize("options", [{"num_kept": 1, "max_steps": 0}, {"num_kept": 0, "max_steps": 20}])
def test_the_best_beginnings_are_written_on(options):
    """Those of the lowest energy, kept as drafted or moved: where an `e` was drawn, one that begins so."""
    search_config = with_fields(SearchConfig(), block_size=1, num_chains=1, num_drafts=64, temperature=2.0, **options)
    energy = energy_of(TokenReward.of("e", 5.0), max_nll_rise=None)
    energy = replace(energy, policy=MarkovPolicy(0, spread=0.5))
    found = run(energy, PROMPTS, search_config=search_config, langevin=Langevin(step_size=0.5, noise_scale=10.0))
    assert sum("e" in (f.text[0], f.draft[0]) for f in found) >= 6


def test_a_score_that_overflows_never_wins():
    """A weight that lifts a finite reward to infinity says nothing about the text."""
    term = RewardTerm(reward=TokenReward.of("e", 1e38), name="huge", weight=100.0)
    energy = replace(energy_of(max_nll_rise=None), terms=(term,))
    (found,) = run(energy, PROMPTS[:1], drafts=[[ids("ab"), ids("ae")]], search_config=whole(max_steps=0))
    assert not found.accepted


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
    found = run(energy_of(troubled), PROMPTS[:4], preset=preset, langevin=STEEP)
    failed = found.pop(2)
    assert [kept(f) for f in found] == [kept(f) for f in sound[:2] + sound[3:]]
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
    for found, expected in zip(run(energy, PROMPTS, preset=preset), sound, strict=True):
        assert found.failure is FAILURE
        assert (found.text, found.accepted) == (expected.draft, False)
        assert found.text == found.draft != ""


def test_a_score_that_is_not_finite_is_named():
    """Which reward, which number, which text."""
    energy = energy_of(Troubled(lambda values: values * math.nan))
    (found,) = run(energy, PROMPTS[:1], drafts=[[ids(TEXT)]])
    assert "'r0' gave nan" in str(found.failure)
    assert repr(TEXT) in str(found.failure)


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
    for prompt, found in zip(PROMPTS, caught.value.refinements, strict=False):
        before, after = (-energy.evaluate_texts(prompt, [found.draft, found.text]).energy).tolist()
        assert found.draft
        assert after >= before
        assert found.accepted == (found.text != found.draft)
    reasons = [found.stop_reason for found in caught.value.refinements]
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
    assert [found.text for found in caught.value.refinements] == ["", ""]
    assert [found.stop_reason for found in caught.value.refinements] == ["interrupted"] * 2


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
    assert [found.stop_reason for found in caught.value.refinements] == ["empty", "interrupted"]


def test_relaxations_steer_to_different_answers():
    """The relaxation reaches the chains: soft and hard tokens do not walk alike."""
    answers = set()
    for kind in ("soft", "straight_through", "entropy_mixed"):
        relaxation = Relaxation(kind=kind)
        energy = energy_of(TokenReward.random(4), policy_relaxation=relaxation, reward_relaxation=relaxation)
        found = run(energy, PROMPTS, search_config=whole(), langevin=Langevin(kernel="adam", noise_scale=0.0))
        answers.add(tuple(step.energy for f in found for step in f.trace))
    assert len(answers) == 3


# Rewards that only rank


def test_rewards_without_a_gradient_rank_whole_drafts():
    """As many as there would be beginnings: nothing is told by beginnings, and no step is wasted."""
    prompt, seen = PROMPTS[0], []

    class Longest:
        def score(self, view, texts):
            seen.extend(texts)
            return torch.tensor([float(text.count("a")) for text in texts])

    search_config = SearchConfig(drafts=DraftConfig(num_drafts=12), chains=ChainConfig(num_chains=2), block_size=2)
    rngs = [generators_for(0, prompt.key, 12, torch.device("cpu"))]
    found = refine(
        [prompt],
        energy=energy_of(Longest(), max_nll_rise=None, policy_weight=0.0),
        langevin=Langevin(),
        budget=FREE,
        generators=rngs,
        search_config=search_config,
    )[0]
    assert found.steps == 0
    assert found.text.count("a") == max(text.count("a") for text in seen)
    assert len(found.candidates) == len(set(seen)) > 6
