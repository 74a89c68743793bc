"""A policy with a LoRA adapter on shared weights, and the reward of both. Needs the extra `adapters`."""

from __future__ import annotations

import copy
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.errors import ExtraMissingError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.loading.adapters import load_fitting
from langchain_sea.rewards.log_ratio import LogRatioReward

if TYPE_CHECKING:
    import os

__all__ = ["adapter_reward", "load_adapter"]


def load_adapter(policy: CausalLMPolicy, adapter: str | os.PathLike[str]) -> CausalLMPolicy:
    """Return the policy with an adapter. Both share all weights but the adapter's, and the base stays as it is.

    Args:
        policy: the base.
        adapter: a folder that `PeftModel.save_pretrained` wrote, or a hub id.

    Raises:
        ExtraMissingError: peft is not installed.
        WeightsNotFoundError: there is no adapter, or its weights have other shapes than the base.
        WeightsCorruptError: weights of the adapter have no place in the base, or are missing.
    """
    if not find_spec("peft"):
        raise ExtraMissingError('adapters are read by peft: pip install "langchain-sea[adapters]"')
    shared = {id(tensor): tensor for tensor in (*policy.model.parameters(), *policy.model.buffers())}
    base = copy.deepcopy(policy.model, dict(shared))
    try:
        wrapped: Any = load_fitting(base, adapter)
    except WeightsCorruptError:
        raise
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
    max_early_surprise: float = math.inf,
) -> LogRatioReward:
    """Return the reward log π₊ − log π₋ of a policy with and without an adapter, with one set of weights in memory.

    Args:
        policy: the base, π₋.
        adapter: as in `load_adapter`, π₊.
        reduction: as in `LogRatioReward`.
        scale: as in `LogRatioReward`.
        max_early_surprise: as in `LogRatioReward`.

    Raises:
        ExtraMissingError: peft is not installed.
        WeightsNotFoundError: there is no adapter, or it does not fit the base.
    """
    return LogRatioReward(
        load_adapter(policy, adapter), policy, reduction=reduction, scale=scale, max_early_surprise=max_early_surprise
    )
