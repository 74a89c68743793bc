"""The loop: draft, step, decode, score, keep best. Knows networks and rewards by their protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from langchain_sea.best import Best, Refinement, Scored, TraceStep
from langchain_sea.budget import Budget, Meter
from langchain_sea.chains import Chains, Window, walk
from langchain_sea.errors import RefinementInterrupted, RewardUnavailableError
from langchain_sea.writing import Answer, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from langchain_sea.energy import Energy
    from langchain_sea.langevin import Langevin
    from langchain_sea.protocols import Prompt


def refine(
    prompts: Sequence[Prompt],
    drafts: Sequence[Sequence[Answer]],
    *,
    energy: Energy,
    langevin: Langevin,
    budget: Budget,
    generators: Sequence[Sequence[torch.Generator]],
    window: Window | None = None,
) -> list[Refinement]:
    """Refine every prompt's draft; the prompts take turns, step by step, under one clock.

    `drafts` holds for each prompt the ids of answers already written, the draft first; where it holds none,
    the policy drafts. `generators` holds for each at least `window.chains`. Each prompt is read in forwards
    of its own, so that its answer does not depend on what else is refined. No refinement is worse than its
    draft by the energy's own score.

    Raises:
        RefinementInterrupted: at Ctrl-C, with the best answers so far.
    """
    window = window or Window()
    runs = [
        _Run(prompt, list(given), energy, langevin, window, rngs, Meter(budget), len(prompts) - index)
        for index, (prompt, given, rngs) in enumerate(zip(prompts, drafts, generators, strict=True))
    ]
    turns = {index: run.turns() for index, run in enumerate(runs)}
    try:
        while turns:
            for index in list(turns):
                if next(turns[index], None) is None:
                    del turns[index]
    except KeyboardInterrupt:
        for index in turns:
            runs[index].meter.stop_reason = "interrupted"
        raise RefinementInterrupted([run.result() for run in runs]) from None
    return [run.result() for run in runs]


@dataclass
class _Run:
    """One prompt's way from draft to answer."""

    prompt: Prompt
    drafts: list[Answer]
    energy: Energy
    langevin: Langevin
    window: Window
    generators: Sequence[torch.Generator]
    meter: Meter
    waiting: int
    begun: list[Answer] = field(default_factory=list)
    trace: list[TraceStep] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.best = Best(self.energy, self.prompt, self.meter)
        policy, temperature = self.energy.policy, self.window.temperature
        self.writer = Writer(
            policy, self.prompt, temperature, self.generators, self.meter, waiting=self.waiting
        )

    def turns(self) -> Iterator[bool]:
        """All of it, a yield at each point where another prompt may take its turn."""
        try:
            yield from self._whole() if self.window.tokens is None else self._beginning(self.window.tokens)
        except RewardUnavailableError as error:
            self.meter.stop_reason, self.failure = "reward_unavailable", error
            self.drafts = self.drafts or self.writer.finish(self.begun[:1])

    def _whole(self) -> Iterator[bool]:
        """Chains over whole answers, each decoded and scored at every step."""
        self.drafts = self.drafts or self.writer.begin(self.window.chains, self.meter.budget.tokens, 1.0)
        yield True
        self._offer(self.drafts)
        for chains in self._walk([ids for ids in self.drafts if ids]):
            energies = chains.terms.energy.tolist()
            scores = [scored.score for scored in self._offer(chains.answers())]
            self.trace.append(chains.trace([-s - e for s, e in zip(scores, energies, strict=True)]))
            yield True

    def _beginning(self, length: int) -> Iterator[bool]:
        """Chains over the best of many short beginnings, from which the policy then writes on."""
        length = min(length, self.meter.budget.tokens)
        rows = max(self.window.drafts, self.window.chains)
        given = [ids[:length] for ids in self.drafts]
        self.begun = given + self.writer.begin(rows, length, self.window.share)
        yield True
        ranked = self._ranked()
        lowest: dict[int, tuple[float, Answer]] = {}  # chain → its lowest energy and the tokens there
        for chains in self._walk(ranked):
            found = zip(chains.names, chains.terms.energy.tolist(), chains.answers(), strict=True)
            for name, energy, ids in found:
                lowest[name] = min(lowest.get(name, (energy, ids)), (energy, ids), key=itemgetter(0))
            self.trace.append(chains.trace([None] * len(chains)))
            yield True
        moved = [ids for _, ids in sorted(lowest.values(), key=itemgetter(0))]
        draft = [] if self.drafts else self.begun[:1]
        ends = self.writer.finish([*draft, *ranked[: self.window.kept], *moved])
        yield True
        self.drafts = self.drafts or ends[:1]
        self._offer([*self.drafts, *ends])

    def _ranked(self) -> list[Answer]:
        """The distinct beginnings, lowest energy first."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, self.begun)) if ids]
        self.meter.evaluations += len(distinct)
        order = self.energy.beginnings(self.prompt, distinct).argsort(stable=True)  # NaN last
        return [distinct[i] for i in order.tolist()]

    def _walk(self, starts: list[Answer]) -> Iterator[Chains]:
        problem = (self.energy, self.prompt, self.langevin, self.window)
        return walk(*problem, starts=starts, generators=self.generators, meter=self.meter)

    def _offer(self, answers: list[Answer]) -> list[Scored]:
        return self.best.offer([self.energy.policy.decode(ids) for ids in answers])

    def result(self) -> Refinement:
        """What was found so far; unscored, the draft as far as it is written."""
        draft = self.energy.policy.decode((self.drafts or self.begun or [[]])[0])
        return self.best.refinement(draft, failure=self.failure, trace=self.trace)
