"""The record of one refinement: every step, and every text that was scored. `plotting` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ScoredText", "Trace", "TraceStep"]


class TraceStep(NamedTuple):
    """One step. Each tuple has one entry for each chain that was still running."""

    step: int
    chains: tuple[int, ...]
    energy: tuple[float, ...]
    nll: tuple[float, ...]  # nats per token under the policy
    rewards: tuple[tuple[float, ...], ...]  # standardised, in the order of `Energy.terms`
    gap: tuple[float | None, ...]  # energy of the decoded text − energy at the relaxed tokens, where scored
    changed: tuple[int, ...]  # tokens that differ from the chain's start
    seconds: float
    min_gradient_cosine: tuple[float | None, ...] = ()  # lowest cosine between two rewards' gradients
    latent_norm: tuple[float, ...] = ()  # of each group's latent, as a share of the states' norm
    divergence: tuple[float, ...] = ()  # nats per token between each group's draws and the policy


class ScoredText(NamedTuple):
    """A text with its score and the parts of it."""

    text: str
    score: float  # the negative energy: higher is better
    nll: float  # nats per token under the policy
    rewards: dict[str, float]  # standardised, by the names of their terms
    meets_thresholds: bool = True
    max_surprise: float = 0.0  # −log π of the text's most surprising token, in nats
    first_surprise: float = 0.0  # −log π of its first token


class Trace(tuple[TraceStep, ...]):  # noqa: SLOT001 - the texts are attributes beside the steps
    """The steps in order, with the draft, the answer and all texts that were scored.

    Attributes:
        before: the draft; None if it could not be scored.
        after: the answer; the draft itself if nothing better was found.
        candidates: all texts that were scored, the draft first.
        eager_rewards: the names of the rewards that ran beside passes that a GPU replays as graphs; none on a CPU.
    """

    before: ScoredText | None
    after: ScoredText | None
    candidates: tuple[ScoredText, ...]
    eager_rewards: tuple[str, ...]

    def __new__(
        cls,
        steps: Iterable[TraceStep] = (),
        *,
        before: ScoredText | None = None,
        after: ScoredText | None = None,
        candidates: Iterable[ScoredText] = (),
        eager_rewards: Iterable[str] = (),
    ) -> Self:
        """Hold the steps and the texts."""
        trace = super().__new__(cls, steps)
        trace.before, trace.after, trace.candidates = before, after, tuple(candidates)
        trace.eager_rewards = tuple(eager_rewards)
        return trace
