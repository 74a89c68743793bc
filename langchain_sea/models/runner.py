"""The way in which a model's layers are run: the one that suits its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.static_forward import StaticRunner

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["make_runner"]


def make_runner(model: PreTrainedModel) -> ModelRunner:
    """Return what runs the layers of a model.

    Raises:
        ArchitectureError: the model is not a decoder that can be refined.
    """
    return StaticRunner(model) if model.device.type == "cuda" else ModelRunner(model)
