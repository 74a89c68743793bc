"""Packed weights give what the layers give, and each row what it gets beside any other rows, or are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from architectures import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from langchain_sea.models import packed_linear
from langchain_sea.models.lm_head import lm_head_of
from langchain_sea.models.packed_linear import PackedWeight, decode_passes, pack_linear_layers, pack_weight, pad_to_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True, scope="module")
def small_weights() -> Iterator[None]:
    """Weights of any size are worth it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_linear, "_MIN_WIDE_BYTES", 0)
        yield


def make_weight(out_features: int, in_features: int, dtype: torch.dtype) -> torch.Tensor:
    random = torch.Generator().manual_seed(out_features + 7 * in_features)
    return torch.randn(out_features, in_features, generator=random).to(dtype)


def pack_or_skip(weight: torch.Tensor, bias: torch.Tensor | None = None) -> PackedWeight:
    packed = pack_weight(weight, bias)
    if packed is None:
        pytest.skip(f"this processor has no packed products of {weight.dtype}, or their rows depend on each other")
    return packed


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40)
@given(rows=st.integers(1, 70), out_features=st.integers(1, 90), in_features=st.integers(1, 90), has_bias=st.booleans())
def test_products_equal_plain_ones(
    dtype: torch.dtype, rows: int, out_features: int, in_features: int, *, has_bias: bool
) -> None:
    weight = make_weight(out_features, in_features, dtype)
    bias = make_weight(1, out_features, dtype)[0] if has_bias else None
    packed = pack_or_skip(weight, bias)
    states = make_weight(rows, in_features, dtype)
    narrow = dtype == torch.bfloat16  # summed in another order, by one rounding
    tolerances = {"rtol": 0.02, "atol": 0.1} if narrow else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(packed.multiply_packed(states), linear(states, weight, bias), **tolerances)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40)
@given(rows=st.integers(1, 300), out_features=st.integers(1, 90), in_features=st.integers(1, 90))
def test_a_row_does_not_depend_on_those_beside_it(
    dtype: torch.dtype, rows: int, out_features: int, in_features: int
) -> None:
    packed = pack_or_skip(make_weight(out_features, in_features, dtype))
    states = make_weight(400, in_features, dtype)
    assert torch.equal(packed.multiply_alone(states[:rows]), packed.multiply_alone(states)[:rows])


@given(rows=st.integers(1, 1000))
def test_rows_are_padded_to_few_sizes(rows: int) -> None:
    """Each number of rows has a kernel of its own."""
    states = torch.ones(rows, 2)
    padded = pad_to_size(states)
    assert torch.equal(padded[:rows], states)
    assert not padded[rows:].any()
    assert len(padded) <= max(4, 1.6 * rows)
    assert len(padded) % 128 in {0, 1, 4, 8, 12, 16, 24, 32, 48, 64, 96}


def test_only_steps_of_decoding_multiply_by_packed_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL is as fast with many rows, and any number of them has one kernel."""
    packed = pack_or_skip(make_weight(8, 16, torch.float32))
    calls = []
    monkeypatch.setattr(packed_linear, "_multiply", lambda *_: calls.append(1) or torch.zeros(1, 8))
    packed.multiply(torch.zeros(1, 16))
    assert not calls
    with decode_passes():
        packed.multiply(torch.zeros(1, 16))
    assert calls


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_equal_plain_ones(dtype: torch.dtype) -> None:
    weight = make_weight(48, 32, dtype)
    packed = pack_or_skip(weight)
    ours, plain = (make_weight(8, 32, dtype).requires_grad_() for _ in range(2))
    upstream = make_weight(8, 48, dtype)
    with decode_passes():
        packed.multiply(ours).backward(upstream)
    linear(plain, weight).backward(upstream)
    assert ours.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(ours.grad, plain.grad)


def test_other_types_are_not_packed() -> None:
    assert pack_weight(make_weight(16, 16, torch.float64)) is None


@pytest.fixture
def unknown_shapes() -> Iterator[None]:
    """What is known of shapes is forgotten before and after the test."""
    packed_linear._can_pack.cache_clear()
    yield
    packed_linear._can_pack.cache_clear()


def multiply_packed(rows: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")


def wrong(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return multiply_packed(rows, packed) * 1.5


def dependent(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return multiply_packed(rows, packed) * (1 + 1e-6 * len(rows))


@pytest.mark.usefixtures("unknown_shapes")
@pytest.mark.parametrize("multiply", [wrong, dependent])
def test_a_weight_is_packed_if_its_products_are_right_and_rows_alone(
    monkeypatch: pytest.MonkeyPatch, multiply: Callable[..., torch.Tensor]
) -> None:
    weight = make_weight(32, 32, torch.float32)
    pack_or_skip(weight)
    packed_linear._can_pack.cache_clear()
    monkeypatch.setattr(packed_linear, "_multiply", multiply)
    assert pack_weight(weight) is None


def test_a_weight_that_changes_is_packed_again() -> None:
    weight = make_weight(32, 16, torch.float32).requires_grad_()
    packed = pack_or_skip(weight)
    states = make_weight(5, 16, torch.float32)
    with torch.no_grad(), decode_passes():
        weight.mul_(2)
        torch.testing.assert_close(packed.multiply(states), linear(states, weight))


def test_a_weight_of_inference_mode_is_packed() -> None:
    with torch.inference_mode():
        packed = pack_or_skip(make_weight(32, 16, torch.float32))
    states = make_weight(4, 16, torch.float32)
    torch.testing.assert_close(packed.multiply_packed(states), linear(states, packed.weight))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_keeps_its_results(dtype: torch.dtype) -> None:
    pack_or_skip(make_weight(32, 32, dtype))
    model = tiny_model("llama").to(dtype)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    before = model(ids).logits
    assert pack_linear_layers(model, has_decode_passes=True) == (dtype == torch.float32)
    tolerances = {} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    with decode_passes():
        torch.testing.assert_close(model(ids).logits, before, **tolerances)
    layers = [part for part in model.modules() if type(part) is nn.Linear]
    is_packed = ["forward" in vars(layer) for layer in layers]
    assert is_packed == [layer is not model.lm_head for layer in layers]  # which the runners do not call


@pytest.mark.parametrize(("model_type", "are_all"), [("llama", True), ("gpt2", False), ("mixtral", False)])
def test_models_with_other_matrices_decode_with_plain_products(model_type: str, *, are_all: bool) -> None:
    """GPT-2 has layers of its own kind, and Mixtral has experts."""
    pack_or_skip(make_weight(32, 32, torch.float32))
    model = tiny_model(model_type)
    assert pack_linear_layers(model, has_decode_passes=True) == are_all
    is_packed = ["forward" in vars(part) for part in model.modules() if type(part) is nn.Linear]
    assert any(is_packed) == are_all  # a copy that is never used is not made


def test_small_float32_layers_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed product takes longer to begin."""
    monkeypatch.setattr(packed_linear, "_MIN_WIDE_BYTES", 2**20)
    model = tiny_model("llama")
    assert not pack_linear_layers(model, has_decode_passes=True)
    assert not any("forward" in vars(part) for part in model.modules() if type(part) is nn.Linear)
    assert lm_head_of(model).packed is None


def test_a_large_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second copy of its weights would take too much memory."""
    monkeypatch.setattr(packed_linear, "MAX_PACKED_BYTES", 100)
    model = tiny_model("llama").to(torch.bfloat16)
    assert not pack_linear_layers(model, has_decode_passes=True)
    assert not any("forward" in vars(part) for part in model.modules() if type(part) is nn.Linear)
    assert lm_head_of(model).packed is None
