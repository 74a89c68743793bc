"""Ids, logits and soft tokens: what must hold for every input, then each refusal."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea.sampling.relaxation import Relaxation, discretise, draft_logits, full_support, top_support

KINDS = ["soft", "straight_through", "entropy_mixed"]
seeds = st.integers(0, 2**31)
property_ = settings(derandomize=True)
relaxations = st.builds(Relaxation, kind=st.sampled_from(KINDS), tau=st.floats(0.05, 20))


def draw(seed: int, *shape: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_ids(seed: int, *shape: int, vocab: int) -> torch.Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def gradient(kind: str, logits: torch.Tensor, tau: float, weights: torch.Tensor) -> torch.Tensor:
    point = logits.clone().requires_grad_()
    (result,) = torch.autograd.grad((Relaxation(kind=kind, tau=tau)(point) * weights).sum(), point)
    return result


@property_
@given(seeds, st.integers(1, 12), relaxations, st.sampled_from([0.0, 1.0, 30.0]))
def test_rows_lie_on_the_simplex(seed, size, relaxation, spread):
    """Every kind gives non-negative rows that sum to one, flat rows and a lone candidate included."""
    tokens = relaxation(draw(seed, 2, 3, size, spread=spread))
    assert tokens.shape == (2, 3, size)
    assert tokens.min() >= 0
    torch.testing.assert_close(tokens.sum(-1), torch.ones(2, 3))


@property_
@given(seeds, st.integers(2, 12), st.floats(0.05, 20))
def test_soft_is_the_softmax_of_the_scaled_logits(seed, size, tau):
    """Soft tokens are exp(y/τ) over its sum."""
    logits = draw(seed, 2, 3, size, spread=1).double()
    weights = (logits / tau).exp()
    torch.testing.assert_close(Relaxation(kind="soft", tau=tau)(logits), weights / weights.sum(-1, keepdim=True))


@property_
@given(seeds, st.integers(1, 12), st.floats(0.05, 20))
def test_straight_through_is_the_argmax_forward(seed, size, tau):
    """The forward value is the one-hot argmax to 1e-6."""
    logits = draw(seed, 2, 3, size)
    tokens = Relaxation(kind="straight_through", tau=tau)(logits)
    hard = torch.eye(size)[logits.argmax(-1)]
    torch.testing.assert_close(tokens, hard, atol=1e-6, rtol=0)


@property_
@given(seeds, st.integers(2, 12), st.floats(0.5, 5), st.sampled_from(KINDS[1:]))
def test_the_gradient_is_that_of_soft(seed, size, tau, kind):
    """Whatever the forward value, a linear function of the tokens has soft's gradient, and it is not zero."""
    logits, weights = draw(seed, 2, 3, size), draw(seed + 1, 2, 3, size)
    expected = gradient("soft", logits, tau, weights)
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient(kind, logits, tau, weights), expected)


@property_
@given(seeds, st.integers(2, 12), st.floats(0.2, 5))
def test_entropy_mixed_lies_between_by_the_entropy(seed, size, tau):
    """The weight of the one-hot is H(q)/log K."""
    logits = draw(seed, 2, 3, size).double()
    soft = Relaxation(kind="soft", tau=tau)(logits)
    hard = Relaxation(kind="straight_through", tau=tau)(logits)
    mixed = Relaxation(kind="entropy_mixed", tau=tau)(logits)
    weight = -(soft * soft.log()).sum(-1, keepdim=True) / math.log(size)
    torch.testing.assert_close(mixed, torch.lerp(soft, hard, weight))
    assert (torch.minimum(soft, hard) - 1e-12 <= mixed).all()
    assert (mixed <= torch.maximum(soft, hard) + 1e-12).all()


def test_entropy_mixed_is_hard_where_flat_and_soft_where_sure():
    """A flat row becomes its first candidate, a sure row stays itself."""
    tokens = Relaxation(kind="entropy_mixed")(torch.tensor([[0.0, 0.0, 0.0], [0.0, 60.0, 0.0]]))
    torch.testing.assert_close(tokens, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))


@property_
@given(seeds, st.integers(1, 14), st.integers(1, 10), st.booleans())
def test_top_support_is_the_most_likely_and_the_draft(seed, size, vocab, masked):
    """Rows are distinct ids, the draft's first, then the most likely others; K is capped at V."""
    logits, ids = draw(seed, 2, 3, vocab), draw_ids(seed, 2, 3, vocab=vocab)
    if masked:
        logits[..., vocab // 2 :] = -torch.inf
    support = top_support(logits, ids, size)
    k = min(size, vocab)
    assert support.shape == (2, 3, k)
    assert torch.equal(support[..., 0], ids)
    for row, draft, likely in zip(support.view(-1, k), ids.view(-1), logits.view(-1, vocab), strict=True):
        assert len(set(row.tolist())) == k
        others = torch.cat([likely[:draft], likely[draft + 1 :]]).sort(descending=True).values
        assert torch.equal(likely[row[1:]].sort(descending=True).values, others[: k - 1])


def test_full_support_is_every_id_in_order_without_a_copy():
    """The exact mode lists 0..V-1 at every position and stores it once."""
    support = full_support(torch.zeros(2, 3, dtype=torch.long), 5)
    assert torch.equal(support, torch.arange(5).repeat(2, 3, 1))
    assert support.untyped_storage().size() == 5 * 8


def on(policy_logits, support):
    """Log π on the support."""
    return policy_logits.log_softmax(-1).gather(-1, support)


@property_
@given(seeds, st.integers(1, 14), st.floats(0.05, 50), st.floats(0.01, 10), st.booleans())
def test_the_start_discretises_to_the_draft(seed, size, temperature, margin, full):
    """argmax(y₀) is the draft, whatever the support, and it leads the runner-up by the margin."""
    policy_logits, ids = draw(seed, 2, 3, 14), draw_ids(seed, 2, 3, vocab=14)
    support = full_support(ids, 14) if full else top_support(policy_logits, ids, size)
    logits = draft_logits(on(policy_logits, support), ids, support, temperature=temperature, margin=margin)
    assert logits.dtype == torch.float32
    assert torch.equal(discretise(logits, support), ids)
    rest = logits.masked_fill(support == ids[..., None], -torch.inf).amax(-1)
    assert (logits.amax(-1) - rest >= margin - 1e-3).all()


@settings(property_, max_examples=25)
@given(seeds, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_the_start_is_the_scaled_log_policy_off_the_draft(seed, dtype):
    """Off the draft y₀ is log π / temperature in float32; the draft's entry leads the row by the margin."""
    policy_logits, ids = draw(seed, 2, 3, 6).to(dtype), draw_ids(seed, 2, 3, vocab=6)
    support = top_support(policy_logits, ids, 4)
    logits = draft_logits(on(policy_logits, support), ids, support, temperature=2.0, margin=0.5)
    expected = on(policy_logits, support).float() / 2
    torch.testing.assert_close(logits[..., 1:], expected[..., 1:])
    torch.testing.assert_close(logits[..., 0], expected.amax(-1) + 0.5)


def test_ties_go_to_the_earlier_candidate():
    """Equal logits discretise to the first id of the support's row."""
    assert discretise(torch.zeros(1, 1, 3), torch.tensor([[[7, 2, 5]]])).tolist() == [[7]]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kind": "hard"}, "kind='hard'"),
        ({"tau": 0.0}, "tau=0.0"),
        ({"tau": math.inf}, "tau=inf"),
        ({"tau": math.nan}, "tau=nan"),
    ],
)
def test_bad_relaxations_are_refused_with_their_value(settings_, message):
    """The error names the field and the value."""
    with pytest.raises(ValueError, match=message):
        Relaxation(**settings_)


def test_an_empty_support_is_refused():
    """K must be at least 1."""
    with pytest.raises(ValueError, match="candidates is 0"):
        top_support(torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.long), 0)


def test_a_draft_outside_its_support_is_refused_by_name():
    """The error lists the ids that are outside, and only those."""
    support = torch.tensor([[[0, 1], [1, 2]]])
    with pytest.raises(ValueError, match=r"draft ids \[3\]"):
        draft_logits(torch.zeros(1, 2, 2), torch.tensor([[1, 3]]), support, temperature=1.0, margin=1.0)


@pytest.mark.parametrize(("temperature", "margin"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0)])
def test_a_start_that_would_lose_the_draft_is_refused(temperature, margin):
    """Sharpness and margin must be positive; the error shows both."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(ValueError, match=f"temperature={temperature} and margin={margin}"):
        draft_logits(torch.zeros(1, 1, 2), ids, full_support(ids, 2), temperature=temperature, margin=margin)
