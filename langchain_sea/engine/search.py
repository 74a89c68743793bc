"""One prompt's search without gradient, and all prompts' side by side: what `baselines` are made of.

The counterpart of `refine`: same caches, clock, keep-best and result. Shapes: C answers, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.engine.chains import generators_for
from langchain_sea.engine.drafting import Drafter, GenerationInput
from langchain_sea.engine.ops import ScorePrefixesOp
from langchain_sea.engine.scheduler import Scheduler, Seat
from langchain_sea.engine.selection import BestSoFar, Refinement
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import ScoredText
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["Search", "SearchRun", "search"]


class Search(Protocol):
    """A method.

    Attributes:
        temperature: of drafting and writing on.
        rows: how many answers it writes at once at the most.
    """

    @property
    def temperature(self) -> float: ...  # noqa: D102 - above
    @property
    def rows(self) -> int: ...  # noqa: D102 - above
    def task(self, searching: SearchRun) -> RequestSteps[None]:
        """All of it, for one prompt; the first answer offered is the draft."""


@dataclass
class SearchRun:
    """One prompt's search under way: what methods do alike."""

    prompt: Prompt
    energy: Energy
    writer: Drafter
    best: BestSoFar
    found: dict[tuple[int, ...], ScoredText] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether a limit is reached."""
        return self.writer.tracker.exhausted_limit() is not None

    @property
    def tokens(self) -> int:
        """Of the longest answer."""
        return self.writer.tracker.max_new_tokens

    def random(self) -> float:
        """From [0, 1), by the prompt's own generator."""
        rng = self.writer.generators[0]
        return float(torch.rand((), generator=rng, device=rng.device))

    def write(self, prefixes: Sequence[Answer], tokens: int) -> RequestSteps[tuple[list[Answer], bool]]:
        """The prefixes with up to `tokens` more, cut at the longest answer, and whether the clock cut."""
        (written,), cut = yield from self.writer.write([GenerationInput(self.prompt, list(prefixes))], tokens)
        whole = [[*a, *b][: self.tokens] for a, b in zip(prefixes, written, strict=True)]
        return whole, cut

    def finish(self, prefixes: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """Written to their end and offered; those that the clock cut off only where nothing else is there."""
        longest = self.tokens - min(map(len, prefixes))
        whole, cut = yield from self.write(prefixes, longest)
        if not cut or not self.found:
            yield from self.offer(whole)
        return whole

    def offer(self, answers: Sequence[Answer]) -> RequestSteps[None]:
        """Decoded, scored, and the best kept."""
        texts = [self.energy.policy.decode(ids) for ids in answers]
        scored = yield from self.best.offer(texts)
        self.found.update(zip(map(tuple, answers), scored, strict=True))

    def ranked(self, begun: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """The distinct ones by the energy of what is written so far, lowest first."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, begun)) if ids]
        if not distinct:
            return []
        self.writer.tracker.evaluations += len(distinct)
        energies = yield ScorePrefixesOp(self.energy, self.prompt, distinct)
        return [distinct[i] for i in energies.argsort(stable=True).tolist()]

    def leading(self) -> Answer:
        """The best answer's ids."""
        best = self.best.best
        items = self.found.items()
        return list(max(items, key=lambda item: (item[1] is best, item[1].score))[0])


def search(
    prompts: Sequence[Prompt],
    method: Search,
    *,
    energy: Energy,
    seed: int = 0,
    budget: Budget | None = None,
    max_new_tokens: int = 64,
) -> list[Refinement]:
    """Search for the best answer to every prompt. The arguments are those of `refine`.

    Args:
        prompts: from `policy.prompt(messages)`.
        method: one of `langchain_sea.engine.baselines`.
        energy: what is minimised.
        seed: decides all random numbers, together with the prompt's own ids.
        budget: limits of time and evaluations; None takes the default ones.
        max_new_tokens: the length of the longest answer, in the policy's tokens.
    """
    rounds, found = Scheduler(), []
    for prompt in prompts:
        rngs = generators_for(seed, prompt.key, method.rows, energy.policy.device)
        tracker = BudgetTracker(budget or Budget(), max_new_tokens)
        writer = Drafter(energy.policy, method.temperature, rngs, tracker)
        searching = SearchRun(prompt, energy, writer, BestSoFar(energy, prompt, tracker))
        errors: list[BaseException | None] = []
        rounds.join(Seat(method.task(searching), errors.append))
        found.append((searching, errors))
    while rounds.seats:
        rounds.round()
    return [_result(searching, errors) for searching, errors in found]


def _result(searching: SearchRun, errors: Sequence[BaseException | None]) -> Refinement:
    """What was found; a failed reward or a lack of memory leaves the best before it."""
    for error in errors:
        if error is not None and not isinstance(error, (RewardUnavailableError, OutOfMemoryError)):
            raise error
    failure = next((error for error in errors if isinstance(error, Exception)), None)
    searching.writer.tracker.stop_reason = searching.writer.tracker.exhausted_limit() or StopReason.STEPS
    return searching.best.refinement("", failure=failure)
