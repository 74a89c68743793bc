"""What a reward may demand of an answer: thresholds, audits, scales from the drafts; and their conflicts."""

from dataclasses import dataclass, replace

import pytest
import torch
from doubles import ALPHABET, AdditiveReward, DoublePrompt, MarkovPolicy, TokenReward, V, Vowels, run, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import first_fast

from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.presets import ChainConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin

PROMPTS = [DoublePrompt(f"question {i}") for i in range(8)]
PRESETS = ["default", "paper", "reference"]
WHOLE = SearchConfig(chains=ChainConfig(num_chains=3, num_candidates=None, max_steps=4), block_size=None)


def energy_of(*terms, seed=0, **options):
    return Energy(policy=MarkovPolicy(seed), terms=terms, **{"max_nll_rise": None} | options)


def term(reward, name="r", **options):
    return RewardTerm(reward=reward, name=name, **options)


# Thresholds


@pytest.mark.parametrize("preset", first_fast(PRESETS))
@pytest.mark.parametrize("guarded", [TokenReward.of("a"), Vowels()])
def test_no_text_under_a_threshold_is_accepted(preset, guarded):
    """Whatever the other reward says for it; and with the threshold gone some would be."""
    least = 1.0 if isinstance(guarded, TokenReward) else 0.34
    other = term(TokenReward.of("x" if "x" in ALPHABET else "b", 2.0), "other")
    asked = energy_of(other, term(guarded, "guarded", weight=0.0, threshold=least))
    for found in run(asked, PROMPTS, preset=preset):
        assert not found.accepted or found.after.rewards["guarded"] >= least
        assert found.after.meets_thresholds == (found.after.rewards["guarded"] >= least)
    free = replace(asked, terms=(other, term(guarded, "guarded", weight=0.0)))
    below = [f for f in run(free, PROMPTS, preset=preset) if f.after.rewards["guarded"] < least]
    assert any(f.accepted for f in below)


@settings(derandomize=True, max_examples=30)
@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(0.1, 4), st.floats(0, 20))
def test_a_shortfall_costs_its_multiple(least, center, scale, penalty_weight):
    """−w·z + μ·max(0, τ − z), with τ in the reward's own units."""
    found = term(Vowels(), threshold=least, center=center, scale=scale, penalty_weight=penalty_weight, weight=0.5)
    raw = torch.tensor([-2.0, 0.0, 5.0])
    expected = -0.5 * (raw - center) / scale + penalty_weight * ((least - raw) / scale).clamp(min=0)
    torch.testing.assert_close(found.cost((raw - center) / scale), expected, atol=1e-4, rtol=1e-4)


def test_a_threshold_steers_until_it_is_met():
    """A reward without weight has a gradient below its threshold and none above."""
    reward = term(TokenReward.of("a"), weight=0.0, threshold=1.0)
    energy = energy_of(reward, policy_weight=0.0)
    support, mask = torch.arange(V).expand(1, 2, V), torch.ones(1, 2, dtype=torch.bool)
    for letter, moves in (("b", True), ("a", False)):
        logits = torch.zeros(1, 2, V).index_fill(2, torch.tensor([ALPHABET.index(letter)]), 3.0)
        logits.requires_grad_()
        energy.evaluate_logits(PROMPTS[0], logits, support, mask).energy.sum().backward()
        assert bool(logits.grad.any()) == moves


# Scales from the drafts


@pytest.mark.parametrize("preset", first_fast(PRESETS))
def test_the_drafts_set_the_scale(preset):
    """A reward in other units gives the same answers: its scale is taken from the drafts."""
    base = TokenReward.random(3)
    other = TokenReward(1000 * base.values + 17)
    search_config = with_fields(WHOLE, block_size=None if preset != "default" else 3, num_drafts=4, num_kept=2)
    answers = []
    for reward in (base, TokenReward(1000 * base.values)):
        energy = energy_of(term(reward, normalize="drafts"), term(Vowels(), "v", normalize="drafts"))
        answers.append([f.text for f in run(energy, PROMPTS, preset=preset, search_config=search_config)])
    assert answers[0] == answers[1]
    assert other.values.mean() > 10


def test_the_drafts_values_become_standard():
    """Mean zero and spread one over the drafts, in what is reported."""
    energy = energy_of(term(TokenReward.random(5, scale=40), normalize="drafts"))
    texts = ["abc", "dad", "fed", "good", "m"]
    settled, terms = energy.fit_and_score_texts(energy.prepare_texts(PROMPTS[0], texts), texts)
    assert terms.rewards.mean().item() == pytest.approx(0, abs=1e-5)
    assert terms.rewards.std().item() == pytest.approx(1, abs=1e-5)
    again = settled.evaluate_texts(PROMPTS[0], texts)
    torch.testing.assert_close(again.rewards, terms.rewards, atol=1e-5, rtol=1e-5)


def test_one_draft_tells_no_spread():
    """Its own value is the centre, and the scale stays."""
    energy = energy_of(term(TokenReward.random(5), normalize="drafts"))
    settled, terms = energy.fit_and_score_texts(energy.prepare_texts(PROMPTS[0], ["abc"]), ["abc"])
    assert terms.rewards.abs().max() < 1e-6
    assert settled.terms[0].scale == 1.0


@dataclass(frozen=True)
class Agreed:
    """One for the texts that begin as most drafts do."""

    letter: str = ""

    def fit_to_drafts(self, view, texts):
        letters = [text[:1] for text in texts]
        return Agreed(max(letters, key=letters.count))

    def score(self, view, texts):
        assert self.letter
        return torch.tensor([float(text[:1] == self.letter) for text in texts])


@pytest.mark.parametrize("preset", first_fast(PRESETS))
def test_a_reward_may_depend_on_the_drafts(preset):
    """It is made once for each prompt, from that prompt's own texts."""
    energy = energy_of(term(Agreed()), policy_weight=0.0)
    for found in run(energy, PROMPTS, preset=preset, drafts=[[[0, 1], [0, 2], [3, 1]]] * 8):
        assert found.after.rewards["r"] == 1.0


# Audits


def test_what_an_audited_reward_pays_for_is_not_accepted():
    """The climbed reward is the audited one turned round: nothing is accepted that costs it."""
    climbed, audited = TokenReward.of("e", 3.0), TokenReward.of("e", -1.0)
    free = energy_of(term(climbed))
    watched = energy_of(term(climbed), term(audited, "max_drop", weight=0.0, max_drop=0.5))
    search_config = with_fields(WHOLE, max_steps=20)
    method = Langevin(kernel="adam", step_size=0.5, noise_scale=0.0)
    assert any(f.accepted for f in run(free, PROMPTS, langevin=method, search_config=search_config))
    found = run(watched, PROMPTS, langevin=method, search_config=search_config)
    assert all(f.before.rewards["max_drop"] - f.after.rewards["max_drop"] <= 0.5 for f in found)
    stopped = [f for f in found if f.stop_reason == "max_drop"]
    assert stopped
    assert all(f.steps < 20 and f.rejected for f in stopped)


# Conflicts


def test_conflicts_stand_in_the_trace():
    """−1 for a reward and its opposite, 1 for one beside itself, nothing for one alone or a text's.

    Chains move by the rewards' gradients; latents do not, and tell nothing.
    """
    reward = AdditiveReward.random(1)
    cases = {
        -1.0: (term(reward, "a"), term(AdditiveReward(-reward.values), "b")),
        1.0: (term(reward, "a"), term(reward, "b")),
        None: (term(reward, "a"), term(Vowels(), "b")),
    }
    for expected, terms in cases.items():
        for preset in PRESETS:
            found = run(energy_of(*terms), PROMPTS[:2], preset=preset)
            values = {c if c is None else round(c, 3) for f in found for s in f.trace for c in s.min_gradient_cosine}
            assert values == {expected}
            assert {
                f.min_gradient_cosine if f.min_gradient_cosine is None else round(f.min_gradient_cosine, 3)
                for f in found
            } == {expected}


def test_conflicts_change_no_answer():
    """Whether they are taken or not; and without them there are none."""
    terms = (term(AdditiveReward.random(1), "a"), term(AdditiveReward.random(2), "b"))
    with_them, without = (run(energy_of(*terms, report_gradient_cosine=on), PROMPTS) for on in (True, False))
    assert [f.text for f in with_them] == [f.text for f in without]
    assert all(f.min_gradient_cosine is None for f in without)
    assert any(f.min_gradient_cosine is not None for f in with_them)


# Options


@pytest.mark.parametrize(
    "options", [{"normalize": "no"}, {"threshold": float("nan")}, {"penalty_weight": -1}, {"max_drop": -0.1}]
)
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        term(Vowels(), **options)
