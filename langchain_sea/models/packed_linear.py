"""Linear layers whose weights are stored in the order in which a CPU's kernel reads them.

Few rows take as long as the weights need to be read, and a product reorders them in every call unless they are packed
before. A packed product equals the plain one up to rounding, and the result of a row does not depend on the rows
beside it; else it is not used.

In bfloat16 all products are packed. In float32 those of `decode_passes` alone are: MKL's plain products of many rows
are as fast, and oneDNN compiles a kernel of half a megabyte for each number of rows. Steps of decoding have few numbers
of rows (`pad_to_size`).

Shapes: N rows; O rows and I columns of a weight.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_PACKED_BYTES",
    "PackedWeight",
    "decode_passes",
    "is_worth_packing",
    "pack_linear_layers",
    "pack_weight",
    "pad_rows",
    "pad_to_size",
]

_ROW_MULTIPLE = 4  # of plain products: MKL sums the rows of the remainder in another order
_SIZES = (1, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # numbers of rows of packed float32
_ROWS = 16  # for which oneDNN chooses the order; any number of rows can be multiplied
MAX_PACKED_BYTES = 2**31
"""Of the linear layers of a model that is packed: the copy takes as much memory again."""
_MIN_WIDE_BYTES = 2**20
"""Of the median float32 layer of a model that is packed: a packed product takes longer to begin than a plain one."""
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # of the types that are packed, for numbers around √I

_is_decoding: ContextVar[bool] = ContextVar("is_decoding", default=False)


@contextmanager
def decode_passes() -> Iterator[None]:
    """Within it, float32 is multiplied by packed weights, too; rows must have a size of `pad_to_size`."""
    token = _is_decoding.set(True)
    try:
        yield
    finally:
        _is_decoding.reset(token)


def pad_rows(rows: Tensor) -> Tensor:
    """Append rows of zeros to (N, …) until N is a multiple of four; returns `rows` if it is one."""
    return _pad(rows, -len(rows) % _ROW_MULTIPLE)


def pad_to_size(rows: Tensor) -> Tensor:
    """Append rows of zeros to (N, …) until N is a multiple of 128, or that and one of few smaller numbers."""
    rest = len(rows) % _SIZES[-1]
    return _pad(rows, next(size for size in (0, *_SIZES) if size >= rest) - rest)


def _pad(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count, *rows.shape[1:])]) if count else rows


@dataclass(slots=True, eq=False)
class PackedWeight:
    """A weight and its packed copy, which is made again if the weight has changed.

    Attributes:
        weight: (O, I), frozen.
        bias: (O,) or None.
    """

    weight: Tensor
    bias: Tensor | None = None
    _packed: Tensor = field(init=False)
    _version: int = field(init=False)  # of the weight that was packed

    def __post_init__(self) -> None:
        self._pack()

    @property
    def is_narrow(self) -> bool:
        """Whether products of any number of rows are packed."""
        return self.weight.dtype != torch.float32

    def multiply(self, rows: Tensor) -> Tensor:
        """Return x Wᵀ + b, (…, I) → (…, O); differentiable in `rows`."""
        if not (self.is_narrow or _is_decoding.get()):
            return linear(rows, self.weight, self.bias)
        if torch.is_grad_enabled() and rows.requires_grad:
            product: Tensor = _Product.apply(rows, self)  # type: ignore[no-untyped-call]
            return product
        return self.multiply_packed(rows)

    def multiply_alone(self, rows: Tensor) -> Tensor:
        """Return x Wᵀ + b, (N, I) → (N, O), by the packed copy in any pass, for any N; differentiable in `rows`."""
        padded = pad_rows(rows) if self.is_narrow else pad_to_size(rows)
        with decode_passes():
            return self.multiply(padded)[: len(rows)]

    def multiply_packed(self, rows: Tensor) -> Tensor:
        """Return what `multiply` returns, by the packed copy and without a gradient."""
        if _version_of(self.weight) != self._version:
            self._pack()
        if self.is_narrow or rows.shape[-2] <= _SIZES[-1]:
            return _multiply(rows, self._packed, self.bias)
        return torch.cat([_multiply(part, self._packed, self.bias) for part in torch.split(rows, _SIZES[-1], -2)], -2)

    def _pack(self) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)  # noqa: SLF001 - no public name
        self._version = _version_of(self.weight)


def pack_weight(weight: Tensor, bias: Tensor | None = None) -> PackedWeight | None:
    """Return the weight, (O, I), with its packed copy.

    None unless it is a matrix on a CPU, in float32 or bfloat16, whose packed products give each row one result beside
    any other rows.
    """
    if weight.dtype not in _TOLERANCES or weight.device.type != "cpu" or weight.dim() != 2:  # noqa: PLR2004
        return None
    if not _can_pack(*weight.shape, weight.dtype):
        return None
    return PackedWeight(weight.detach(), None if bias is None else bias.detach())


def pack_linear_layers(model: nn.Module, *, has_decode_passes: bool = False) -> bool:
    """Let the linear layers of a model multiply by packed weights; return whether `decode_passes` changes its products.

    The modules keep their weights. A model that is not worth it is left as it is.

    Args:
        model: of any kind.
        has_decode_passes: whether the caller enters `decode_passes`. Without them, or if the model has matrices of
            another kind, layers in float32 stay as they are.
    """
    if not is_worth_packing(model):
        return False
    layers = _without_output_layer(model, _list_layers(model))
    wide = [layer for layer in layers if layer.weight.dtype == torch.float32]
    decodes = has_decode_passes and 0 < len(wide) == len(layers) and _are_all_products(model, layers)
    are_packed = [_pack_layer(layer) for layer in layers if decodes or layer not in wide]
    return decodes and all(are_packed)


def is_worth_packing(model: nn.Module) -> bool:
    """Return whether the linear layers of a model, the output layer included, take at most 2 GiB.

    Those in float32 must also have a megabyte each, in the median.
    """
    weights = [layer.weight for layer in _list_layers(model)]
    wide = [weight.nbytes for weight in weights if weight.dtype == torch.float32]
    is_large_enough = not wide or statistics.median(wide) >= _MIN_WIDE_BYTES
    return is_large_enough and sum(weight.nbytes for weight in weights) <= MAX_PACKED_BYTES


def _list_layers(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if type(part) is nn.Linear and part.weight.dtype in _TOLERANCES]


def _without_output_layer(model: nn.Module, layers: Iterable[nn.Linear]) -> list[nn.Linear]:
    """Return the layers but for the one that writes logits, which the runners do not call."""
    output = _call(model, "get_output_embeddings")
    return [part for part in layers if part is not output]


def _are_all_products(model: nn.Module, layers: Iterable[nn.Linear]) -> bool:
    """Whether these layers have all matrices of a model but those of its embeddings: experts, say, have others."""
    inputs, outputs = _call(model, "get_input_embeddings"), _call(model, "get_output_embeddings")
    known = {
        id(parameter) for part in (*layers, inputs, outputs) if part is not None for parameter in part.parameters()
    }
    return all(id(parameter) in known for parameter in model.parameters() if parameter.dim() > 1)


def _call(model: nn.Module, method: str) -> nn.Module | None:
    get_module = getattr(model, method, None)
    return get_module() if callable(get_module) else None


def _pack_layer(layer: nn.Linear) -> bool:
    packed = pack_weight(layer.weight, layer.bias)
    if packed is not None:
        layer.forward = packed.multiply  # type: ignore[method-assign, assignment]
    return packed is not None


@cache  # the kernel is chosen by shapes alone, and layers have few of them
@torch.no_grad()
def _can_pack(num_outputs: int, num_inputs: int, dtype: torch.dtype) -> bool:
    """Whether packed products of random rows are right, and each row's is one whatever the number of rows."""
    random = torch.Generator().manual_seed(0)
    sizes = _SIZES if dtype == torch.float32 else _SIZES[1:]  # which are multiples of four
    weight = torch.randn(num_outputs, num_inputs, generator=random).to(dtype)
    rows = torch.randn(sizes[-1], num_inputs, generator=random).to(dtype)
    try:
        candidate = PackedWeight(weight)
        together = candidate.multiply_packed(rows)
        is_right = torch.allclose(together, linear(rows, weight), rtol=0, atol=_TOLERANCES[dtype] * num_inputs**0.5)
        return is_right and all(torch.equal(candidate.multiply_packed(rows[:n]), together[:n]) for n in sizes)
    except (AttributeError, NotImplementedError, RuntimeError):  # built without oneDNN, or for another processor
        return False


def _version_of(weight: Tensor) -> int:
    """Return a number that changes when the weight does; tensors of `torch.inference_mode` have none."""
    return 0 if weight.is_inference() else weight._version  # noqa: SLF001 - no public name


def _multiply(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")  # noqa: SLF001 - no public name
    return product


class _Product(torch.autograd.Function):
    """x Wᵀ + b, with the gradient g W in x."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: PackedWeight) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.weight = weight.weight
        return weight.multiply_packed(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        return gradients[0] @ ctx.weight, None
