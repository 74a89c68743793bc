"""Loads language models by name, each once per process. Knows no rewards and no LangChain."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Literal

import torch

from langchain_sea.core.suggestions import require_name
from langchain_sea.models import loading, tiny
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.template_source import read_chat_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers.utils.quantization_config import QuantizationConfigMixin

    from langchain_sea.models.loading import Bits

__all__ = ["TINY_NAMES", "load_model", "unload_models"]

TINY_NAMES = ("tiny", *(f"tiny/{tier}" for tier in tiny.TIERS))
_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}
_policies: dict[tuple[int, bool, str | None], CausalLMPolicy] = {}
"""By the id of the model, which the policy keeps alive, whether layers are compiled, and the template that was passed:
one policy per model, whatever name loaded it."""
_lock = threading.RLock()


def load_model(
    name: str | os.PathLike[str] | CausalLMPolicy,
    device: str | None = None,
    *,
    dtype: torch.dtype | str | None = None,
    quantization: Bits | QuantizationConfigMixin | dict[str, Any] | None = None,
    device_map: str | dict[str, Any] | None = None,
    compile_layers: bool = False,
    chat_template: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    report: Callable[[str], None] | None = None,
) -> CausalLMPolicy:
    """Load a language model that writes answers, once per process for each device and precision.

    Args:
        name: `smollm2-135m`, `tiny`, a folder, a `.gguf` file or a hub id; a policy is returned unchanged.
        device: `cuda` if there is one, else `cpu`.
        dtype: of the weights, e.g. `torch.bfloat16` or `"bfloat16"`. None takes bfloat16 on cuda. On a CPU it takes
            bfloat16 if that is clearly faster there, else float32: products of the model's shapes are measured for
            about 0.1 s, once per process. A seed gives the same answer only in the same precision, so pass it where
            machines must agree. The tiny models have float32 by default on every device.
        quantization: `int8`, `int4`, or the `quantization_config` of transformers' `from_pretrained`.
        device_map: how transformers spreads the layers over devices, in place of `device`; needs accelerate.
        compile_layers: compile the decoder's layers for a GPU. The first answers then take up to a minute longer, and
            later ones, and those of later processes on this machine, less. It changes nothing on a CPU.
        chat_template: Jinja text or the path of a file, in place of the tokenizer's own template.
        trust_remote_code: run Python code that comes with the weights.
        allow_pickle: read `*.bin` if there are no safetensors.
        report: called with one line before each slow step.

    Raises:
        WeightsNotFoundError: there is nothing under that name; the message says what to run.
        WeightsCorruptError: the weights cannot, or must not, be used.
        ExtraMissingError: accelerate or a quantization library is missing.
        ArchitectureError: the model has no linear layers that could be quantized.
        ChatTemplateError: `chat_template` cannot be read.
        TypeError: `name` is none of these.
        ValueError: both `device` and `device_map`, a device that is not there, or an unknown `dtype` or
            `quantization`.

    Examples:
        >>> from langchain_sea import load_model
        >>> policy = load_model("tiny")
        >>> policy.decode(policy.encode("two plus two"))
        'two plus two'
    """
    if isinstance(name, CausalLMPolicy):
        return name
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(
            f"load_model takes a model's name, folder, file or hub id, and got {name!r:.200}; for example "
            'load_model("smollm2-135m").'
        )
    source = None if chat_template is None else read_chat_template(chat_template)
    with _lock:
        loaded = loading.load(
            name,
            device=device,
            dtype=_resolve_dtype(dtype) or _default_dtype(name),
            quantization=quantization,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            report=report,
        )
        key = (id(loaded.model), compile_layers, source)
        if key not in _policies:
            _policies[key] = CausalLMPolicy(
                loaded.model, loaded.tokenizer, chat_template=source, compile_layers=compile_layers
            )
            _policies[key].name = loaded.name
        return _policies[key]


def _resolve_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if not isinstance(dtype, str):
        return dtype
    require_name(dtype, _DTYPES, "dtype", otherwise="one of torch")
    return _DTYPES[dtype]


def _default_dtype(name: str | os.PathLike[str]) -> torch.dtype | Literal["measured"]:
    """Return what `loading.load` takes if the caller names no precision.

    Generation and steps are limited by the memory bandwidth of the weights, which bfloat16 halves; chains and
    scores are float32 either way. The tiny models are limited by overhead, and stay exact on every device.
    """
    return torch.float32 if os.fspath(name) in TINY_NAMES else "measured"


def unload_models(name: str | os.PathLike[str] | None = None) -> None:
    """Forget one model's weights, or all of them; a later call loads them again.

    Args:
        name: as passed to `load_model`; None forgets everything.
    """
    with _lock:
        _policies.clear()
        loading.unload(name)
