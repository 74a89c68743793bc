"""Load policies by name, each once per process. Knows no reward and no LangChain."""

from __future__ import annotations

import os
import threading
from typing import Any

import torch

from langchain_sea.models import loading, tiny
from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["TINY_NAMES", "load_model", "unload_models"]

TINY_NAMES = ("tiny", *(f"tiny/{tier}" for tier in tiny.TIERS))
_policies: dict[int, CausalLMPolicy] = {}
"""By the id of the model, which the policy keeps alive: one policy however its weights were named."""
_lock = threading.RLock()


def load_model(
    name: str | os.PathLike[str] | CausalLMPolicy,
    device: str | None = None,
    *,
    dtype: torch.dtype | str | None = None,
    **options: Any,
) -> CausalLMPolicy:
    """The policy of that name, its weights loaded once per process; `options` are those of `weights.load`."""
    if isinstance(name, CausalLMPolicy):
        return name
    precision = getattr(torch, dtype) if isinstance(dtype, str) else dtype or _precision(name, device)
    with _lock:
        loaded = loading.load(name, device=device, dtype=precision, **options)
        key = id(loaded.model)
        if key not in _policies:
            _policies[key] = CausalLMPolicy(loaded.model, loaded.tokenizer)
            _policies[key].name = loaded.name
        return _policies[key]


def _precision(name: str | os.PathLike[str], device: str | None) -> torch.dtype | None:
    """Of a policy: bfloat16 where a CPU multiplies it natively, else what `weights.load` takes by itself.

    Drafting and steps are bound by the bandwidth of the weights, which it halves; chains and scores stay
    float32 either way. The tiny models are bound by overhead, and stay exact.
    """
    if os.fspath(name) in TINY_NAMES:
        return torch.float32
    on_cpu = torch.device(device or loading.default_device()).type == "cpu"
    return torch.bfloat16 if on_cpu and _has_bfloat16() else None


def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16; False where torch cannot say."""
    asked: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(asked.get("avx512_bf16") or asked.get("amx_bf16"))


def unload_models(name: str | os.PathLike[str] | None = None) -> None:
    """Forget one model's weights, or all of them; a later call loads them again.

    Args:
        name: as passed to `load_model`; None forgets everything.
    """
    with _lock:
        _policies.clear()
        loading.unload(name)
