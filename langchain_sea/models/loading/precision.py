"""Which precision a model gets on a CPU: the shapes of its layers decide, and are measured. Reads no weights.

Shapes: O rows and I columns of a weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from langchain_sea.models.hardware import DtypeChoice, LayerShapes, measure_dtype

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["find_layer_shapes", "measure_folder", "measure_model"]


def measure_model(model: nn.Module) -> DtypeChoice:
    """Measure the faster precision for a model; without storage, on the meta device, it is enough."""
    return measure_dtype(find_layer_shapes(model))


def measure_folder(folder: Path) -> DtypeChoice:
    """Measure the faster precision for the model whose `config.json` is in a folder."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return measure_model(model)


def find_layer_shapes(model: nn.Module) -> LayerShapes:
    """Return (O, I) of the linear layers in the first decoder layer; empty if there is no list of layers."""
    layers = next((part for part in model.modules() if isinstance(part, nn.ModuleList)), None)
    if not layers:
        return ()
    return tuple(_shape(part) for part in layers[0].modules() if isinstance(part, nn.Linear | Conv1D))


def _shape(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    first, second = layer.weight.shape
    return (second, first) if isinstance(layer, Conv1D) else (first, second)
