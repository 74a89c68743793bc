"""The record of how an answer was found, and the texts that were scored on the way. Draws nothing itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ScoredText", "Trace", "TraceStep"]


class TraceStep(NamedTuple):
    """One step, a number per chain that was still running."""

    step: int
    chains: tuple[int, ...]
    energy: tuple[float, ...]
    nll: tuple[float, ...]
    rewards: tuple[tuple[float, ...], ...]
    gap: tuple[float | None, ...]  # energy of the decoded text − energy at the relaxed tokens, where scored
    changed: tuple[int, ...]  # tokens that differ from the chain's start
    seconds: float
    min_gradient_cosine: tuple[float | None, ...] = ()  # lowest cosine between two rewards' gradients


class ScoredText(NamedTuple):
    """A text with its parts."""

    text: str
    score: float
    nll: float
    rewards: dict[str, float]
    meets_thresholds: bool = True  # whether every reward that must reach a value does


class Trace(tuple[TraceStep, ...]):  # noqa: SLOT001 - the texts are beside the steps
    """The steps in order, with what they started from and led to.

    Attributes:
        before: the draft; None where it could not be scored.
        after: the answer; the draft's own where nothing better was found.
        candidates: all texts that were scored, the draft first.
    """

    before: ScoredText | None
    after: ScoredText | None
    candidates: tuple[ScoredText, ...]

    def __new__(
        cls,
        steps: Iterable[TraceStep] = (),
        *,
        before: ScoredText | None = None,
        after: ScoredText | None = None,
        candidates: Iterable[ScoredText] = (),
    ) -> Self:
        """Hold the steps and the texts."""
        trace = super().__new__(cls, steps)
        trace.before, trace.after, trace.candidates = before, after, tuple(candidates)
        return trace

    def plot(self) -> Any:  # noqa: ANN401 - a matplotlib Figure, which the engine does not know
        """A figure of energy, nats per token, each reward and the soft–hard gap, by step and chain.

        Raises:
            ImportError: matplotlib is missing (extra `plot`).
        """
        return _drawing().plot(self)

    def diff(self) -> Any:  # noqa: ANN401 - a `plotting.Diff`
        """What changed between draft and answer, word by word; shows in terminal and notebook."""
        return _drawing().diff(self)

    def to_html(self) -> str:
        """One page that needs nothing else: numbers, diff, curves, every text that was scored.

        Raises:
            ImportError: matplotlib is missing (extra `plot`).
        """
        return str(_drawing().to_html(self))


def _drawing() -> Any:  # noqa: ANN401 - a module
    """Found by name when a picture is asked for: the engine stands below what draws it."""
    return import_module("langchain_sea.plotting")
