"""Names → policies, rewards and gates, each made once per process. The last layer below LangChain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea import tiny, weights
from langchain_sea.energy import Energy, Term
from langchain_sea.policy import CausalLMPolicy
from langchain_sea.protocols import Policy, Reward
from langchain_sea.rewards import (
    Consensus,
    FunctionReward,
    ImplicitReward,
    TrunkReward,
)
from langchain_sea.rewards.agreement import Agreement
from langchain_sea.rewards.gate import PairGate
from langchain_sea.rewards.judges import judge_named
from langchain_sea.rewards.stance import safety_head
from langchain_sea.rewards.trunk import TrunkHead

if TYPE_CHECKING:
    from langchain_sea.presets import Preset

__all__ = ["describe", "energy_for", "gate_for", "policy_for", "terms_for", "unload"]

RewardLike = str | os.PathLike[str] | Term | Reward | Consensus | Callable[..., Any]
_TINY = ("tiny", *(f"tiny/{tier}" for tier in tiny.TIERS))
_DEFAULTS: dict[str, tuple[str, ...]] = {"smollm2-135m": ("safety",), **dict.fromkeys(_TINY, ("tiny",))}
_policies: dict[int, CausalLMPolicy] = {}
"""By the id of the model, which the policy keeps alive: however the weights were asked for, one policy."""
_rewards: dict[tuple[str, int], Reward] = {}
_lock = threading.RLock()


def policy_for(
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
        loaded = weights.load(name, device=device, dtype=precision, **options)
        key = id(loaded.model)
        if key not in _policies:
            _policies[key] = CausalLMPolicy(loaded.model, loaded.tokenizer)
        return _policies[key]


def _precision(name: str | os.PathLike[str], device: str | None) -> torch.dtype | None:
    """Of a policy: bfloat16 where a CPU multiplies it natively, else what `weights.load` takes by itself.

    Drafting and steps are bound by the bandwidth of the weights, which it halves; chains and scores stay
    float32 either way. The tiny models are bound by overhead, and stay exact.
    """
    if os.fspath(name) in _TINY:
        return torch.float32
    on_cpu = torch.device(device or weights.default_device()).type == "cpu"
    return torch.bfloat16 if on_cpu and _has_bfloat16() else None


def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16; False where torch cannot say."""
    asked: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(asked.get("avx512_bf16") or asked.get("amx_bf16"))


def terms_for(
    rewards: Sequence[RewardLike] | None, policy_name: str, policy: CausalLMPolicy, *, retries: int = 0
) -> tuple[Term, ...]:
    """Rewards as terms of the energy, each name once.

    Args:
        rewards: names (`safety`, `tiny`, a head's .safetensors, a model's name, folder or hub id), callables,
            rewards or terms; None takes the policy's own default.
        policy_name: what the default is looked up by.
        policy: what steering rewards must fit.
        retries: of a callable that lost its connection.

    Raises:
        ValueError: there is no default for this policy.
    """
    if rewards is None:
        if policy_name not in _DEFAULTS:
            raise ValueError(
                f"no reward ships for the policy {policy_name!r}: pass rewards=[...], a model's name, a "
                "callable (prompt, completions) -> scores, or a head made by `langchain-sea fit-reward`."
            )
        rewards = _DEFAULTS[policy_name]
    found: list[Term] = []
    for reward in rewards:
        term = _term(reward, policy, retries)
        taken = sum(other.name.split("#")[0] == term.name for other in found)
        found.append(replace(term, name=f"{term.name}#{taken + 1}") if taken else term)
    return tuple(found)


def _term(reward: RewardLike, policy: CausalLMPolicy, retries: int) -> Term:
    if isinstance(reward, Term):
        return reward
    if isinstance(reward, Consensus):
        return Term(reward=Agreement(reward), name="consensus")
    if isinstance(reward, (str, os.PathLike)):
        name = os.fspath(reward)
        return _named(Path(name).stem if name.endswith(".safetensors") else name, _load(name, policy))
    if callable(getattr(reward, "score", None)):
        return _named(type(reward).__name__, reward)  # type: ignore[arg-type]
    if callable(reward):
        name = getattr(reward, "__name__", type(reward).__name__)
        return Term(reward=FunctionReward(reward, retries=retries), name=name)
    raise TypeError(f"{reward!r} is no reward: pass a name, a callable, a Term, or one with `score`.")


def _named(name: str, reward: Reward) -> Term:
    if isinstance(reward, TrunkReward):
        info = reward.head.info
        return Term(reward=reward, name=name, center=info.center, scale=info.scale)
    return Term(reward=reward, name=name)


def _load(name: str, policy: CausalLMPolicy) -> Reward:
    with _lock:
        key = (name, id(policy))
        if key not in _rewards:
            _rewards[key] = _read(name, policy)
        return _rewards[key]


def _read(name: str, policy: CausalLMPolicy) -> Reward:
    if name == "safety":
        return safety_head()
    if name == "tiny":
        return ImplicitReward(policy_for("tiny/expert"), policy_for("tiny/early_03"))
    if name.endswith(".safetensors"):
        return TrunkReward(TrunkHead.load(name))
    return judge_named(name, policy.tokenizer, str(policy.device))


def gate_for(gate: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The gate of that name, or the callable given.

    Args:
        gate: `safety`, a guard's or safety classifier's name, folder or hub id, or a callable.

    Raises:
        ValueError: it judges no safety.
    """
    if gate == "safety":
        return _safety_gate()
    if gate is None or callable(gate):
        return gate
    found = _gate(gate)
    if callable(found):
        return found
    raise ValueError(
        f"no gate {gate!r}: its labels speak of no harm; use 'safety', a guard, or a callable "
        "(prompt, completions) -> scores."
    )


@cache
def _gate(name: str) -> object:
    return judge_named(name, None)


@cache
def _safety_gate() -> PairGate:
    """Made once: its first call copies an encoder and merges the deltas into it."""
    return PairGate.load()


def unload(name: str | os.PathLike[str] | None = None) -> None:
    """Forget one model's weights, or all, so that memory can go; a later call loads them again.

    Args:
        name: as it was asked for; None forgets everything.
    """
    with _lock:
        _policies.clear()
        _rewards.clear()
        _safety_gate.cache_clear()
        _gate.cache_clear()
        weights.unload(name)


def energy_for(policy: Policy, terms: tuple[Term, ...], preset: Preset) -> Energy:
    """The energy as the preset reads it."""
    return Energy(
        policy=policy,
        terms=terms,
        policy_weight=preset.policy_weight,
        policy_gradient=preset.policy_gradient,
        policy_relaxation=preset.policy_relaxation,
        reward_relaxation=preset.reward_relaxation,
        max_nll_rise=preset.max_nll_rise,
    )


def describe(reward: object) -> str:
    """A reward or gate in words that differ where it differs: for cache keys and reports."""
    if isinstance(reward, (str, os.PathLike)):
        return os.fspath(reward)
    if isinstance(reward, Term):
        parts = ", ".join(f"{each.name}={getattr(reward, each.name)!r}" for each in fields(reward)[1:])
        return f"Term({parts}, {describe(reward.reward)})"
    function = getattr(reward, "function", reward)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    where = getattr(function, "__module__", type(function).__module__)
    # a closure, a lambda or an object may hold anything: its identity is all that tells it apart
    plain = callable(function) and "<" not in name and hasattr(function, "__code__")
    return f"{where}.{name}" if plain else f"{where}.{name}@{id(reward):x}"
