"""The output layer in parts against the whole one."""

from __future__ import annotations

import pytest
import torch

from langchain_sea.models import lm_head
from langchain_sea.models.lm_head import LMHead

ROWS, SIZE, WIDTH, V = 7, 5, 6, 23
SHAPES = {
    "plain": {},
    "bias": {"bias": torch.linspace(-2, 2, V, dtype=torch.float64)},
    "scale": {"scale": 0.3},
    "cap": {"cap": 1.5},
    "all": {"bias": torch.linspace(-1, 1, V, dtype=torch.float64), "scale": 2.0, "cap": 3.0},
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[(1, 1, 1), (4, 3, 2), (100, 100, 100)], ids=str)
def parts(request, monkeypatch):
    """Columns, rows and whole rows read at once."""
    for name, size in zip(("_COLUMNS", "_ROWS", "_ROWS_OF_ALL_COLUMNS"), request.param, strict=True):
        monkeypatch.setattr(lm_head, name, size)


def whole(shape, hidden):
    """The logits, as the equation has them."""
    weight, how = normal(V, WIDTH, seed=1), SHAPES[shape]
    z = hidden @ weight.T + how.get("bias", 0)
    z = how.get("scale", 1.0) * z
    return LMHead(weight, **how), z if "cap" not in how else how["cap"] * (z / how["cap"]).tanh()


@pytest.mark.usefixtures("parts")
@every_shape
def test_log_probs_and_both_slopes(shape):
    hidden, soft = normal(2, ROWS, WIDTH, seed=2), normal(2, ROWS, SIZE, seed=3).softmax(-1)
    hidden, soft = hidden.requires_grad_(), soft.requires_grad_()
    order = normal(2, ROWS, V, seed=4).argsort(-1)
    support = order[..., :SIZE]
    head, z = whole(shape, hidden)
    log_probs = head.log_probs(hidden, soft, support)
    # Σ soft · z − log Σ exp z: the shares of a position sum to one
    expected = (soft * z.gather(-1, support)).sum(-1) - z.logsumexp(-1)
    torch.testing.assert_close(log_probs, expected)
    weights = normal(2, ROWS, seed=5)
    slopes = [torch.autograd.grad((part * weights).sum(), [hidden, soft]) for part in (log_probs, expected)]
    for actual, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(actual, reference)
    torch.testing.assert_close(head.log_probs_at(hidden, support), z.log_softmax(-1).gather(-1, support))


@pytest.mark.usefixtures("parts")
@every_shape
def test_logits_and_their_rows(shape):
    hidden = normal(ROWS, WIDTH, seed=2)
    head, z = whole(shape, hidden)
    torch.testing.assert_close(head.logits(hidden), z)
    blocks = list(head.iter_logits(hidden))
    torch.testing.assert_close(torch.cat([rows for _, rows in blocks]), z)
    assert [i for part, _ in blocks for i in range(ROWS)[part]] == list(range(ROWS))


@pytest.mark.usefixtures("parts")
@every_shape
@pytest.mark.parametrize("size", [1, 4, V, V + 9])
def test_the_likeliest_come_after_the_first_and_the_banned_last(shape, size):
    hidden, first = normal(ROWS, WIDTH, seed=2), torch.arange(ROWS) * 3
    banned = torch.zeros(V, dtype=torch.bool)
    banned[[2, 3, 11]] = True
    head, z = whole(shape, hidden)
    z = z.masked_fill(banned, -1e30).scatter(-1, first[:, None], 1e30)
    expected = z.topk(min(size, V)).indices
    ids = head.top_k(hidden, first, size, banned)
    free = ~banned[expected]  # the banned have no order among themselves
    assert torch.equal(ids[free], expected[free])
    assert all(len(set(row)) == min(size, V) for row in ids.tolist())


def test_a_peak_far_above_all_else_stays_finite():
    """Parts whose shares vanish beside another's leave no trace, and no NaN."""
    weight = torch.zeros(V, 1, dtype=torch.float64)
    weight[3], weight[20] = 5e4, -5e4
    head, hidden = LMHead(weight), torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    support = torch.tensor([[3, 20]])
    log_prob = head.log_probs(hidden, torch.tensor([[1.0, 0.0]], dtype=torch.float64), support)
    assert log_prob.item() == 0
    assert torch.autograd.grad(log_prob.sum(), hidden)[0].item() == 0
