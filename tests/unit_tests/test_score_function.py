"""A text reward that steers: its estimate against the exact gradient of the expectation, by enumeration."""

import pickle
from itertools import product

import pytest
import torch
from doubles import ALPHABET, DoublePrompt, MarkovPolicy, TokenReward, Vowels, run

from langchain_sea.core.energy import Energy, RewardTerm
from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Sampling, Tokens
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.presets import ChainConfig, SearchConfig
from langchain_sea.rewards.score_function import ScoreFunction
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

PROMPT = DoublePrompt("why?")
POLICY = MarkovPolicy(0)
IDS = torch.tensor([ALPHABET.index(letter) for letter in "aebc"])


def view_of(logits):
    """C chains of T positions on four letters, whose shares are softmax(logits)."""
    support = IDS.expand(logits.shape)
    mask = torch.ones(logits.shape[:2], dtype=torch.bool)
    soft = Relaxation(kind="straight_through")(logits)
    view = AnswerBatch(POLICY, PROMPT, Tokens(soft, support, mask))
    view.shares = logits.detach().softmax(-1)
    return view


def exact(logits):
    """E r(y), (C,), by enumeration, differentiable in the logits."""
    shares, values = logits.softmax(-1), []
    for row in shares:
        total = torch.zeros((), dtype=row.dtype)
        for places in product(range(len(IDS)), repeat=row.shape[0]):
            text = POLICY.decode(IDS[list(places)].tolist())
            share = torch.stack([row[t, k] for t, k in enumerate(places)]).prod()
            total = total + share * Vowels().score(view_of(logits.detach()[:1]), [text])[0]
        values.append(total)
    return torch.stack(values)


def slope(reward, logits):
    leaf = logits.clone().requires_grad_()
    value = reward.score_soft(view_of(leaf))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def test_the_estimate_is_the_exact_gradient_in_the_long_run():
    """Value and gradient, with thousands of samples; with few, their mean over seeds."""
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    mean = exact(leaf)
    (expected,) = torch.autograd.grad(mean.sum(), leaf)
    value, gradient = slope(ScoreFunction(Vowels(), samples=20_000), logits)
    torch.testing.assert_close(value, mean.detach(), atol=0.01, rtol=0.02)
    torch.testing.assert_close(gradient, expected, atol=0.01, rtol=0.05)
    few = torch.stack([slope(ScoreFunction(Vowels(), samples=4, seed=s), logits)[1] for s in range(1500)])
    torch.testing.assert_close(few.mean(0), expected, atol=0.02, rtol=0.1)


def test_the_variance_is_as_reported_and_falls():
    """The spread of the gradient in the logits over seeds, at 4 samples and at 16."""
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = {}
    for samples in (4, 16):
        rewards = [ScoreFunction(Vowels(), samples=samples, seed=seed) for seed in range(400)]
        gradients = torch.stack([slope(reward, logits)[1].flatten() for reward in rewards])
        reported = sum(r.estimate(view_of(logits)).variance.item() for r in rewards) / len(rewards)
        seen[samples] = gradients.var(0).sum().item()
        assert 0.5 < reported / seen[samples] < 2
    assert seen[16] < 0.5 * seen[4]


def test_the_same_numbers_for_all_chains_and_steps():
    """Equal chains have equal estimates, and another seed has others."""
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(2)).expand(2, 3, 4)
    value, gradient = slope(ScoreFunction(Vowels(), samples=4), logits)
    assert value[0] == value[1]
    assert torch.equal(gradient[0], gradient[1])
    again = slope(ScoreFunction(Vowels(), samples=4), logits[:1])[1]
    assert torch.equal(again[0], gradient[0])
    assert not torch.equal(slope(ScoreFunction(Vowels(), samples=4, seed=1), logits)[1], gradient)


def test_padding_has_no_say():
    """Masked positions are drawn from by nobody."""
    logits = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(3))
    view = view_of(logits)
    view.tokens = view.tokens._replace(mask=torch.tensor([[True, True, False, False]]))
    found = ScoreFunction(Vowels(), samples=64).estimate(view)
    assert not found.gradient[:, 2:].any()
    assert found.gradient[:, :2].any()


@pytest.mark.parametrize("relaxation", ["soft", "straight_through", "entropy_mixed"])
def test_chains_climb_a_text_reward(relaxation):
    """What only ranks moves no chain; drawn from, it raises the vowels of most prompts' chains."""
    prompts = [DoublePrompt(f"question {i}") for i in range(6)]
    shape = Relaxation(kind=relaxation)
    search_config = SearchConfig(
        chains=ChainConfig(num_chains=2, num_candidates=None, max_steps=25, init_margin=0.5), block_size=None
    )
    method = Langevin(kernel="adam", step_size=0.3, noise_scale=0.0)

    def gains(reward):
        energy = Energy(
            policy=POLICY,
            terms=(RewardTerm(reward=reward, name="r", weight=5.0),),
            policy_weight=0.0,
            policy_relaxation=shape,
            reward_relaxation=shape,
            max_nll_rise=None,
        )
        found = run(
            energy, prompts, langevin=method, search_config=search_config, drafts=[[[1, 2, 3, 5, 6, 7]]] * 6
        )
        return [f.after.rewards["r"] - f.before.rewards["r"] for f in found]

    assert not any(gains(Vowels()))
    assert sum(gain > 0.2 for gain in gains(ScoreFunction(Vowels(), samples=16))) >= 4


def test_it_is_what_the_protocols_ask():
    reward = pickle.loads(pickle.dumps(ScoreFunction(Vowels())))  # noqa: S301 - made here
    assert isinstance(reward, DifferentiableReward)
    assert isinstance(reward, Sampling)
    assert not isinstance(TokenReward.random(0), Sampling)
    with pytest.raises(ValueError, match="samples=1"):
        ScoreFunction(Vowels(), samples=1)


def test_a_failure_is_the_rewards_own():
    class Gone:
        def score(self, view, texts):
            raise RewardUnavailableError("gone")

    energy = Energy(policy=POLICY, terms=(RewardTerm(reward=ScoreFunction(Gone()), name="r"),))
    (found,) = run(energy, [PROMPT], preset="paper", drafts=[[[1, 2]]])
    assert found.stop_reason == "reward_unavailable"
    assert not found.accepted
