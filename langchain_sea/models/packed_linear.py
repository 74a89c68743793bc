"""Linear layers whose weights are stored in the order in which a CPU's kernel reads them.

Few rows take as long as the weights need to be read, and a product reorders them in every call unless they are packed
before. A packed product equals the plain one up to rounding, and the result of a row does not depend on the rows
beside it; else it is not used.

Shapes: N rows; O rows and I columns of a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_PACKED_BYTES", "ROW_MULTIPLE", "PackedWeight", "is_small", "pack_linear_layers", "pack_weight"]

ROW_MULTIPLE = 4
"""Plain products get a multiple of this many rows: MKL sums the rows of the remainder in another order."""
_ROWS = 16  # for which oneDNN chooses the order; any number of rows can be multiplied
_CHECKED_MULTIPLES = (1, 2, 3, 4, 5, 7, 12, 16)
_CHECKED_COPIES = 3  # of the largest multiple, in the product that the others are compared with
MAX_PACKED_BYTES = 2**31
"""Of the linear layers of a model that is packed: the copy takes as much memory again."""
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # of the types that are packed, for numbers around √I


@dataclass(slots=True, eq=False)
class PackedWeight:
    """A weight and its packed copy, which is made again if the weight has changed.

    Attributes:
        weight: (O, I), frozen.
        bias: (O,) or None.
        row_multiple: a product of a multiple of this many rows gives each row what it gets in any other.
    """

    weight: Tensor
    bias: Tensor | None = None
    row_multiple: int = ROW_MULTIPLE
    _packed: Tensor = field(init=False)
    _version: int = field(init=False)  # of the weight that was packed

    def __post_init__(self) -> None:
        self._pack()

    def multiply(self, rows: Tensor) -> Tensor:
        """Return x Wᵀ + b, (…, I) → (…, O); differentiable in `rows`."""
        if _version_of(self.weight) != self._version:
            self._pack()
        if torch.is_grad_enabled() and rows.requires_grad:
            product: Tensor = _Product.apply(rows, self)  # type: ignore[no-untyped-call]
            return product
        return self.multiply_detached(rows)

    def multiply_detached(self, rows: Tensor) -> Tensor:
        """Return what `multiply` returns, without a gradient."""
        return _multiply(rows, self._packed, self.bias)

    def _pack(self) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)  # noqa: SLF001 - no public name
        self._version = _version_of(self.weight)


def pack_weight(weight: Tensor, bias: Tensor | None = None) -> PackedWeight | None:
    """Return the weight, (O, I), with its packed copy.

    None unless it is a matrix on a CPU, in float32 or bfloat16, whose packed products give each row the same result
    beside any other rows.
    """
    if weight.dtype not in _TOLERANCES or weight.device.type != "cpu" or weight.dim() != 2:  # noqa: PLR2004
        return None
    row_multiple = _find_row_multiple(*weight.shape, weight.dtype)
    if row_multiple is None:
        return None
    return PackedWeight(weight.detach(), None if bias is None else bias.detach(), row_multiple)


def pack_linear_layers(model: nn.Module) -> int:
    """Let the linear layers of a model multiply by packed weights; return the multiple of rows that its products need.

    The modules keep their weights. A model whose layers have more than 2 GiB of weights is left as it is.
    """
    if not is_small(model):
        return ROW_MULTIPLE
    layers = _without_output_layer(model, _list_layers(model))
    multiples = [_pack_layer(layer) for layer in layers]
    return max(multiples, default=ROW_MULTIPLE) if _are_all_products(model, layers) else ROW_MULTIPLE


def is_small(model: nn.Module) -> bool:
    """Return whether the linear layers of a model, the output layer included, take at most 2 GiB."""
    return sum(part.weight.nbytes for part in _list_layers(model)) <= MAX_PACKED_BYTES


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


def _pack_layer(layer: nn.Linear) -> int:
    packed = pack_weight(layer.weight, layer.bias)
    if packed is None:
        return ROW_MULTIPLE
    layer.forward = packed.multiply  # type: ignore[method-assign, assignment]
    return packed.row_multiple


@cache  # the kernel is chosen by shapes alone, and layers have few of them
@torch.no_grad()
def _find_row_multiple(num_outputs: int, num_inputs: int, dtype: torch.dtype) -> int | None:
    """Return the least multiple of rows whose results do not depend on their number; None if packing is of no use."""
    random = torch.Generator().manual_seed(0)
    num_rows = _CHECKED_COPIES * ROW_MULTIPLE * max(_CHECKED_MULTIPLES)
    weight = torch.randn(num_outputs, num_inputs, generator=random).to(dtype)
    rows = torch.randn(num_rows, num_inputs, generator=random).to(dtype)
    try:
        candidate = PackedWeight(weight)
        together = candidate.multiply(rows)
        tolerance = _TOLERANCES[dtype] * num_inputs**0.5
        if not torch.allclose(together, linear(rows, weight), rtol=0, atol=tolerance):
            return None
        for multiple in (1, ROW_MULTIPLE):
            counts = [multiple * number for number in _CHECKED_MULTIPLES]
            if all(torch.equal(candidate.multiply(rows[:count]), together[:count]) for count in counts):
                return multiple
    except (AttributeError, NotImplementedError, RuntimeError):  # built without oneDNN, or for another processor
        pass
    return None


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
        return weight.multiply_detached(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        return gradients[0] @ ctx.weight, None
