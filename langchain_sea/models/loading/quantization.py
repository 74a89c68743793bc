"""Linear layers with weights in 8 or 4 bits, through which gradients flow. Knows neither names nor text.

    w ≈ s · q          8 bits: q ∈ −127 … 127, one s per row
    w ≈ s · q + m      4 bits: q ∈ 0 … 15, one s and m per 32 columns of a row

A product unpacks the weights in the precision of its input, and again for the gradient, and keeps neither: it is
slower than with unpacked weights, and needs a sixth to a half of their memory.
Why no library: on a CPU torchao 0.18 has no 4 bits and skips GPT-2's `Conv1D`, and optimum-quanto 0.2.7 skips it, too,
and compiles C++ at the first use. Shapes: O rows, I columns, G = ⌈I / 32⌉ groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from transformers.pytorch_utils import Conv1D

from langchain_sea.errors import ArchitectureError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Bits", "QuantizedLinear", "quantize"]

Bits = Literal["int8", "int4"]

_GROUP = 32
_HALF = (
    _GROUP // 2
)  # a byte has a column of a group's first half in its low bits, and one of the second in its high bits


def quantize(model: PreTrainedModel, bits: Bits) -> None:
    """Replace the linear layers by quantized ones; embeddings and output layer stay as they are.

    Raises:
        ArchitectureError: there is no linear layer, or its weights are not in memory.
    """
    body = model.base_model
    layers = [(name, part) for name, part in body.named_modules() if type(part) in {nn.Linear, Conv1D}]
    if not layers or any(part.weight.is_meta for _, part in layers):
        raise ArchitectureError(
            f"{type(model).__name__} has no linear layers in memory that could be quantized: load it without "
            "quantization, or with a device_map that leaves nothing on disk."
        )
    for name, part in layers:
        weight = part.weight.T if isinstance(part, Conv1D) else part.weight
        body.set_submodule(name, QuantizedLinear(weight.detach(), part.bias, bits))


class QuantizedLinear(nn.Module):
    """x Wᵀ + b with W in 8 or 4 bits; differentiable in x alone."""

    packed: Tensor
    scale: Tensor
    low: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: Bits) -> None:
        """Round `weight`, (O, I); `bias`, (O,), is not changed."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        packed, scale, low = (*to_8_bits(weight), None) if bits == "int8" else _in_4_bits(weight)
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("low", low)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The unpacked weights, (O, I)."""
        if self.low is None:
            return self.packed.to(self.scale.dtype) * self.scale
        columns = torch.cat([self.packed & 15, self.packed >> 4], -1)  # (O, G, 32)
        unpacked = torch.addcmul(self.low, columns.to(self.scale.dtype), self.scale).flatten(1)
        return unpacked[:, : self.in_features]

    def forward(self, states: Tensor) -> Tensor:
        """Apply the layer, (…, I) → (…, O)."""
        product: Tensor = _Product.apply(states, self)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """x Wᵀ that keeps no unpacked W for its gradient."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layer: QuantizedLinear) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.layer = layer
        return linear(states, layer.weight.to(states.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        return gradients[0] @ ctx.layer.weight.to(gradients[0].dtype), None


def to_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return (O, I) int8 and the scale (O, 1), rounded to the weights' precision before it divides them."""
    scale = _positive(weight.abs().amax(-1, keepdim=True) / 127)
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


def _in_4_bits(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (O, G, 16) uint8 with two columns per byte, and scale and offset, (O, G, 1) each."""
    groups = pad(weight, (0, -weight.shape[-1] % _GROUP)).reshape(len(weight), -1, _GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = _positive((high - low) / 15)
    codes = ((groups - low) / scale).round().clamp(0, 15).to(torch.uint8)
    return codes[..., :_HALF] | codes[..., _HALF:] << 4, scale, low


def _positive(scale: Tensor) -> Tensor:
    return scale.clamp(min=torch.finfo(scale.dtype).tiny)
