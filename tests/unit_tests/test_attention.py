"""Attention against the plain equation: each answer with a copy of the prompt before it."""

from __future__ import annotations

import pytest
import torch

from langchain_sea.models import attention, static_attention
from langchain_sea.models.attention import AttentionSpec, attend
from langchain_sea.models.kv_cache import GrowingKVCache, PackedSequence
from langchain_sea.models.packed_linear import pad_rows
from langchain_sea.models.static_attention import Positions

ROWS, HEADS, GROUPS, SIZE = 3, 4, 2, 8


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def plain(query, own, shared, spec):
    """One row, one head, one position at a time."""
    rows, heads, length, _ = query.shape
    out = []
    for row in range(rows):
        for position in range(length):
            for head in range(heads):
                group = head // (heads // own[0].shape[1])
                keys, values = (
                    torch.cat([*([part[group]] if part is not None else []), own_part[row, group]])
                    for part, own_part in zip(shared or (None, None), own, strict=True)
                )
                at = len(keys) - length + position  # the answers' last positions are the queries'
                first = 0 if spec.sliding_window is None else max(0, at - spec.sliding_window + 1)
                scores = keys[first : at + 1] @ query[row, head, position] * spec.scale
                if spec.softcap is not None:
                    scores = spec.softcap * (scores / spec.softcap).tanh()
                if spec.sinks is not None:
                    scores = torch.cat([scores, spec.sinks[head : head + 1]])
                out.append(scores.softmax(0)[: at + 1 - first] @ values[first : at + 1])
    return torch.stack(out).view(rows * length, heads, -1)


@pytest.mark.parametrize("most", [attention._MAX_WEIGHTS, 0])
@pytest.mark.parametrize(("softcap", "has_sinks"), [(None, False), (0.7, False), (None, True), (0.7, True)])
@pytest.mark.parametrize("sliding_window", [None, 1, 4, 100])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize(("prompt", "before"), [(0, 0), (5, 0), (5, 2), (0, 2)])
def test_it_is_the_equation_with_its_gradient(
    *, monkeypatch, prompt, before, length, sliding_window, softcap, has_sinks, most
):
    """For every way through: shared or copied, capped, windowed, with sinks, one position or several."""
    monkeypatch.setattr(attention, "_MAX_WEIGHTS", most)
    query = normal(ROWS, HEADS, length, SIZE)
    own = [normal(ROWS, GROUPS, before + length, SIZE, seed=seed) for seed in (1, 2)]
    shared = tuple(normal(GROUPS, prompt, SIZE, seed=seed).detach() for seed in (3, 4)) if prompt else None
    sinks = normal(HEADS, seed=6).detach() if has_sinks else None
    spec = AttentionSpec(0.5, softcap, sliding_window, sinks=sinks)
    segment = PackedSequence(query[:, 0, :, :], (shared,) if shared else (), GrowingKVCache(ROWS, before + length))
    segment.cache.advance(before)
    output = attend(query, own, shared, segment.mask(sliding_window), spec)
    expected = plain(query, own, shared, spec)
    torch.testing.assert_close(output, expected)
    weights = normal(*output.shape, seed=5).detach()
    slopes = [torch.autograd.grad((part * weights).sum(), [query, *own]) for part in (output, expected)]
    for actual, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(actual, reference)


@pytest.mark.parametrize("prompt", [64, 150, 300])
def test_long_prompts_are_read_in_half_precision(monkeypatch, prompt):
    """Most of the prompt to half precision's accuracy, short prompts as exactly as ever; gradients too."""
    monkeypatch.setattr(attention, "_MIN_NARROW_SCORES", 128 * ROWS * HEADS // GROUPS * 5)
    monkeypatch.setattr(attention, "_NARROW_BLOCK", 128)
    query = normal(ROWS, HEADS, 5, SIZE)
    own = [normal(ROWS, GROUPS, 5, SIZE, seed=seed) for seed in (1, 2)]
    shared = tuple(normal(GROUPS, prompt, SIZE, seed=seed).detach() for seed in (3, 4))
    mask = PackedSequence(query[:, 0, :, :], (shared,)).mask(None)
    exact, narrow = (
        attend(query, own, shared, mask, AttentionSpec(0.5, None, None, n)) for n in (None, torch.bfloat16)
    )
    weights = normal(*exact.shape, seed=5).detach()
    slopes = [torch.autograd.grad((part * weights).sum(), [query, *own]) for part in (exact, narrow)]
    for one, other in zip((exact, *slopes[0]), (narrow, *slopes[1]), strict=True):
        error = ((one - other).norm() / one.norm()).item()
        assert error < 0.02
        assert (error == 0) == (prompt < 128)


@pytest.mark.parametrize("count", range(1, 9))
def test_rows_are_made_even(count):
    for rows in (torch.arange(1, count + 1), torch.ones(count, 3)):
        padded = pad_rows(rows)
        assert len(padded) % 4 == 0
        assert len(padded) - count < 4
        assert torch.equal(padded[:count], rows)
        assert not padded[count:].any()
        assert (padded is rows) == (count % 4 == 0)


@pytest.mark.parametrize("sliding_window", [None, 3])
@pytest.mark.parametrize(("length", "prompt"), [(1, 5), (4, 5), (4, 0)])
def test_sinks_in_one_kernel_are_those_of_the_equation(monkeypatch, length, prompt, sliding_window):
    """In batches of fixed shape, for prompts of different lengths."""
    prompts, rows = 2, 3
    positions = Positions(torch.tensor([prompt, prompt // 2]), torch.tensor([2, 0]), rows, length, 8, prompt)
    shape = (prompts * rows, HEADS, length, SIZE)
    inputs = [normal(*shape), *(normal(shape[0], GROUPS, 8, SIZE, seed=seed) for seed in (1, 2))]
    shared = tuple(normal(prompts, GROUPS, prompt, SIZE, seed=seed).detach() for seed in (3, 4)) if prompt else None
    spec = AttentionSpec(0.5, None, sliding_window, sinks=normal(HEADS, seed=6).detach())
    plainly = static_attention._attend_to_both(inputs[0], inputs[1:], shared, positions, spec)
    expected = torch.autograd.grad(plainly.sin().sum(), inputs)
    monkeypatch.setattr(static_attention, "_attend_to_both", None)  # which writes all scores
    fused = static_attention.attend_static(inputs[0], inputs[1:], shared, positions, spec)
    torch.testing.assert_close(fused, plainly, atol=1e-5, rtol=1e-5)
    for one, other in zip(torch.autograd.grad(fused.sin().sum(), inputs), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
