"""The energy against its formula: at one-hot tokens, by finite differences, and term by term."""

import math
from dataclasses import replace

import pytest
import torch
from doubles import ALPHABET, END, DoublePrompt, MarkovPolicy, TokenReward, V, Vowels
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import central_difference
from troubled_rewards import Troubled, raises

from langchain_sea.core.energy import Energy
from langchain_sea.core.protocols import DifferentiableReward, Tokens
from langchain_sea.core.terms import RewardTerm
from langchain_sea.errors import RewardUnavailableError, TokenizerMismatchError
from langchain_sea.sampling.relaxation import Relaxation, full_support, top_support

property_ = settings(derandomize=True, max_examples=50)
seeds = st.integers(0, 2**31)
texts = st.text(alphabet=ALPHABET, min_size=0, max_size=7)
relaxations = st.builds(
    Relaxation, kind=st.sampled_from(["soft", "straight_through", "entropy_mixed"]), tau=st.sampled_from([0.1, 1.0])
)
PROMPT = DoublePrompt("why?")
HARD = Relaxation(kind="straight_through")
SOFT = Relaxation(kind="soft", tau=0.7)


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def terms(*rewards, **options):
    return tuple(RewardTerm(reward=reward, name=f"r{i}", **options) for i, reward in enumerate(rewards))


def log_prob(policy, text):
    """Σ log π, one token at a time."""
    row, total = policy.first(PROMPT), 0.0
    for i in policy.encode(text):
        total += row.log_softmax(-1)[i].item()
        row = policy.transition[i]
    return total


def at_one_hot(ids):
    """Logits whose argmax is `ids`, on the whole vocabulary, far enough for a softmax to be one-hot."""
    return 1e4 * torch.nn.functional.one_hot(torch.tensor(ids), V).double()


@property_
@given(seeds, st.lists(texts, min_size=1, max_size=4), st.floats(0, 2))
def test_texts_follow_the_formula(seed, answers, weight):
    """E = -λ·mean log π - Σ w·(r - c)/s for every text, whatever stands beside it."""
    policy, rewards = MarkovPolicy(seed), [TokenReward.random(seed), TokenReward.random(seed + 1)]
    energy = Energy(
        policy=policy,
        policy_weight=weight,
        terms=tuple(
            RewardTerm(reward=r, name=str(w), weight=w, center=0.25, scale=3.0)
            for r, w in zip(rewards, (0.5, 2.0), strict=True)
        ),
    )
    found = energy.evaluate_texts(PROMPT, answers)
    for row, text in enumerate(answers):
        nll = -log_prob(policy, text) / max(1, len(text))
        values = [(r.values[policy.encode(text)].sum().item() - 0.25) / 3 for r in rewards]
        assert found.nll[row].item() == pytest.approx(nll, abs=1e-4)
        assert found.rewards[row].tolist() == pytest.approx(values, abs=1e-5)
        expected = weight * nll - 0.5 * values[0] - 2 * values[1]
        assert found.energy[row].item() == pytest.approx(expected, abs=1e-4)


@property_
@given(seeds, st.lists(texts.filter(bool), min_size=1, max_size=3), relaxations, relaxations, st.booleans())
def test_relaxed_at_one_hot_is_the_texts_energy(seed, answers, first, second, through):
    """Where encoding again is the identity, both energies are one at the vertices of the simplex."""
    energy = Energy(
        policy=MarkovPolicy(seed),
        terms=terms(TokenReward.random(seed)),
        policy_gradient=through,
        policy_relaxation=first,
        reward_relaxation=second,
    )
    hard = Tokens.from_ids([energy.policy.encode(text) for text in answers])
    logits = torch.stack([at_one_hot(ids.tolist()) for ids in hard.ids])
    relaxed = energy.evaluate_logits(PROMPT, logits, full_support(hard.ids, V), hard.mask)
    expected = energy.evaluate_texts(PROMPT, answers)
    for found, known in zip(relaxed, expected, strict=True):
        torch.testing.assert_close(found.float(), known.float(), atol=1e-3, rtol=1e-4)


def test_beginnings_are_ranked_by_what_steers():
    """Policy and steering rewards count, in one forward; a callable has no say."""
    policy, soft = MarkovPolicy(1), TokenReward.random(1)
    energy = Energy(policy=policy, terms=terms(soft, Vowels()))
    answers = [[i % END, (7 * i) % END] for i in range(150)]
    _, found = energy.score_prefixes(energy.prepare_prefixes(PROMPT, answers))
    assert policy.reads == 1
    alone = replace(energy, terms=energy.terms[:1])
    expected = alone.evaluate_texts(PROMPT, [policy.decode(ids) for ids in answers])
    torch.testing.assert_close(found.energy, expected.energy)
    torch.testing.assert_close(found.nll, expected.nll)
    torch.testing.assert_close(found.rewards[:, :1], expected.rewards)
    assert not found.rewards[:, 1].any()


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("size", [None, 4])
def test_gradient_is_that_of_finite_differences(through, size):
    """Float64, soft tokens, policy and two rewards: equal to 1e-6, on the whole vocabulary and on a part."""
    policy = MarkovPolicy(3, dtype=torch.float64)
    energy = Energy(
        policy=policy,
        terms=terms(TokenReward.random(3), TokenReward.random(4), weight=0.7, scale=2.0),
        policy_gradient=through,
        policy_relaxation=SOFT,
        reward_relaxation=replace(SOFT, tau=0.3),
    )
    ids = torch.tensor([[0, 1, 2], [3, 4, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    support = full_support(ids, V) if size is None else top_support(draw(0, 2, 3, V), ids, size)
    point = draw(1, *support.shape).requires_grad_()

    def energy_fn(logits):
        return energy.evaluate_logits(PROMPT, logits, support, mask).energy

    if not through:  # the differences must see the same fixed log π
        with torch.no_grad():
            fixed = policy.forward(PROMPT, Tokens(SOFT(point), support, mask))
        policy.forward = lambda *_: fixed
    (gradient,) = torch.autograd.grad(energy_fn(point).sum(), point)
    assert gradient.dtype == torch.float64
    torch.testing.assert_close(gradient, central_difference(energy_fn, point.detach()), atol=1e-6, rtol=1e-6)


def test_detached_policy_gives_the_gradient_of_the_cross_entropy():
    """∂/∂y of -mean Σ softmax(y)·log π, with log π fixed: softmax(y)·(Σ p·log π - log π)/T, nothing more."""
    policy = MarkovPolicy(5, dtype=torch.float64)
    energy = Energy(policy=policy, policy_weight=1.0, policy_gradient=False, policy_relaxation=HARD)
    ids = torch.tensor([[2, 5, 1]])
    logits = (draw(2, 1, 3, V) + at_one_hot(ids[0].tolist()) / 2e3).requires_grad_()
    mask = torch.ones(1, 3, dtype=torch.bool)
    nll = energy.evaluate_logits(PROMPT, logits, full_support(ids, V), mask).nll
    (gradient,) = torch.autograd.grad(nll.sum(), logits)
    log_pi = policy.forward(PROMPT, Tokens.from_ids(ids.tolist())).logits.log_softmax(-1)
    p = logits.detach().softmax(-1)
    torch.testing.assert_close(nll.detach(), -(p * log_pi).sum(-1).mean(-1))
    torch.testing.assert_close(gradient, p * ((p * log_pi).sum(-1, keepdim=True) - log_pi) / 3)


class Leaning(TokenReward):
    """Reads the policy, as a head on its states would."""

    def score_soft(self, view):
        return super().score_soft(view) + view.output.logits.sum((1, 2))


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        ({}, 1),
        ({"policy_weight": 0.0}, 1),
        ({"reward_relaxation": SOFT}, 2),
        ({"policy_gradient": False}, 2),
        ({"policy_weight": 0.0, "policy_gradient": False}, 1),
    ],
)
def test_equal_relaxations_share_one_forward(options, reads):
    """Policy and rewards read once where they see the same tokens with gradient, else each for itself."""
    policy = MarkovPolicy(0)
    energy = Energy(policy=policy, terms=terms(Leaning(torch.zeros(V)), TokenReward.random(0)), **options)
    hard = Tokens.from_ids([[1, 2], [3, 4]])
    point = draw(0, 2, 2, V).float().requires_grad_()
    found = energy.evaluate_logits(PROMPT, point, full_support(hard.ids, V), hard.mask)
    assert policy.reads == reads
    (gradient,) = torch.autograd.grad(found.rewards[:, 0].sum(), point)
    assert gradient.abs().sum() > 0


def test_both_parts_send_gradient_through_the_shared_forward():
    """The gradient of the sum is the sum of the policy's gradient and the reward's, neither zero."""
    energy = Energy(policy=MarkovPolicy(0, dtype=torch.float64), terms=terms(Leaning.random(0)))
    hard, point = Tokens.from_ids([[1, 2]]), draw(0, 1, 2, V).requires_grad_()

    def gradient(of):
        (found,) = torch.autograd.grad(
            of.evaluate_logits(PROMPT, point, full_support(hard.ids, V), hard.mask).energy.sum(), point
        )
        return found

    alone = gradient(replace(energy, terms=())), gradient(replace(energy, policy_weight=0.0))
    torch.testing.assert_close(gradient(energy), sum(alone))
    assert all(part.abs().max() > 1e-3 for part in alone)


@property_
@given(seeds, st.lists(texts, min_size=2, max_size=5))
def test_padding_changes_nothing(seed, answers):
    """An answer's parts are the same beside longer ones, with whatever in its padding."""
    energy = Energy(policy=MarkovPolicy(seed), terms=terms(TokenReward.random(seed)))
    together = energy.evaluate_texts(PROMPT, answers)
    for row, text in enumerate(answers):
        for part, alone in zip(together, energy.evaluate_texts(PROMPT, [text]), strict=True):
            torch.testing.assert_close(part[row : row + 1], alone)


class Ruling(MarkovPolicy):
    """Never says `a`, the id in the padding."""

    def forward(self, prompt, tokens, *latent):
        reading = super().forward(prompt, tokens, *latent)
        return reading._replace(all_logits=reading.all_logits.index_fill(-1, torch.tensor([0]), -torch.inf))


def test_what_stands_in_the_padding_does_not_matter():
    """Neither value nor gradient, not even where the policy rules the padding out."""
    energy = Energy(policy=Ruling(0), terms=terms(TokenReward.random(0)))
    assert energy.evaluate_texts(PROMPT, ["bcd", "b"]).energy.isfinite().all()
    support = top_support(draw(0, 2, 3, V), torch.tensor([[1, 2, 3], [1, 5, 6]]), 1)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    logits = draw(0, 2, 3, 1).float().requires_grad_()
    found = energy.evaluate_logits(PROMPT, logits, support, mask)
    (gradient,) = torch.autograd.grad(found.energy.sum(), logits)
    torch.testing.assert_close(found.energy, energy.evaluate_texts(PROMPT, ["bcd", "b"]).energy)
    assert gradient.isfinite().all()


def test_weight_zero_reports_and_does_no_more():
    """Its values are in the terms of a text; it changes no energy and is not asked to steer."""
    reward = Troubled(raises(AssertionError("asked")), where="score_soft")
    energy = Energy(policy=MarkovPolicy(0), terms=terms(reward, weight=0.0))
    found, bare = (
        energy.evaluate_texts(PROMPT, ["abc", "b"]),
        replace(energy, terms=()).evaluate_texts(PROMPT, ["abc", "b"]),
    )
    assert found.rewards.abs().min() > 0
    torch.testing.assert_close(found.energy, bare.energy)
    hard = Tokens.from_ids([[1, 2]])
    relaxed = energy.evaluate_logits(PROMPT, draw(0, 1, 2, V).float(), full_support(hard.ids, V), hard.mask)
    assert relaxed.rewards.tolist() == [[0.0]]


def test_without_policy_weight_the_policy_is_not_read():
    """The energy alone asks for nothing it does not use, and says nothing of it."""
    policy = MarkovPolicy(0)
    energy = Energy(policy=policy, terms=terms(TokenReward.random(0)), policy_weight=0.0)
    hard = Tokens.from_ids([[1, 2]])
    found = energy.evaluate_logits(PROMPT, draw(0, 1, 2, V).float(), full_support(hard.ids, V), hard.mask)
    assert policy.reads == 0
    assert found.nll.tolist() == [0.0]


def test_a_reward_that_raises_is_named():
    """Any error becomes one that says which reward and what; an error of this package stays itself."""
    failing = Energy(policy=MarkovPolicy(0), terms=terms(Troubled(raises(KeyError("lost")))))
    with pytest.raises(RewardUnavailableError, match=r"'r0' failed on 2 answers, KeyError: 'lost'"):
        failing.evaluate_texts(PROMPT, ["a", "b"])
    unfit = replace(failing, terms=terms(Troubled(raises(TokenizerMismatchError("other")))))
    with pytest.raises(TokenizerMismatchError, match="other"):
        unfit.evaluate_texts(PROMPT, ["a"])
    interrupted = replace(failing, terms=terms(Troubled(raises(KeyboardInterrupt()))))
    with pytest.raises(KeyboardInterrupt):
        interrupted.evaluate_texts(PROMPT, ["a"])


@pytest.mark.parametrize("mishap", [lambda values: values[:1], lambda _values: 0.5, lambda v: v.sum()])
def test_one_number_for_each_answer(mishap):
    """Too few values, a bare number, a scalar: no reward at all."""
    energy = Energy(policy=MarkovPolicy(0), terms=terms(Troubled(mishap)))
    with pytest.raises(RewardUnavailableError, match="one number for each"):
        energy.evaluate_texts(PROMPT, ["a", "b"])


def test_who_steers():
    """A soft reward does, a callable does not."""
    assert isinstance(TokenReward.random(0), DifferentiableReward)
    assert not isinstance(Vowels(), DifferentiableReward)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": -1.0},
        {"weight": math.nan},
        {"weight": math.inf},
        {"center": math.inf},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": math.inf},
    ],
)
def test_terms_refuse(options):
    """What is no weight, center or scale, by the term's name."""
    with pytest.raises(ValueError, match="mine: "):
        RewardTerm(reward=TokenReward.random(0), name="mine", **options)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_energy_refuses(weight):
    """What is no weight of the policy."""
    with pytest.raises(ValueError, match="policy_weight"):
        Energy(policy=MarkovPolicy(0), policy_weight=weight)
