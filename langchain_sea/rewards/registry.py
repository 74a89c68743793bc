"""Make rewards, gates and energies from what users pass: names, paths, functions and objects.

A model that is loaded by its name is loaded once per process.
"""

from __future__ import annotations

import os
import threading
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_sea.core.code_hash import hash_code
from langchain_sea.core.energy import Energy
from langchain_sea.core.functions import to_list
from langchain_sea.core.known_names import DEFAULT_REWARDS, GATE_NAMES, REWARD_NAMES, refuse_misspelt
from langchain_sea.core.protocols import Reward
from langchain_sea.core.terms import RewardTerm
from langchain_sea.models.registry import load_model, unload_models
from langchain_sea.presets import Preset, find_preset
from langchain_sea.rewards.auto import load_judge
from langchain_sea.rewards.consensus import Consensus
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.hidden_state_head import HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.log_ratio import LogRatioReward
from langchain_sea.rewards.pair_classifier import PairClassifierGate
from langchain_sea.rewards.refusal_head import load_safety_reward

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.inputs import GateLike, RewardLike
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["describe_reward", "load_gate", "make_energy", "make_terms", "unload"]

# A smaller rise is the reward's own noise: at 2.5, eight of ten candidates are better than the draft
# (`python tests/benchmarks/min_gain.py --prompts 14 --seed 0`).
_MIN_GAINS = {"safety": 2.5}
_rewards: WeakKeyDictionary[CausalLMPolicy, dict[str, Reward]] = WeakKeyDictionary()
"""Loaded rewards by policy and name. An id would not do: that of a dropped policy is given to a later one."""
_lock = threading.RLock()


def make_energy(
    model: CausalLMPolicy,
    rewards: RewardLike | Sequence[RewardLike] | None = None,
    *,
    preset: str | Preset = "default",
    retries: int = 0,
) -> Energy:
    """Combine a policy and rewards into the energy that the search minimises.

    Args:
        model: the policy, from `load_model`.
        rewards: as in `make_terms`; None means the reward that ships for this policy.
        preset: a name or a `Preset`; its weights and relaxations are used.
        retries: how often a function that fails with an `OSError` is called again.

    Raises:
        TypeError: `model` is no policy, or a reward is none.
        ValueError: `rewards` is None and none ships for this policy, or there is no such preset.

    Examples:
        >>> from langchain_sea import load_model
        >>> [term.name for term in make_energy(load_model("tiny")).terms]
        ['tiny']
    """
    if isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"make_energy takes a loaded model, and got {os.fspath(model)!r}; for example "
            'make_energy(load_model("smollm2-135m")).'
        )
    preset = find_preset(preset)
    return Energy(
        policy=model,
        terms=make_terms(rewards, model, retries=retries),
        policy_weight=preset.policy_weight,
        policy_gradient=preset.policy_gradient,
        policy_relaxation=preset.policy_relaxation,
        reward_relaxation=preset.reward_relaxation,
        max_nll_rise=preset.max_nll_rise,
        limits=preset.limits,
    )


def make_terms(
    rewards: RewardLike | Sequence[RewardLike] | None, policy: CausalLMPolicy, *, retries: int = 0
) -> tuple[RewardTerm, ...]:
    """Turn rewards into terms of the energy with distinct names.

    Args:
        rewards: one or several. Each is `"safety"`, `"tiny"`, the path of a head (.safetensors), the name, folder or
            hub id of a model, a function `(prompt, completions) -> scores` (a `Rule` is one), a reward, or a term of
            any of these. None means the reward that ships for this policy.
        policy: the one that writes the answers; a reward that steers must fit it.
        retries: how often a function that fails with an `OSError` is called again.

    Raises:
        TypeError: one of them is none of these.
        ValueError: `rewards` is None and none ships for this policy, or a name is misspelt.
    """
    if rewards is None:
        name = policy.name or policy.model.name_or_path
        if name not in DEFAULT_REWARDS:
            raise ValueError(
                f"no reward ships for the model {name!r}: pass rewards=[...] "
                "with a model's name, a function (prompt, completions) -> scores, or a head that "
                "`langchain-sea fit-reward` wrote."
            )
        rewards = DEFAULT_REWARDS[name]
    terms: list[RewardTerm] = []
    each_reward: list[RewardLike] = to_list(rewards)
    for reward in each_reward:
        term = _make_term(reward, policy, retries)
        num_same = sum(other.name.split("#")[0] == term.name for other in terms)
        terms.append(replace(term, name=f"{term.name}#{num_same + 1}") if num_same else term)
    return tuple(terms)


def load_gate(gate: GateLike | None) -> Callable[..., Any] | None:
    """Load the gate: what decides whether an answer may be returned.

    Args:
        gate: `"safety"` for the gate that ships; the name, folder or hub id of a guard or a safety classifier; or a
            function `(prompt, completions) -> scores`, which is returned as it is, like None.

    Returns:
        A function `(prompt, completions) -> scores`. Scores of a model are probabilities that the answer is safe,
        and its `threshold` says from which on an answer passes.

    Raises:
        ValueError: the name is misspelt, or the model is not a guard and its labels do not name any harm.

    Examples:
        >>> gate = load_gate("safety")  # doctest: +SKIP
        >>> gate("How do I pick a lock?", ["I'm sorry, but I can't help with that."])  # doctest: +SKIP
        [0.97]
    """
    if gate == "safety":
        return _load_safety_gate()
    if gate is None or callable(gate):
        return gate
    refuse_misspelt(gate, GATE_NAMES, "gate")
    judge = _load_gate_model(gate)
    if callable(judge):
        return judge
    raise ValueError(
        f"{gate!r} cannot be a gate, because its labels do not name any harm; use 'safety', a guard, a safety "
        "classifier, or a function (prompt, completions) -> scores."
    )


def unload(name: str | os.PathLike[str] | None = None) -> None:
    """Drop the references to one model's weights, or to all; a later call loads them again.

    Loaded rewards and gates are all dropped. The memory is freed when nothing else refers to the weights.

    Args:
        name: the model's name, as it was passed to `load_model` or `SEAChatModel`; None drops everything.
    """
    with _lock:
        _rewards.clear()
        _load_safety_gate.cache_clear()
        _load_gate_model.cache_clear()
        unload_models(name)


def describe_reward(reward: RewardLike | GateLike) -> str:
    """Describe a reward or gate for cache keys and reports: different ones get different descriptions."""
    if isinstance(reward, (str, os.PathLike)):
        return os.fspath(reward)
    if isinstance(reward, RewardTerm):
        settings = ", ".join(f"{each.name}={getattr(reward, each.name)!r}" for each in fields(reward)[1:])
        return f"Term({settings}, {describe_reward(reward.reward)})"
    function = getattr(reward, "function", reward)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", type(function).__module__)
    return f"{module}.{name}:{hash_code(function)}"


def _make_term(reward: RewardLike, policy: CausalLMPolicy, retries: int) -> RewardTerm:
    if isinstance(reward, RewardTerm):
        return _complete_term(reward, policy, retries)
    if isinstance(reward, (str, os.PathLike)):
        name = os.fspath(reward)
        term = _name_term(Path(name).stem if name.endswith(".safetensors") else name, _load(name, policy))
        return replace(term, min_gain=_MIN_GAINS.get(name))
    if isinstance(reward, Reward):
        return _name_term("consensus" if isinstance(reward, Consensus) else type(reward).__name__, reward)
    if callable(reward):
        name = getattr(reward, "__name__", type(reward).__name__)
        return RewardTerm(reward=FunctionReward(reward, retries=retries), name=name)
    raise TypeError(
        f"{reward!r} is not a reward: pass a name, a function (prompt, completions) -> scores, a RewardTerm, or an "
        'object with score(view, texts). Weights go into terms, such as RewardTerm(reward="safety", name="safety", '
        "weight=2.0)."
    )


def _complete_term(term: RewardTerm, policy: CausalLMPolicy, retries: int) -> RewardTerm:
    """Return the term of a name or a function as the term of its reward; what it leaves open is the reward's own."""
    if isinstance(term.reward, Reward):
        return term
    made = _make_term(term.reward, policy, retries)
    own: dict[str, Any] = {"reward": made.reward}
    if (term.center, term.scale) == (0.0, 1.0):
        own |= {"center": made.center, "scale": made.scale}
    if term.min_gain is None:
        own["min_gain"] = made.min_gain
    return replace(term, **own)


def _name_term(name: str, reward: Reward) -> RewardTerm:
    """Make a term; a head's own center and scale bring it to unit scale."""
    if isinstance(reward, HiddenStateReward):
        info = reward.head.info
        return RewardTerm(reward=reward, name=name, center=info.center, scale=info.scale)
    return RewardTerm(reward=reward, name=name)


def _load(name: str, policy: CausalLMPolicy) -> Reward:
    with _lock:
        loaded = _rewards.setdefault(policy, {})
        if name not in loaded:
            loaded[name] = _read(name, policy)
        return loaded[name]


def _read(name: str, policy: CausalLMPolicy) -> Reward:
    if name == "safety":
        return load_safety_reward()
    if name == "tiny":
        return LogRatioReward(load_model("tiny/expert"), load_model("tiny/early_03"), max_early_surprise=5.0)
    if name.endswith(".safetensors"):
        return HiddenStateReward(HiddenStateHead.load(name))
    refuse_misspelt(name, REWARD_NAMES, "reward")
    return load_judge(name, policy.tokenizer, str(policy.device))


@cache
def _load_gate_model(name: str) -> object:
    return load_judge(name, None)


@cache
def _load_safety_gate() -> PairClassifierGate:
    """Load it once: its first call copies an encoder and merges the low-rank updates into it."""
    return PairClassifierGate.load()
