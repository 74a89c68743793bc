"""One prompt's way: draft, step, decode, score, keep best. Knows networks and rewards by protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_sea.best import Best, Refinement, Scored, TraceStep
from langchain_sea.chains import Chains, Window, walk
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError
from langchain_sea.work import Rank
from langchain_sea.writing import Answer, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.budget import Meter
    from langchain_sea.energy import Energy
    from langchain_sea.langevin import Langevin
    from langchain_sea.protocols import Prompt
    from langchain_sea.work import Task


@dataclass
class Run:
    """One prompt's way from draft to answer: a task for `Rounds`, and its result."""

    prompt: Prompt
    drafts: list[Answer]
    energy: Energy
    langevin: Langevin
    window: Window
    generators: Sequence[torch.Generator]
    meter: Meter
    stop: tuple[str, ...] = ()
    begun: list[Answer] = field(default_factory=list)
    trace: list[TraceStep] = field(default_factory=list)
    failure: Exception | None = None
    error: BaseException | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self.best = Best(self.energy, self.prompt, self.meter)
        self.writer = Writer(
            self.energy.policy, self.prompt, self.window.temperature, self.generators, self.meter
        )

    def task(self) -> Task[None]:
        """All of it."""
        try:
            yield from self._whole() if self.window.tokens is None else self._beginning(self.window.tokens)
        except (RewardUnavailableError, OutOfMemoryError) as error:
            short = isinstance(error, OutOfMemoryError)
            self.meter.stop_reason = "out_of_memory" if short else "reward_unavailable"
            self.failure = error
            self.drafts = self.drafts or (yield from self.writer.finish(self.begun[:1]))

    def ended(self, error: BaseException | None) -> None:
        """Called when the task has ended, with what it raised."""
        self.over, self.error = True, error

    def interrupt(self, reason: str = "interrupted") -> None:
        """Say why it went no further, if it did not."""
        if not self.over:
            self.meter.stop_reason = reason

    def result(self) -> Refinement:
        """What was found so far; unscored, the draft as far as it is written."""
        if self.error is not None:
            raise self.error
        draft = self._text((self.drafts or self.begun or [[]])[0])
        return self.best.refinement(draft, failure=self.failure, trace=self.trace)

    def _whole(self) -> Task[None]:
        """Chains over whole answers, each decoded and scored at every step."""
        tokens = self.meter.budget.tokens
        self.drafts = self.drafts or (yield from self.writer.begin(self.window.chains, tokens, 1.0))
        yield from self._offer(self.drafts)
        yield from self._walk([ids for ids in self.drafts if ids], self._score)

    def _score(self, chains: Chains) -> Task[None]:
        energies, found = chains.terms.energy.tolist(), (yield from self._offer(chains.answers()))
        self.trace.append(chains.trace([-f.score - e for f, e in zip(found, energies, strict=True)]))

    def _beginning(self, length: int) -> Task[None]:
        """Chains over the best of many short beginnings, from which the policy then writes on."""
        length = min(length, self.meter.budget.tokens)
        rows = max(self.window.drafts, self.window.chains)
        given = [ids[:length] for ids in self.drafts]
        self.begun = given + (yield from self.writer.begin(rows, length, self.window.share))
        ranked = yield from self._ranked()
        lowest: dict[int, tuple[float, Answer]] = {}  # chain → its lowest energy and the tokens there
        yield from self._walk(ranked, partial(self._note, lowest))
        moved = [ids for _, ids in sorted(lowest.values(), key=itemgetter(0))]
        draft = [] if self.drafts else self.begun[:1]
        ends = yield from self.writer.finish([*draft, *ranked[: self.window.kept], *moved])
        self.drafts = self.drafts or ends[:1]
        yield from self._offer([*self.drafts, *ends])

    def _note(self, lowest: dict[int, tuple[float, Answer]], chains: Chains) -> Task[None]:
        found = zip(chains.names, chains.terms.energy.tolist(), chains.answers(), strict=True)
        for name, energy, ids in found:
            lowest[name] = min(lowest.get(name, (energy, ids)), (energy, ids), key=itemgetter(0))
        self.trace.append(chains.trace([None] * len(chains)))
        yield from ()

    def _ranked(self) -> Task[list[Answer]]:
        """The distinct beginnings, lowest energy first."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, self.begun)) if ids]
        self.meter.evaluations += len(distinct)
        if not distinct:
            return []
        energies = yield Rank(self.energy, self.prompt, distinct)
        return [distinct[i] for i in energies.argsort(stable=True).tolist()]  # NaN last

    def _walk(self, starts: list[Answer], watch: Any) -> Task[None]:  # noqa: ANN401 - as `walk` takes
        problem = (self.energy, self.prompt, self.langevin, self.window)
        options = {"generators": self.generators, "meter": self.meter, "watch": watch}
        yield from walk(*problem, starts=starts, **options)

    def _offer(self, answers: list[Answer]) -> Task[list[Scored]]:
        return (yield from self.best.offer([self._text(ids) for ids in answers]))

    def _text(self, ids: Answer) -> str:
        text = self.energy.policy.decode(ids)
        return text[: min((at for s in self.stop if (at := text.find(s)) >= 0), default=len(text))]
