"""Weights in few bits, ours beside libraries': `python tests/benchmarks/few_bits.py --json FILE`.

One linear layer of 576 × 1,536 and 32 rows on one thread: relative errors of the product and of its gradient in
the input, and milliseconds of both. torchao and optimum-quanto are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langchain_sea.models.loading.quantization import QuantizedLinear

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, INS, OUTS, REPEATS = 32, 576, 1536, 50


def ours(layer: nn.Linear, bits: Any) -> nn.Module:
    """`QuantizedLinear` of this package."""
    return QuantizedLinear(layer.weight, None, bits)


def torchao(layer: nn.Linear, bits: str) -> nn.Module:
    """Weight-only."""
    library = importlib.import_module("torchao.quantization")
    whole = nn.Sequential(layer)
    how = {"int8": ("Int8WeightOnlyConfig", {}), "int4": ("Int4WeightOnlyConfig", {"group_size": 32})}
    name, options = how[bits]
    library.quantize_(whole, getattr(library, name)(**options))
    return whole


def quanto(layer: nn.Linear, bits: str) -> nn.Module:
    """Weights alone."""
    library = importlib.import_module("optimum.quanto")
    whole = nn.Sequential(layer)
    library.quantize(whole, weights=getattr(library, f"q{bits}"))
    library.freeze(whole)
    return whole


def measured(make: Callable[[nn.Linear], nn.Module], dtype: torch.dtype) -> dict[str, Any]:
    """Errors and time, or why there are none."""
    torch.manual_seed(0)
    layer = nn.Linear(INS, OUTS, bias=False).to(dtype).requires_grad_(requires_grad=False)
    weight, states = layer.weight.detach().clone(), torch.randn(ROWS, INS).to(dtype).requires_grad_()
    try:
        few = make(layer)
        out = few(states)
        (slope,) = torch.autograd.grad(out.sum(), states)
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            torch.autograd.grad(few(states).sum(), states)
            times.append(time.perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - written down as the reason
        return {"reason": f"{type(error).__name__}: {error}"[:200]}

    def error(found: Tensor, exact: Tensor) -> float:
        return ((found - exact).norm() / exact.norm()).item()

    return {
        "product": error(out, states @ weight.T),
        "gradient": error(slope, weight.sum(0).expand_as(slope)),
        "milliseconds": 1e3 * statistics.median(times),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        f"{make.__name__} {bits} {str(dtype).removeprefix('torch.')}": measured(partial(make, bits=bits), dtype)
        for make in (ours, torchao, quanto)
        for bits in ("int8", "int4")
        for dtype in (torch.float32, torch.bfloat16)
    }
    text = json.dumps(figures, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
