"""Settings of the search, and presets of them: named, frozen values with everything but models, rewards and budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from langchain_sea.core.suggestions import suggest
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

__all__ = ["PRESETS", "ChainConfig", "ContinuationConfig", "DraftConfig", "Preset", "SearchConfig", "find_preset"]

_STRAIGHT_THROUGH = Relaxation(kind="straight_through")


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftConfig:
    """How drafts are written; the chains start from the best of them.

    Attributes:
        num_drafts: beginnings to draft for each block.
        num_kept: the best beginnings that are continued without a change, beside those that the chains have moved.
            With a steering vector, so many of the policy's own and so many steered in each direction.
        temperature: of sampling; 1 samples from the policy itself.
        steering_coeffs: multiples of a reward's steering vector that are added to the policy's hidden states. If a
            reward has such a vector, half of `num_drafts` beginnings are the policy's own, and `num_drafts` more are
            steered, each with another one of the likeliest first tokens. Empty: no steering.
    """

    num_drafts: int = 128
    num_kept: int = 16
    temperature: float = 0.8
    steering_coeffs: tuple[float, ...] = (0.5, 0.7)

    def __post_init__(self) -> None:
        require_at_least(1, num_drafts=self.num_drafts)
        require_at_least(0, num_kept=self.num_kept, temperature=self.temperature)
        if not all(map(math.isfinite, self.steering_coeffs)):
            raise ValueError(f"steering_coeffs={self.steering_coeffs} must be finite numbers.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """How the chains start and when they end. `Langevin` says how they move.

    Attributes:
        num_chains: C, the chains of each prompt.
        max_steps: the largest number of steps of each chain, if the budget sets none.
        patience: a chain ends after this many steps without a changed token. None: it goes on.
        num_candidates: K, the policy's likeliest tokens at each position; None is the whole vocabulary.
        refresh_every: after so many steps the candidates are chosen again wherever the text before them has changed.
            None: never. It excludes the kernel `mala`, whose target is defined on one set of candidates.
        top_k: only the policy's likeliest tokens, given the relaxed tokens so far, may be decoded. None: all.
        init_temperature: divides log π at the start; higher starts flatter.
        init_margin: lead of the draft's token at the start, in logits; with a larger one a chain takes longer to
            leave the draft.
    """

    num_chains: int = 4
    max_steps: int = 4
    patience: int | None = None
    num_candidates: int | None = 128
    refresh_every: int | None = None
    top_k: int | None = None
    init_temperature: float = 5.0
    init_margin: float = 1.0

    def __post_init__(self) -> None:
        counts = ("num_chains", "num_candidates", "refresh_every", "top_k", "patience")
        require_at_least(1, **{name: getattr(self, name) for name in counts})
        require_at_least(0, max_steps=self.max_steps)
        for name in ("init_temperature", "init_margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        if self.top_k is not None and self.num_candidates is not None:
            raise ValueError("top_k needs the whole vocabulary: set num_candidates=None.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationConfig:
    """How an answer goes on after the block that was refined.

    Attributes:
        stride: tokens after which the next block begins, at the end of the best answer so far.
        token_additive_stride: the stride if every differentiable reward is a sum over tokens (`TokenAdditive`): the
            value of a beginning then does not depend on what follows. None: `stride`.
        temperature_scale: chosen beginnings are continued at the draft temperature times this.
        optimise_fraction: share of the budget's time for drafting beginnings and moving chains; the rest is for
            continuing the answers.
    """

    stride: int = 64
    token_additive_stride: int | None = 8
    temperature_scale: float = 0.4
    optimise_fraction: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(1, stride=self.stride, token_additive_stride=self.token_additive_stride)
        require_at_least(0, temperature_scale=self.temperature_scale)
        if not 0 < self.optimise_fraction <= 1:
            raise ValueError(f"optimise_fraction={self.optimise_fraction} must lie in (0, 1].")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Settings of the search: drafts, chains and continuation.

    Attributes:
        block_size: tokens at the beginning of a block that the chains move; the policy writes the rest. None moves the
            whole answer; `drafts.num_drafts`, `drafts.num_kept` and `continuation` then have no effect.
        drafts: what the chains start from.
        chains: their number, start and end.
        continuation: how the answer goes on after a block.
    """

    block_size: int | None = 8
    drafts: DraftConfig = field(default_factory=DraftConfig)
    chains: ChainConfig = field(default_factory=ChainConfig)
    continuation: ContinuationConfig = field(default_factory=ContinuationConfig)

    def __post_init__(self) -> None:
        require_at_least(1, block_size=self.block_size)


def require_at_least(least: int, **values: float | None) -> None:
    """Raise a `ValueError` that names the first value below `least`; None passes."""
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"{name}={value} must be at least {least}.")


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
    """

    name: str
    langevin: Langevin
    search_config: SearchConfig
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5


PRESETS: dict[str, Preset] = {
    # Ours: many short drafts; chains move the best of them by policy and rewards; the policy continues.
    "default": Preset(
        name="default", langevin=Langevin(kernel="adam", step_size=0.5, noise_scale=0.0), search_config=SearchConfig()
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
    if preset not in PRESETS:
        suggestion = suggest(preset, PRESETS)
        hint = f"; {suggestion}" if suggestion else "."
        raise ValueError(f"no preset {preset!r}: choose {', '.join(map(repr, PRESETS))}, or pass a Preset{hint}")
    return PRESETS[preset]
