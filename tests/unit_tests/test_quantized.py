"""Weights in few bits: close to the whole ones, a right gradient in the input and none for themselves."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from models import ARCHS, save_folder, tiny_model, tiny_tokenizer
from slow_cases import first_fast
from torch.nn.functional import cosine_similarity
from transformers import TorchAoConfig

from langchain_sea import weights
from langchain_sea.core.protocols import LOGITS, Tokens
from langchain_sea.errors import ArchitectureError, ExtraMissingError, WeightsCorruptError
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.loading.quantization import QuantizedLinear, quantize

BITS = {"int8": 1 / 127 / 2, "int4": 1 / 15 / 2}  # the most a weight may move, as a share of what is rounded by
IDS = torch.arange(3, 30)[None]


def quantized(arch, bits):
    model = copy.deepcopy(tiny_model(arch))
    quantize(model, bits)
    return model


def weight(rows=24, columns=80, dtype=torch.float32):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [32, 80, 7])
def test_no_weight_moves_by_more_than_half_a_step(bits, columns):
    whole = weight(columns=columns)
    layer = QuantizedLinear(whole, None, bits)
    if bits == "int8":
        spread = whole.abs().amax(-1, keepdim=True).expand_as(whole)
    else:  # the padding of the last group is rounded, too
        padded = torch.nn.functional.pad(whole, (0, -columns % 32)).unflatten(-1, (-1, 32))
        spread = padded.amax(-1, keepdim=True) - padded.amin(-1, keepdim=True)
        spread = spread.expand_as(padded).flatten(1)[:, :columns]
    assert ((layer.weight - whole).abs() <= BITS[bits] * spread * 1.001).all()


@pytest.mark.parametrize(("bits", "share"), [("int8", 0.3), ("int4", 0.2)])
def test_it_takes_less_memory(bits, share):
    whole = weight(256, 1024)
    layer = QuantizedLinear(whole, None, bits)
    assert sum(b.nbytes for b in layer.buffers()) <= share * whole.nbytes
    narrow = QuantizedLinear(whole.bfloat16(), None, bits)
    assert sum(b.nbytes for b in narrow.buffers()) <= 2 * share * whole.bfloat16().nbytes


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_rows_stay_finite(bits, value):
    layer = QuantizedLinear(torch.full((2, 40), value), None, bits)
    assert torch.allclose(layer.weight, torch.full((2, 40), value))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_product_and_its_gradient_are_those_of_the_written_out_weights(bits, dtype):
    layer = QuantizedLinear(weight(dtype=dtype), torch.ones(24, dtype=dtype), bits)
    states = torch.randn(2, 5, 80, dtype=dtype, requires_grad=True)
    with torch.no_grad():
        before = layer(states)
    product = layer(states)
    assert torch.equal(product, before)
    assert torch.equal(product, torch.nn.functional.linear(states, layer.weight) + layer.bias)
    (gradient,) = torch.autograd.grad(product.sum(), states)
    assert torch.equal(gradient, torch.ones_like(product) @ layer.weight)


@pytest.mark.parametrize("bits", BITS)
def test_nothing_of_the_written_out_weights_is_kept_for_the_gradient(bits):
    saved = []
    layer, states = QuantizedLinear(weight(), None, bits), torch.randn(1, 80, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        layer(states)
    assert saved == []


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("arch", ARCHS)
def test_every_linear_layer_but_the_output(arch, bits):
    model = quantized(arch, bits)
    plain = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    assert plain == [name for name, part in model.named_modules() if part is model.get_output_embeddings()]
    with torch.no_grad():
        near, exact = model(IDS).logits, tiny_model(arch)(IDS).logits
    assert cosine_similarity(near.flatten(), exact.flatten(), 0) > {"int8": 0.999, "int4": 0.9}[bits]


@pytest.mark.parametrize("bits", first_fast(BITS))
@pytest.mark.parametrize("dtype", first_fast([torch.float64, torch.float32]))
def test_the_gradient_through_a_policy_is_the_slope(tmp_path, bits, dtype):
    """After drafting, too; against central differences along every coordinate of one position."""
    model = weights.load(save_folder(tmp_path / "model"), quantization=bits, dtype=dtype, device="cpu").model
    policy = CausalLMPolicy(model, tiny_tokenizer())
    prompt = policy.prompt([{"role": "user", "content": "The cat"}])
    policy.generate(prompt, [[]], tokens=4, temperature=0.0, generators=[torch.Generator()])
    support = torch.arange(5, 29).view(1, 3, 8)
    mask = torch.ones(1, 3, dtype=torch.bool)
    point = torch.randn(1, 3, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def energy(logits):
        tokens = Tokens(logits.softmax(-1), support, mask)
        return policy.forward(prompt, tokens, LOGITS).log_probs(tokens).sum()

    leaf = point.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(leaf), leaf)
    # the models' norms compute in float32 whatever the weights are: smaller steps drown in their rounding
    step = 1e-2 if dtype == torch.float32 else 1e-3
    with torch.no_grad():
        numeric = torch.stack([(energy(point + d) - energy(point - d)) / (2 * step) for d in moves(point, step)])
    assert cosine_similarity(gradient.flatten(), numeric, 0) >= (0.99 if dtype == torch.float32 else 0.9999)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(not b.requires_grad for b in model.buffers())


def moves(point, step):
    """One step along each coordinate."""
    return (step * torch.eye(point.numel(), dtype=point.dtype)).view(-1, *point.shape)


@pytest.mark.parametrize("bits", BITS)
def test_it_is_copied_and_pickled_as_it_is(bits):
    layer = QuantizedLinear(weight(), torch.ones(24), bits)
    states = torch.randn(3, 80)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 - our own bytes
        assert torch.equal(other(states), layer(states))


def test_a_model_without_linear_layers_is_refused():
    model = quantized("llama", "int8")
    with pytest.raises(ArchitectureError, match="no linear layers"):
        quantize(model, "int8")
    with torch.device("meta"):
        empty = type(model)(model.config)
    with pytest.raises(ArchitectureError, match="on disk"):
        quantize(empty, "int8")


@pytest.mark.parametrize("bits", first_fast(BITS))
def test_few_bits_are_weights_of_their_own(bits):
    whole, few = weights.load("tiny"), weights.load("tiny", quantization=bits)
    assert few is weights.load("tiny", quantization=bits)
    assert few is not whole
    weights.unload("tiny")
    assert few is not weights.load("tiny", quantization=bits)


def test_a_missing_quantization_library_is_named(tmp_path):
    folder = save_folder(tmp_path / "model")
    config = {"quant_method": "compressed-tensors"}
    with pytest.raises(ExtraMissingError, match="compressed"):
        weights.load(folder, quantization=config)


def test_a_configuration_of_transformers_quantizes_as_well(tmp_path):
    """Near the exact model, smaller, and differentiable in soft tokens; from a folder and from memory."""
    library = pytest.importorskip("torchao.quantization")
    config = TorchAoConfig(library.Int8WeightOnlyConfig())
    for name in (save_folder(tmp_path / "model"), "tiny"):
        exact, quantized = (weights.load(name, device="cpu"), weights.load(name, quantization=config, device="cpu"))
        assert quantized is weights.load(name, quantization=config, device="cpu")
        policies = [CausalLMPolicy(each.model, tiny_tokenizer()) for each in (exact, quantized)]
        tokens = Tokens(
            torch.rand(1, 3, 8).softmax(-1).requires_grad_(),
            torch.arange(5, 29).view(1, 3, 8),
            torch.ones(1, 3, dtype=torch.bool),
        )
        outputs = [each.forward(each.prompt([{"role": "user", "content": "hi"}]), tokens, LOGITS) for each in policies]
        near, plain = (output.log_probs(tokens) for output in reversed(outputs))
        assert cosine_similarity(outputs[1].logits.flatten(), outputs[0].logits.flatten(), 0) > 0.99
        slopes = [torch.autograd.grad(part.sum(), tokens.soft)[0].flatten() for part in (near, plain)]
        assert cosine_similarity(*slopes, 0) > 0.99


def test_an_adapter_is_not_quantized_while_it_is_merged(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsCorruptError, match="save_pretrained"):
        weights.load(tmp_path, quantization={"quant_method": "torchao"})
