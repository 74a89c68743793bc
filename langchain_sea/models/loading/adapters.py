"""Reads PEFT's adapters: what one says of its base, and whether it fits it. Needs the extra `adapters`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import safe_open

from langchain_sea.errors import WeightsCorruptError

if TYPE_CHECKING:
    import os

    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["find_base", "find_shapes", "load_fitting"]

_SHOWN_KEYS = 3
_HEADS = ("score", "classifier", "classifier.out_proj", "out_proj")
_COPIES = (".modules_to_save.weight", ".original_module.weight")  # of layers that PEFT also saves by their own names
_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")


class AdapterShapes(NamedTuple):
    """What an adapter brings of its own.

    Attributes:
        num_labels: of its classifier's head; None: it has none.
        num_tokens: of its embeddings; None: it has none.
        has_head: whether the base may lack the head.
    """

    num_labels: int | None
    num_tokens: int | None
    has_head: bool


def find_base(folder: Path) -> str:
    """Return the base model that an adapter's configuration names.

    Raises:
        WeightsCorruptError: it names none, or a folder that is not there.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = config.get("base_model_name_or_path")
    if not base:
        raise WeightsCorruptError(
            f"{folder} names no base model: write it into adapter_config.json as base_model_name_or_path"
        )
    is_relative = str(base).startswith(".")
    if is_relative and not Path(base).exists() and (folder / base).is_dir():
        return str((folder / base).resolve())
    if (is_relative or Path(base).is_absolute()) and not Path(base).exists():
        raise WeightsCorruptError(
            f"{folder} names the base model {base!r}, and there is no such folder: correct base_model_name_or_path in "
            "adapter_config.json"
        )
    return str(base)


def find_shapes(folder: Path) -> AdapterShapes:
    """Read which parts of the base an adapter brings whole; a pickled one may bring any head."""
    labels = tokens = None
    paths = list(folder.glob("*.safetensors"))
    has_head = not paths
    for path in paths:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - it is no dict
                name = key.removesuffix(".weight").removesuffix(".base_layer")
                if not key.endswith(".weight") or "lora_" in key:
                    continue
                rows = int(file.get_slice(key).get_shape()[0])
                labels = rows if name.endswith(_HEADS) else labels
                tokens = rows if name.endswith(_EMBEDDINGS) else tokens
                has_head = has_head or name.endswith((*_HEADS, "lm_head"))
    return AdapterShapes(labels, tokens, has_head)


def load_fitting(model: PreTrainedModel, adapter: str | os.PathLike[str]) -> PeftModel:
    """Return the model with an adapter, all of whose weights have a place in it.

    Raises:
        WeightsCorruptError: some have none, or some are missing; PEFT would leave the base as it is, with a warning.
    """
    from peft import PeftModel  # noqa: PLC0415 - an extra

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # it is an error below
        wrapped: Any = PeftModel.from_pretrained(model, adapter)
    report = wrapped.load_adapter(adapter, "default")  # again: the first time PEFT keeps the report to itself
    missing = sorted(report.missing_keys)
    unexpected = sorted(key for key in report.unexpected_keys if not key.endswith(_COPIES))
    if missing or unexpected:
        faults = [
            f"{len(keys)} {what}, such as {', '.join(keys[:_SHOWN_KEYS])}"
            for keys, what in ((missing, "weights are missing"), (unexpected, "weights have no place in it"))
            if keys
        ]
        raise WeightsCorruptError(
            f"the adapter {adapter} does not fit {model.name_or_path or type(model).__name__!r}: "
            f"{'; '.join(faults)}. Save it again from the model without wrappers, or name its "
            "own base"
        )
    fitted: PeftModel = wrapped
    return fitted
