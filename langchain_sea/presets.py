"""The presets: a method, a window, and how the energy reads its tokens, as one frozen value each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from langchain_sea.chains import Window
from langchain_sea.langevin import Langevin
from langchain_sea.relaxation import Relaxation

__all__ = ["PRESETS", "Preset", "preset_named"]

_HARD = Relaxation(kind="straight_through")


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
    window: Window
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
        window=Window(),
    ),
    # arXiv 2505.20081 as printed, σ = 1 our reading of the noise: whole answers, the whole vocabulary.
    "paper": Preset(
        name="paper",
        langevin=Langevin(kernel="ula", step_size=0.1, noise_scale=1.0),
        window=Window(
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
        window=Window(
            tokens=None, chains=4, support=None, top=10, sharpness=5.0, margin=1.0, steps=200, patience=100
        ),
        policy_weight=0.1,
        policy_gradient=False,
        policy_relaxation=_HARD,
        reward_relaxation=Relaxation(kind="soft", tau=0.1),
        max_nll_rise=None,
    ),
}


def preset_named(preset: str | Preset) -> Preset:
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
