"""Presets: all settings of a method, named and frozen; models, rewards and the budget are no part of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from langchain_sea.core.limits import TextLimits
from langchain_sea.core.suggestions import require_name
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation
from langchain_sea.search_config import (
    ChainConfig,
    CompanionConfig,
    ContinuationConfig,
    DraftConfig,
    LatentConfig,
    SearchConfig,
)

__all__ = [
    "PRESETS",
    "ChainConfig",
    "CompanionConfig",
    "ContinuationConfig",
    "DraftConfig",
    "LatentConfig",
    "Preset",
    "SearchConfig",
    "find_preset",
]

_STRAIGHT_THROUGH = Relaxation(kind="straight_through")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """All settings of a method; only policy, rewards and budget are not part of it.

    Attributes:
        name: its name in reports.
        langevin: how the chains move.
        search_config: drafts, chains and continuation.
        policy_weight: λ.
        policy_gradient: whether gradient passes through the policy's network in its own term.
        policy_relaxation: how tokens enter the policy's term.
        reward_relaxation: how tokens enter the rewards.
        max_nll_rise: the largest rise of nats per token over the draft's with which a text is accepted. None: any.
        limits: on repetition, single surprising tokens and small gains. None: no such limits.
    """

    name: str
    langevin: Langevin
    search_config: SearchConfig
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5
    limits: TextLimits | None = None


PRESETS: dict[str, Preset] = {
    # Ours: latents move to where the policy's own draws have a low energy; the policy continues the best draws.
    # For rewards that are sums over tokens, chains move the best of many short drafts.
    "default": Preset(
        name="default",
        langevin=Langevin(kernel="adam", step_size=0.5, noise_scale=0.0),
        search_config=SearchConfig(latent=LatentConfig()),
        max_nll_rise=0.9,  # some drafts are lists or copies, far below what the policy's other answers have
        limits=TextLimits(),
    ),
    # arXiv 2505.20081 as printed: whole answers, the whole vocabulary. We read its noise as σ = 1.
    "paper": Preset(
        name="paper",
        langevin=Langevin(kernel="ula", step_size=0.1, noise_scale=1.0),
        search_config=SearchConfig(
            chains=ChainConfig(num_chains=4, num_candidates=None, init_temperature=1.0, init_margin=1.0, max_steps=30),
            drafts=DraftConfig(temperature=1.0),
            block_size=None,
        ),
        policy_weight=1.0,
        policy_relaxation=_STRAIGHT_THROUGH,
        reward_relaxation=_STRAIGHT_THROUGH,
        max_nll_rise=None,
    ),
    # The authors' release: Adam, soft tokens for the reward, the policy's term detached, transient noise.
    "reference": Preset(
        name="reference",
        langevin=Langevin(
            kernel="adam", step_size=0.1, noise="transient", schedule=((0, 0.1), (50, 0.05), (100, 0.01), (150, 0.001))
        ),
        search_config=SearchConfig(
            chains=ChainConfig(
                num_chains=4,
                num_candidates=None,
                top_k=10,
                init_temperature=5.0,
                init_margin=1.0,
                max_steps=200,
                patience=100,
            ),
            block_size=None,
        ),
        policy_weight=0.1,
        policy_gradient=False,
        policy_relaxation=_STRAIGHT_THROUGH,
        reward_relaxation=Relaxation(kind="soft", tau=0.1),
        max_nll_rise=None,
    ),
}


def find_preset(preset: str | Preset) -> Preset:
    """Return the preset of that name, or the preset itself.

    Raises:
        ValueError: there is no preset of that name; the message suggests the nearest one.
    """
    if isinstance(preset, Preset):
        return preset
    require_name(preset, PRESETS, "preset", otherwise="a Preset")
    return PRESETS[preset]
