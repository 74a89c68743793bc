"""The presets: a method, a window, and how the energy reads its tokens, as one frozen value each."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field

from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

__all__ = ["PRESETS", "Preset", "SearchConfig", "find_preset"]

_HARD = Relaxation(kind="straight_through")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What the chains move, and where they start.

    Attributes:
        tokens: length of the moved beginning; the policy writes on from it. None moves the whole answer.
        chains: C, trajectories for each prompt.
        drafts: with `tokens`, how many beginnings the policy drafts; the chains start at the best of them.
        offsets: with `tokens`, where a reward knows an axis: half of the beginnings are the policy's own, and as
            many as `drafts` more are drafted with so much of the axis added to its states, each from another
            one of its likeliest first tokens. Empty: all are its own.
        kept: with `tokens`, how many of the best beginnings are written on as they are, too; with `offsets` so
            many of the policy's own, and of those on each side of the axis.
        temperature: of drafting; 1 is the policy itself.
        cooling: what is written on behind a beginning that was chosen is drawn at so much of the temperature.
        edits: each step ranks so many single changes of every chain's text, those that the gradient likes best,
            and makes the best one if it lowers the energy; so it never rises. 0: the chains move by the preset's
            `langevin`.
        support: K, the policy's likeliest tokens at each position; None is the whole vocabulary.
        refresh: after so many steps the candidates are chosen anew wherever the text before them has changed;
            None never does. Not with `mala`, whose target lives on one space.
        top: what may be decoded: the policy's likeliest tokens at the relaxed tokens so far. None: all.
        sharpness: divides log π at the start; higher starts flatter.
        margin: lead of the draft's token at the start, in logits; higher takes longer to leave it.
        steps: of each chain, where the budget names no number.
        patience: a chain ends after so many steps without a changed token; None never ends one.
        share: of the budget's seconds, for drafting beginnings and moving them; the rest is for writing on.
        stride: with `tokens`, after so many tokens the next window begins, behind the best so far.
        additive_stride: the same where every reward that steers is a sum over tokens (`Additive`), so that what a
            beginning is worth stands whatever follows. None: `stride` there, too.
    """

    tokens: int | None = 8
    chains: int = 4
    drafts: int = 128
    offsets: tuple[float, ...] = (0.5, 0.7)
    kept: int = 16
    temperature: float = 0.8
    cooling: float = 0.4
    edits: int = 0
    support: int | None = 128
    refresh: int | None = None
    top: int | None = None
    sharpness: float = 5.0
    margin: float = 1.0
    steps: int = 4
    patience: int | None = None
    share: float = 0.5
    stride: int = 64
    additive_stride: int | None = 8

    def __post_init__(self) -> None:
        counts = ("tokens", "chains", "drafts", "support", "refresh", "top", "patience", "stride")
        for name in (*counts, "additive_stride"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}={count} must be at least 1.")
        if not all(map(math.isfinite, self.offsets)):
            raise ValueError(f"offsets={self.offsets} must be finite numbers.")
        for name in ("steps", "kept", "edits", "temperature", "cooling"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative.")
        for name in ("sharpness", "margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        if self.top is not None and self.support is not None:
            raise ValueError("top needs the whole vocabulary: set support=None.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must lie in (0, 1].")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Everything of a method but the policy, the rewards and the budget.

    Attributes:
        name: as reports show it.
        langevin: how the chains move.
        window: what moves, and from where.
        policy_weight: λ.
        policy_gradient: whether gradient passes through the policy's network in its own term.
        policy_relaxation: how tokens enter the policy's term.
        reward_relaxation: how tokens enter the rewards.
        max_nll_rise: nats per token that an answer may lose against the draft; None: any.
    """

    name: str
    langevin: Langevin
    window: SearchConfig
    policy_weight: float = 0.3
    policy_gradient: bool = True
    policy_relaxation: Relaxation = field(default_factory=Relaxation)
    reward_relaxation: Relaxation = field(default_factory=Relaxation)
    max_nll_rise: float | None = 0.5


PRESETS: dict[str, Preset] = {
    # Ours: many short drafts, the best moved jointly by policy and reward, the policy writes on.
    "default": Preset(
        name="default",
        langevin=Langevin(kernel="adam", step_size=0.5, noise_scale=0.0),
        window=SearchConfig(),
    ),
    # arXiv 2505.20081 as printed, σ = 1 our reading of the noise: whole answers, the whole vocabulary.
    "paper": Preset(
        name="paper",
        langevin=Langevin(kernel="ula", step_size=0.1, noise_scale=1.0),
        window=SearchConfig(
            tokens=None, chains=4, support=None, temperature=1.0, sharpness=1.0, margin=1.0, steps=30
        ),
        policy_weight=1.0,
        policy_relaxation=_HARD,
        reward_relaxation=_HARD,
        max_nll_rise=None,
    ),
    # The authors' release: Adam, soft tokens into the reward, the policy's term detached, transient noise.
    "reference": Preset(
        name="reference",
        langevin=Langevin(
            kernel="adam",
            step_size=0.1,
            noise="transient",
            schedule=((0, 0.1), (50, 0.05), (100, 0.01), (150, 0.001)),
        ),
        window=SearchConfig(
            tokens=None, chains=4, support=None, top=10, sharpness=5.0, margin=1.0, steps=200, patience=100
        ),
        policy_weight=0.1,
        policy_gradient=False,
        policy_relaxation=_HARD,
        reward_relaxation=Relaxation(kind="soft", tau=0.1),
        max_nll_rise=None,
    ),
}


def find_preset(preset: str | Preset) -> Preset:
    """The preset of that name, or the one given.

    Raises:
        ValueError: no such name; the message names the nearest.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"no preset {preset!r}: choose {', '.join(map(repr, PRESETS))}, or pass a Preset{hint}"
        )
    return PRESETS[preset]
