"""Settings of one search: what is drafted, how latents and chains move, and how an answer goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from langchain_sea.plans import SearchPlan, find_plan
from langchain_sea.sampling.latent import LatentSampler

__all__ = [
    "ChainConfig",
    "CompanionConfig",
    "ContinuationConfig",
    "DraftConfig",
    "LatentConfig",
    "SearchConfig",
    "require_at_least",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftConfig:
    """How drafts are written; the chains start from the best of them.

    Attributes:
        num_drafts: beginnings to draft for each block that chains move.
        num_kept: the best beginnings that are continued without a change, beside those that the chains have moved.
        temperature: of sampling; 1 samples from the policy itself.
    """

    num_drafts: int = 128
    num_kept: int = 16
    temperature: float = 0.8

    def __post_init__(self) -> None:
        require_at_least(1, num_drafts=self.num_drafts)
        require_at_least(0, num_kept=self.num_kept, temperature=self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionConfig:
    """Answers that are written beside the draft, under shares of a reward's steering vector.

    Where no reward has a vector they are plain drafts, and `count` alone matters.

    Attributes:
        begin_shares: of the vector, for the first tokens; the beginnings take them in turns.
        begin_tokens: the number of first tokens.
        num_beginnings: that are drawn, and judged by the rewards.
        count: of the beginnings that are continued, those of the lowest energy.
        share: of the vector, for all other tokens.
        temperature_scale: of the other tokens, times the draft's temperature.
        max_tokens: of each answer; what is longer may be an answer up to the end of a sentence.
    """

    begin_shares: tuple[float, ...] = (0.45, 0.6, 0.7, 0.5, 0.55, 0.65, 0.4)
    begin_tokens: int = 4
    num_beginnings: int = 28
    count: int = 7
    share: float = 0.3
    temperature_scale: float = 0.8
    max_tokens: int = 48

    def __post_init__(self) -> None:
        require_at_least(1, begin_tokens=self.begin_tokens, count=self.count)
        require_at_least(self.count, num_beginnings=self.num_beginnings)
        require_at_least(self.begin_tokens + 1, max_tokens=self.max_tokens)
        require_at_least(0, temperature_scale=self.temperature_scale)
        if not self.begin_shares or not all(map(math.isfinite, (*self.begin_shares, self.share))):
            raise ValueError(f"begin_shares={self.begin_shares} and share={self.share} must be finite, at least one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """How the latents start and move: vectors added to the policy's states while it draws beginnings of answers.

    How many beginnings are drawn, and how often, is said by the plan; see `plans`.

    Attributes:
        sampler: how far the latents move.
        update: `gradient` moves them along the gradient of the expected energy. The others are what the gradient
            must beat: `random` takes steps of the same length in random directions, `aisp` moves to the mean of
            noisy latents weighted by exp(−energy) (AISP, arXiv 2510.26219), `none` leaves them where they start.
        starts: where each group of draws starts, as multiples of the reward's steering vector.
        starts_without_vector: where each group starts if no reward has a steering vector, as multiples of the
            direction from the worst to the best of the first draws, which are the policy's own. 0 is the policy.
        shares_gradient: whether all groups move by the mean of their gradients: it is less noisy with few draws.
        depth: where no reward has a steering vector, the share of the policy's layers below the latents.
        continuation_shares: every draw that is kept is continued once under each of these shares of its latent; under 0
            by the policy alone, which is more fluent, and more often takes the turn of the beginning back.
        divergence_weight: β: what one nat per token away from the policy adds to the energy of a draw.
        companions: answers that are written beside the draft. None: none.
    """

    sampler: LatentSampler = field(default_factory=lambda: LatentSampler(step_size=0.1, momentum=0.8))
    update: Literal["gradient", "random", "aisp", "none"] = "gradient"
    starts: tuple[float, ...] = (0.45, 0.7, 0.0, -0.35)
    starts_without_vector: tuple[float, ...] = (0.0, 0.25, 0.35, 0.5)
    shares_gradient: bool = True
    depth: float = 0.7
    continuation_shares: tuple[float, ...] = (0.5, 0.0)
    divergence_weight: float = 0.0
    companions: CompanionConfig | None = field(default_factory=CompanionConfig)

    def __post_init__(self) -> None:
        if self.update not in ("gradient", "random", "aisp", "none"):
            raise ValueError(f"update={self.update!r} is unknown; choose 'gradient', 'random', 'aisp' or 'none'.")
        for name in ("starts", "starts_without_vector", "continuation_shares"):
            starts = getattr(self, name)
            if not starts or not all(map(math.isfinite, starts)):
                raise ValueError(f"{name}={starts} must be finite numbers, at least one.")
        if not 0 < self.depth < 1:
            raise ValueError(f"depth={self.depth} must lie in (0, 1).")
        require_at_least(0, divergence_weight=self.divergence_weight)


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
    """Settings of the search: latents, or drafts and chains, and continuation.

    Attributes:
        latent: how latents move. They are used unless every differentiable reward is a sum over tokens, for which
            chains are better. None: chains always.
        plan: how much is drawn, by name or as a `SearchPlan`; see `plans`. None: as much as fits into the time.
        block_size: tokens at the beginning of a block that the chains move; the policy writes the rest. None moves the
            whole answer; `drafts.num_drafts`, `drafts.num_kept` and `continuation` then have no effect.
        drafts: what the chains start from.
        chains: their number, start and end.
        continuation: how the answer goes on after a block.
    """

    latent: LatentConfig | None = None
    plan: str | SearchPlan | None = None
    block_size: int | None = 8
    drafts: DraftConfig = field(default_factory=DraftConfig)
    chains: ChainConfig = field(default_factory=ChainConfig)
    continuation: ContinuationConfig = field(default_factory=ContinuationConfig)

    def __post_init__(self) -> None:
        require_at_least(1, block_size=self.block_size)
        if self.plan is not None:
            find_plan(self.plan)


def require_at_least(least: int, **values: float | None) -> None:
    """Raise a `ValueError` that names the first value below `least`; None passes."""
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"{name}={value} must be at least {least}.")
