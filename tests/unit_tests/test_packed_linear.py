"""Packed weights give what the layers give, bit for bit, or are not used."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import tiny_model
from torch import nn
from torch.nn.functional import linear

from langchain_sea.models import packed_linear
from langchain_sea.models.lm_head import lm_head_of
from langchain_sea.models.packed_linear import PackedWeight, pack_linear_layers, pack_weight


def make_weight(out_features: int, in_features: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    random = torch.Generator().manual_seed(out_features + 7 * in_features)
    return torch.randn(out_features, in_features, generator=random).to(dtype)


def pack_or_skip(weight: torch.Tensor, bias: torch.Tensor | None = None) -> PackedWeight:
    packed = pack_weight(weight, bias)
    if packed is None:
        pytest.skip("this processor has no packed products of bfloat16, or rounds them otherwise")
    return packed


@settings(max_examples=40)
@given(rows=st.integers(1, 70), out_features=st.integers(1, 90), in_features=st.integers(1, 90), has_bias=st.booleans())
def test_products_equal_plain_ones(rows: int, out_features: int, in_features: int, *, has_bias: bool) -> None:
    weight = make_weight(out_features, in_features)
    bias = make_weight(1, out_features)[0] if has_bias else None
    packed = pack_or_skip(weight, bias)
    states = make_weight(rows, in_features)
    # shapes beyond the checked ones may be summed in another order, by one rounding
    torch.testing.assert_close(packed.multiply(states), linear(states, weight, bias), rtol=0.02, atol=0.1)


def test_gradients_equal_plain_ones() -> None:
    weight = make_weight(48, 32)
    packed = pack_or_skip(weight)
    ours, plain = (make_weight(8, 32).requires_grad_() for _ in range(2))
    upstream = make_weight(8, 48)
    packed.multiply(ours).backward(upstream)
    linear(plain, weight).backward(upstream)
    assert ours.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(ours.grad, plain.grad)


def test_float32_is_not_packed() -> None:
    """Its packed products are rounded otherwise, and an answer must not depend on what else is refined."""
    assert pack_weight(make_weight(16, 16, torch.float32)) is None


def test_a_weight_whose_products_differ_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = make_weight(32, 32)
    pack_or_skip(weight)
    monkeypatch.setattr(packed_linear, "_multiply", lambda rows, packed: linear(rows, packed.weight) * 1.01)
    assert pack_weight(weight) is None


def test_a_model_keeps_its_results() -> None:
    model = copy.deepcopy(tiny_model("llama")).to(torch.bfloat16)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    before = model(ids).logits
    linear_layers = [part for part in model.modules() if type(part) is nn.Linear]
    num_packed = pack_linear_layers(model)
    if not num_packed:
        pytest.skip("this processor has no packed products of bfloat16, or rounds them otherwise")
    assert num_packed == len(linear_layers) - 1  # the output layer is not called by the runners
    torch.testing.assert_close(model(ids).logits, before)


def test_a_large_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second copy of its weights would take too much memory."""
    monkeypatch.setattr(packed_linear, "MAX_PACKED_BYTES", 100)
    model = copy.deepcopy(tiny_model("llama")).to(torch.bfloat16)
    assert pack_linear_layers(model) == 0
    assert lm_head_of(model).packed is None
