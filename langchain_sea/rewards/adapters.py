"""A policy with a LoRA adapter, around the very tensors of the one without. Needs the extra `adapters`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.errors import ExtraMissingError, WeightsNotFoundError
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.log_ratio import LogRatioReward

if TYPE_CHECKING:
    import os

__all__ = ["adapted", "adapter_reward"]


def adapted(policy: CausalLMPolicy, adapter: str | os.PathLike[str]) -> CausalLMPolicy:
    """The policy with the adapter; both share every weight but the adapter's own, and neither sees the other.

    Args:
        policy: the base, left as it is.
        adapter: a folder or a hub id, as `PeftModel.save_pretrained` writes it.

    Raises:
        ExtraMissingError: peft is not installed.
        WeightsNotFoundError: there is no adapter, or it does not fit the base.
    """
    try:
        from peft import PeftModel  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError('adapters are read by peft: pip install "langchain-sea[adapters]"') from error
    shared = {id(tensor): tensor for tensor in (*policy.model.parameters(), *policy.model.buffers())}
    base = copy.deepcopy(policy.model, dict(shared))
    try:
        wrapped: Any = PeftModel.from_pretrained(base, adapter)
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsNotFoundError(
            f"no adapter for {policy.model.name_or_path!r} can be read from {adapter} ({error}); pass a "
            "folder that PeftModel.save_pretrained wrote for this base."
        ) from error
    model = wrapped.get_base_model().eval().requires_grad_(False)
    return CausalLMPolicy(model, policy.tokenizer)


def adapter_reward(
    policy: CausalLMPolicy,
    adapter: str | os.PathLike[str],
    *,
    reduction: Literal["sum", "mean"] = "sum",
    scale: float = 1.0,
) -> LogRatioReward:
    """How much likelier the adapter makes an answer: log π₊ − log π₋ with one set of weights in memory.

    Arguments and errors are those of `adapted` and `LogRatioReward`.
    """
    return LogRatioReward(adapted(policy, adapter), policy, reduction=reduction, scale=scale)
