"""Names → policies, rewards and gates, each made once per process. The last layer below LangChain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from langchain_sea.core.energy import Energy, RewardTerm
from langchain_sea.core.protocols import Reward
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.registry import TINY_NAMES, load_model, unload_models
from langchain_sea.presets import Preset, find_preset
from langchain_sea.rewards import (
    Consensus,
    FunctionReward,
    HiddenStateReward,
    LogRatioReward,
)
from langchain_sea.rewards.agreement import Agreement
from langchain_sea.rewards.auto import judge_named
from langchain_sea.rewards.hidden_state_head import HiddenStateHead
from langchain_sea.rewards.pair_classifier import PairClassifierGate
from langchain_sea.rewards.refusal_head import safety_head

__all__ = ["describe_reward", "load_gate", "make_energy", "make_terms", "unload"]

RewardLike = str | os.PathLike[str] | RewardTerm | Reward | Consensus | Callable[..., Any]
_DEFAULTS: dict[str, tuple[str, ...]] = {"smollm2-135m": ("safety",), **dict.fromkeys(TINY_NAMES, ("tiny",))}
_rewards: dict[tuple[str, int], Reward] = {}
_lock = threading.RLock()


def make_terms(
    rewards: Sequence[RewardLike] | None, policy_name: str, policy: CausalLMPolicy, *, retries: int = 0
) -> tuple[RewardTerm, ...]:
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
    found: list[RewardTerm] = []
    for reward in rewards:
        term = _term(reward, policy, retries)
        taken = sum(other.name.split("#")[0] == term.name for other in found)
        found.append(replace(term, name=f"{term.name}#{taken + 1}") if taken else term)
    return tuple(found)


def _term(reward: RewardLike, policy: CausalLMPolicy, retries: int) -> RewardTerm:
    if isinstance(reward, RewardTerm):
        return reward
    if isinstance(reward, Consensus):
        return RewardTerm(reward=Agreement(reward), name="consensus")
    if isinstance(reward, (str, os.PathLike)):
        name = os.fspath(reward)
        return _named(Path(name).stem if name.endswith(".safetensors") else name, _load(name, policy))
    if callable(getattr(reward, "score", None)):
        return _named(type(reward).__name__, reward)  # type: ignore[arg-type]
    if callable(reward):
        name = getattr(reward, "__name__", type(reward).__name__)
        return RewardTerm(reward=FunctionReward(reward, retries=retries), name=name)
    raise TypeError(f"{reward!r} is no reward: pass a name, a callable, a Term, or one with `score`.")


def _named(name: str, reward: Reward) -> RewardTerm:
    if isinstance(reward, HiddenStateReward):
        info = reward.head.info
        return RewardTerm(reward=reward, name=name, center=info.center, scale=info.scale)
    return RewardTerm(reward=reward, name=name)


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
        return LogRatioReward(load_model("tiny/expert"), load_model("tiny/early_03"))
    if name.endswith(".safetensors"):
        return HiddenStateReward(HiddenStateHead.load(name))
    return judge_named(name, policy.tokenizer, str(policy.device))


def load_gate(gate: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
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
def _safety_gate() -> PairClassifierGate:
    """Made once: its first call copies an encoder and merges the deltas into it."""
    return PairClassifierGate.load()


def unload(name: str | os.PathLike[str] | None = None) -> None:
    """Forget one model's weights, or all, so that memory can go; a later call loads them again.

    Args:
        name: as it was asked for; None forgets everything.
    """
    with _lock:
        _rewards.clear()
        _safety_gate.cache_clear()
        _gate.cache_clear()
        unload_models(name)


def make_energy(
    model: CausalLMPolicy,
    rewards: Sequence[RewardLike] | None = None,
    *,
    preset: str | Preset = "default",
    model_name: str = "",
    retries: int = 0,
) -> Energy:
    """Combine a policy and rewards into the energy that a preset minimises.

    Args:
        model: the policy, from `load_model`.
        rewards: as `SEAChatModel(rewards=...)` takes them; None takes those that ship for `model_name`.
        preset: its weights and relaxations are used.
        model_name: the name whose default rewards apply where `rewards` is None.
        retries: of a callable reward that lost its connection.

    Raises:
        ValueError: `rewards` is None and none ship for this name.
    """
    preset = find_preset(preset)
    return Energy(
        policy=model,
        terms=make_terms(rewards, model_name, model, retries=retries),
        policy_weight=preset.policy_weight,
        policy_gradient=preset.policy_gradient,
        policy_relaxation=preset.policy_relaxation,
        reward_relaxation=preset.reward_relaxation,
        max_nll_rise=preset.max_nll_rise,
    )


def describe_reward(reward: object) -> str:
    """A reward or gate in words that differ where it differs: for cache keys and reports."""
    if isinstance(reward, (str, os.PathLike)):
        return os.fspath(reward)
    if isinstance(reward, RewardTerm):
        parts = ", ".join(f"{each.name}={getattr(reward, each.name)!r}" for each in fields(reward)[1:])
        return f"Term({parts}, {describe_reward(reward.reward)})"
    function = getattr(reward, "function", reward)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    where = getattr(function, "__module__", type(function).__module__)
    # a closure, a lambda or an object may hold anything: its identity is all that tells it apart
    plain = callable(function) and "<" not in name and hasattr(function, "__code__")
    return f"{where}.{name}" if plain else f"{where}.{name}@{id(reward):x}"
