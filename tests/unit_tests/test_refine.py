"""The loop's promises: never worse, and the same answer for the same seed."""

import itertools
from dataclasses import replace

import pytest
import torch
from doubles import ALPHABET, END, MarkovPolicy, MergingPolicy, TokenReward, Vowels, run, shrunk, with_fields
from random_cases import broken_promises, random_case, refined, transformer_policy
from refining import FREE, PRESET_NAMES, PROMPTS, energy_of, ids, kept, whole
from slow_cases import first_fast, named_fast

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.limits import TextLimits
from langchain_sea.engine.candidates import Candidates
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.refine import refine
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.engine.selection import BestSoFar
from langchain_sea.presets import PRESETS, ChainConfig, DraftConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

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


@pytest.mark.parametrize(("replays", "names"), [(False, ()), (True, ("r0",))])
def test_the_trace_names_the_rewards_that_run_beside_graphs(replays, names):
    """All of them, since no reward is captured."""
    energy = energy_of(TokenReward.random(2))
    energy.policy.replays_graphs = replays
    (refined,) = run(energy, PROMPTS[:1])
    assert refined.trace.eager_rewards == names


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


def test_a_shortened_answer_keeps_the_ids_that_were_read():
    """A further window goes on from them; encoding the whole text anew may give other ids."""
    limits = TextLimits(max_surprise_rise=99, max_first_surprise=99, max_repeat_rise=1, min_gain_spreads=0)
    energy = energy_of(Vowels(), policy=MergingPolicy(0), policy_weight=0.0, max_nll_rise=None, limits=limits)
    candidates = Candidates(BestSoFar(energy, PROMPTS[0], BudgetTracker(Budget(max_time=None), 16)), ())
    run_to_completion(candidates.offer([ids("bcd")]))
    read = ids("abbcd")
    run_to_completion(candidates.offer_shortened([[*read, *ids("efghij. klm")]], [True]))
    assert candidates.best_ids()[: len(read)] == read
    assert energy.policy.decode(candidates.best_ids()) == candidates.best.best.text == "abcdefghij."


def test_an_answer_that_a_stop_string_ends_is_whole():
    """Generation goes on behind the string, up to the limit; what is returned ends before it, at no sentence."""
    limits = TextLimits(max_surprise_rise=99, max_first_surprise=99, max_repeat_rise=99, min_gain_spreads=0)
    energy = energy_of(Vowels(), policy_weight=0.0, max_nll_rise=None, limits=limits)
    policy = energy.policy
    for text, expected in (("aaeepbcdefg", "aaee"), ("a. eipbcdefg", "a. ei")):
        candidates = Candidates(BestSoFar(energy, PROMPTS[0], BudgetTracker(Budget(max_time=None), 20)), ("p",))
        run_to_completion(candidates.offer([policy.encode("bcd")]))
        run_to_completion(candidates.offer_shortened([policy.encode(text)], [True]))
        assert candidates.best.best.text == expected
        assert not candidates.cut_texts
