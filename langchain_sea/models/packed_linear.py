"""Linear layers whose weights are stored in the order in which a CPU's kernel reads them.

Few rows take as long as the weights need to be read, and oneDNN reorders them in every call unless they are packed
before. The packed copy gives bit for bit what the layer gives, or is not used.

Shapes: N rows; O rows and I columns of a weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_PACKED_BYTES", "PackedWeight", "is_small", "pack_linear_layers", "pack_weight"]

_ROWS = 16  # for which oneDNN chooses the order; any number of rows can be multiplied
_CHECKED_ROWS = (4, 16, 64)
MAX_PACKED_BYTES = 2**31
"""Of the linear layers of a model that is packed: the copy takes as much memory again."""
_TYPE = torch.bfloat16  # MKL multiplies float32, and packed float32 is rounded in another order


@dataclass(frozen=True, slots=True, eq=False)
class PackedWeight:
    """A weight and its packed copy.

    Attributes:
        weight: (O, I), frozen.
        packed: the copy, which only oneDNN can read.
        bias: (O,) or None.
    """

    weight: Tensor
    packed: Tensor
    bias: Tensor | None = None

    def multiply(self, rows: Tensor) -> Tensor:
        """Return x Wᵀ + b, (…, I) → (…, O); differentiable in `rows`."""
        if torch.is_grad_enabled() and rows.requires_grad:
            product: Tensor = _Product.apply(rows, self)  # type: ignore[no-untyped-call]
            return product
        return _multiply(rows, self)


def pack_weight(weight: Tensor, bias: Tensor | None = None) -> PackedWeight | None:
    """Return the weight, (O, I), with its packed copy.

    None unless it is a bfloat16 matrix on a CPU whose packed products equal the plain ones.
    """
    if weight.dtype != _TYPE or weight.device.type != "cpu" or weight.dim() != 2:  # noqa: PLR2004
        return None
    frozen = None if bias is None else bias.detach()
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)  # noqa: SLF001 - no public name
        candidate = PackedWeight(weight.detach(), packed, frozen)
        return candidate if _is_equal(candidate) else None
    except (AttributeError, NotImplementedError, RuntimeError):  # built without oneDNN, or for another processor
        return None


def pack_linear_layers(model: nn.Module) -> int:
    """Let the linear layers of a model multiply by packed weights where that changes no result; return how many do.

    The modules keep their weights. A model whose layers have more than 2 GiB of weights is left as it is.
    """
    return sum(map(_pack_layer, _without_output_layer(model, _list_layers(model)))) if is_small(model) else 0


def is_small(model: nn.Module) -> bool:
    """Return whether the linear layers of a model, the output layer included, take at most 2 GiB."""
    return sum(part.weight.nbytes for part in _list_layers(model)) <= MAX_PACKED_BYTES


def _list_layers(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if type(part) is nn.Linear and part.weight.dtype == _TYPE]


def _without_output_layer(model: nn.Module, layers: Iterable[nn.Linear]) -> list[nn.Linear]:
    """Return the layers but for the one that writes logits, which the runners do not call."""
    get_output = getattr(model, "get_output_embeddings", None)
    output = get_output() if callable(get_output) else None
    return [part for part in layers if part is not output]


def _pack_layer(layer: nn.Linear) -> bool:
    packed = pack_weight(layer.weight, layer.bias)
    if packed is not None:
        layer.forward = packed.multiply  # type: ignore[method-assign, assignment]
    return packed is not None


@torch.no_grad()
def _is_equal(candidate: PackedWeight) -> bool:
    """Whether packed and plain products of random rows are equal bit for bit."""
    random = torch.Generator().manual_seed(0)
    columns = candidate.weight.shape[1]
    samples = (torch.randn(count, columns, generator=random).to(_TYPE) for count in _CHECKED_ROWS)
    return all(
        torch.equal(_multiply(rows, candidate), linear(rows, candidate.weight, candidate.bias)) for rows in samples
    )


def _multiply(rows: Tensor, weight: PackedWeight) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - no public name
        rows, weight.packed, weight.bias, "none", [], ""
    )
    return product


class _Product(torch.autograd.Function):
    """x Wᵀ + b, with the gradient g W in x."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: PackedWeight) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.weight = weight.weight
        return _multiply(rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        return gradients[0] @ ctx.weight, None
