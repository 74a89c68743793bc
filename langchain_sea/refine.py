"""The loop: draft, step, decode, score, keep best. Knows networks and rewards by their protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_sea.best import Best, Refinement, TraceStep
from langchain_sea.budget import Budget, Meter
from langchain_sea.chains import Chains, Window
from langchain_sea.errors import RefinementInterrupted, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from langchain_sea.energy import Energy, Prompt
    from langchain_sea.langevin import Langevin

Answer = list[int]


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

    Each prompt is read in forwards of its own, so that its answer does not depend on what else is refined.

    Args:
        prompts: as the policy prepared them.
        drafts: for each prompt the ids of answers already written, the draft first; empty: the policy drafts.
        energy: the problem.
        langevin: the method.
        budget: the limits.
        generators: for each prompt at least `window.chains`, and `window.drafts` with a window.
        window: what moves, and from where.

    Returns:
        One refinement for each prompt, never worse than its draft by the energy's own score.

    Raises:
        RefinementInterrupted: at Ctrl-C, with the best answers so far.
    """
    window = window or Window()
    runs = [
        _Run(prompt, list(given), energy, langevin, window, rngs, Meter(budget))
        for prompt, given, rngs in zip(prompts, drafts, generators, strict=True)
    ]
    turns = {index: run.turns() for index, run in enumerate(runs)}
    try:
        while turns:
            for index in list(turns):
                if next(turns[index], None) is None:
                    del turns[index]
    except KeyboardInterrupt:
        raise RefinementInterrupted([run.result("interrupted") for run in runs]) from None
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
    steps: int = 0
    stop_reason: str = "steps"
    failure: Exception | None = None
    trace: list[TraceStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = self.energy.policy
        self.best = Best(self.energy, self.prompt, self.meter)
        budget = self.meter.budget
        self.limit = self.window.steps if budget.steps is None else budget.steps

    def turns(self) -> Iterator[bool]:
        """All of it, a yield at each point where another prompt may take its turn."""
        try:
            window, longest = self.window.tokens, self.meter.budget.tokens
            yield from self._whole() if window is None else self._beginning(min(window, longest))
        except RewardUnavailableError as error:
            self.stop_reason, self.failure = "reward_unavailable", error
            self.drafts = self.drafts or self._write([[]], self.meter.budget.tokens)

    def _whole(self) -> Iterator[bool]:
        """Chains over whole answers, each decoded and scored at every step."""
        if not self.drafts:
            self.drafts = self._write([[]] * self.window.chains, self.meter.budget.tokens)
        yield True
        self.best.offer([self.policy.decode(ids) for ids in self.drafts])
        starts = [ids for ids in self.drafts if ids][: self.window.chains]
        for chains in self._move(starts):
            scored = self.best.offer([self.policy.decode(ids) for ids in chains.answers()])
            energies = chains.terms.energy.tolist()
            self.trace.append(chains.trace([-s.score - e for s, e in zip(scored, energies, strict=True)]))
            yield True

    def _beginning(self, length: int) -> Iterator[bool]:
        """Chains over the best of many short beginnings, from which the policy then writes on."""
        rows = max(self.window.drafts, self.window.chains)
        begun = [ids[:length] for ids in self.drafts] + self._write([[]] * rows, length)
        yield True
        ranked = self._ranked(begun)
        best: dict[int, tuple[float, Answer]] = {}  # chain → the lowest energy and the tokens there
        for chains in self._move(ranked[: self.window.chains]):
            for name, energy, ids in zip(
                chains.names, chains.terms.energy.tolist(), chains.answers(), strict=True
            ):
                if name not in best or energy < best[name][0]:
                    best[name] = (energy, ids)
            self.trace.append(chains.trace([None] * len(chains)))
            yield True
        moved = [ids for _, ids in sorted(best.values(), key=lambda pair: pair[0])]
        kept = ranked[: max(self.window.kept, 0)]
        yield from self._written_on(begun[0], [ids for ids in [*kept, *moved] if ids], length)

    def _written_on(self, draft: Answer, beginnings: list[Answer], length: int) -> Iterator[bool]:
        """Write the draft and every beginning to its end, and offer them all, the draft first."""
        rows = [draft, *beginnings]
        # a beginning shorter than the window ended by itself
        open_rows = [i for i, ids in enumerate(rows) if len(ids) == length and not (i == 0 and self.drafts)]
        rest = self._write([rows[i] for i in open_rows], self.meter.budget.tokens - length)
        for i, more in zip(open_rows, rest, strict=True):
            rows[i] = rows[i] + more
        yield True
        self.drafts = self.drafts or rows[:1]
        rows[:1] = self.drafts
        self.best.offer([self.policy.decode(ids) for ids in rows])

    def _move(self, starts: list[Answer]) -> Iterator[Chains]:
        """Step the chains until a limit; yields them after every evaluation."""
        if not starts or self.limit == 0:
            self.stop_reason = "empty" if not starts else "steps"
            return
        share = 1.0 if self.window.tokens is None else self.window.share
        if (reason := self.meter.over(share)) is not None:
            self.stop_reason = reason
            return
        chains = Chains(
            self.energy, self.prompt, self.langevin, self.window, starts=starts, generators=self.generators
        )
        self._count(chains)
        while len(chains):
            yield chains
            self.stop_reason = self.meter.over(share) or "steps"
            if self.steps >= self.limit or self.stop_reason != "steps":
                return
            chains.step()
            self.steps += 1
            self._count(chains)
        self.stop_reason = "converged"

    def _count(self, chains: Chains) -> None:
        self.meter.evaluations += len(chains)
        self.meter.refined += int(chains.mask.sum())

    def _ranked(self, begun: list[Answer]) -> list[Answer]:
        """The distinct beginnings, lowest energy first."""
        distinct = [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in begun if ids)]
        self.meter.evaluations += len(distinct)
        energies: list[float] = self.energy.beginnings(self.prompt, distinct).tolist()
        return [distinct[i] for i in sorted(range(len(distinct)), key=energies.__getitem__)]

    def _write(self, prefixes: list[Answer], tokens: int) -> list[Answer]:
        """Let the policy write on, until a limit."""
        if not prefixes or tokens <= 0:
            return [[] for _ in prefixes]
        written = self.policy.extend(
            self.prompt,
            prefixes,
            tokens=tokens,
            temperature=self.window.temperature,
            generators=self.generators[: len(prefixes)],
            go_on=lambda _rows: self.meter.over() is None,
        )
        self.meter.drafted += sum(map(len, written))
        return written

    def result(self, stop_reason: str | None = None) -> Refinement:
        """What was found so far."""
        before, after = self.best.draft, self.best.best
        draft = before.text if before else self.policy.decode(self.drafts[0] if self.drafts else [])
        text = after.text if after and self.failure is None else draft
        return Refinement(
            text=text,
            ids=tuple(self.policy.encode(text)),
            draft=draft,
            before=before,
            after=after if self.failure is None else before,
            accepted=text != draft,
            steps=self.steps,
            seconds=round(self.meter.seconds, 4),
            stop_reason=stop_reason or self.stop_reason,
            draft_tokens=self.meter.drafted,
            refine_tokens=self.meter.refined,
            evaluations=self.meter.evaluations,
            rejected=self.best.rejected,
            failure=self.failure,
            trace=tuple(self.trace),
        )
