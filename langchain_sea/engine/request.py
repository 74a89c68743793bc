"""One prompt's way: draft, step, decode, score, keep best. Knows networks and rewards by protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_sea.engine.blocks import BlockwiseRefiner
from langchain_sea.engine.drafting import Answer, Drafter, GenerationInput
from langchain_sea.engine.run_chains import run_chains
from langchain_sea.engine.selection import BestSoFar, Refinement
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import ScoredText, TraceStep
    from langchain_sea.engine.chains import Chains
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin


_BOUNDED = 16  # answers within a grammar: most of their tokens are the same
_SPARE = 32
_SUPPORT = 128  # candidates within a grammar, where a preset moves the whole vocabulary


@dataclass
class Request:
    """One prompt's way from draft to answer: a task for `Rounds`, and its result.

    Attributes:
        prompt: what is answered; energy, method, window and generators as for `refine`.
        drafts: written elsewhere; where there are none the policy's own is.
        tracker: what may be spent, and is.
        stop: strings before which an answer ends.
        watch: called after every step.
        commit: called after every window with the answer so far, which then stands; see `BlockwiseRefiner`.
    """

    prompt: Prompt
    drafts: list[Answer]
    energy: Energy
    langevin: Langevin
    search_config: SearchConfig
    generators: Sequence[torch.Generator]
    tracker: BudgetTracker
    stop: tuple[str, ...] = ()
    watch: Callable[[TraceStep], None] | None = None
    commit: Callable[[Answer], None] | None = None
    windows: BlockwiseRefiner | None = None
    trace: list[TraceStep] = field(default_factory=list)
    failure: Exception | None = None
    error: BaseException | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self.best = BestSoFar(self.energy, self.prompt, self.tracker)
        self.writer = Drafter(
            self.energy.policy, self.search_config.drafts.temperature, self.generators, self.tracker
        )

    def task(self) -> RequestSteps[None]:
        """All of it."""
        try:
            if self.prompt.has_grammar or (self.search_config.block_size and self.energy.is_ranking_only):
                yield from self._ranked()
            elif self.search_config.block_size is None:
                yield from self._whole()
            else:
                problem = (self.prompt, self.energy, self.langevin, self.search_config, self.writer)
                self.windows = BlockwiseRefiner(
                    *problem, given=self.drafts, note=self._note, commit=self.commit
                )
                yield from self._windows(self.windows, self.search_config.block_size)
        except (RewardUnavailableError, OutOfMemoryError) as error:
            short = isinstance(error, OutOfMemoryError)
            self.tracker.stop_reason = "out_of_memory" if short else "reward_unavailable"
            self.failure = error

    def ended(self, error: BaseException | None) -> None:
        """Called when the task has ended, with what it raised."""
        self.over, self.error = True, error

    def interrupt(self, reason: str = "interrupted") -> None:
        """Say why it went no further, if it did not."""
        if not self.over:
            self.tracker.stop_reason = reason

    def result(self) -> Refinement:
        """What was found so far; unscored, the draft as far as it is written."""
        if self.error is not None:
            raise self.error
        begun = [self.windows.draft.whole] if self.windows else [[]]
        draft = self._text((self.drafts or begun)[0])
        return self.best.refinement(draft, failure=self.failure, trace=self.trace)

    def _whole(self) -> RequestSteps[None]:
        """Chains over whole answers, each decoded and scored at every step."""
        if not self.drafts:
            wanted = [GenerationInput(self.prompt, [[] for _ in range(self.search_config.chains.num_chains)])]
            (self.drafts,), _ = yield from self.writer.write(wanted, self.tracker.max_new_tokens)
        yield from self._offer(self.drafts)
        yield from run_chains(
            self.best.energy,
            self.prompt,
            self.langevin,
            self.search_config,
            starts=[ids for ids in self.drafts if ids],
            generators=self.generators,
            tracker=self.tracker,
            watch=self._score,
        )

    def _ranked(self) -> RequestSteps[None]:
        """Whole answers, ranked: beginnings tell rewards of texts nothing, and a grammar nothing of the end.

        Within a grammar the best are then moved where it leaves room, which is inside of their strings.
        """
        bounded, tokens = self.prompt.has_grammar, self.tracker.max_new_tokens
        spare = min(_SPARE, tokens // 3) if bounded else 0  # to bring to an end what would go on
        if not self.drafts:
            count = (
                min(self.search_config.drafts.num_drafts, _BOUNDED)
                if bounded
                else self.search_config.drafts.num_drafts
            )
            rows: list[Answer] = [[] for _ in range(count)]
            (self.drafts,), _ = yield from self.writer.write(
                [GenerationInput(self.prompt, rows)], tokens - spare
            )
        ends = [self.prompt.complete(ids, spare) for ids in self.drafts]
        whole = [ids for ids in ends if ids is not None]
        found = yield from self._offer(whole or self.drafts)
        if bounded and whole and not self.energy.is_ranking_only:
            order = sorted(range(len(whole)), key=lambda row: -found[row].score)
            search_config = replace(
                self.search_config,
                chains=replace(
                    self.search_config.chains,
                    num_candidates=self.search_config.chains.num_candidates or _SUPPORT,
                    top_k=None,
                ),
            )
            yield from run_chains(
                self.best.energy,
                self.prompt,
                self.langevin,
                search_config,
                starts=[whole[row] for row in order],
                generators=self.generators,
                tracker=self.tracker,
                watch=self._score_whole,
            )

    def _score_whole(self, chains: Chains) -> RequestSteps[None]:
        """Those that several changes at once have left whole."""
        answers, gaps = chains.answers(), list[float | None]([None] * len(chains))
        whole = [row for row, ids in enumerate(answers) if self.prompt.complete(ids, 0) is not None]
        found = yield from self._offer([answers[row] for row in whole])
        for row, scored in zip(whole, found, strict=True):
            gaps[row] = -scored.score - float(chains.terms.energy[row])
        self._note(chains, gaps)

    def _score(self, chains: Chains) -> RequestSteps[None]:
        energies, found = chains.terms.energy.tolist(), (yield from self._offer(chains.answers()))
        self._note(chains, [-f.score - e for f, e in zip(found, energies, strict=True)])
        if self.best.reward_hacked:
            self.tracker.stop_requested = "max_drop"

    def _windows(self, windows: BlockwiseRefiner, length: int) -> RequestSteps[None]:
        """Chains over short windows, from which the policy then writes on."""
        try:
            yield from windows.task(length)
        except (RewardUnavailableError, OutOfMemoryError):
            yield from windows.rest()
            raise
        self.drafts = self.drafts or [windows.draft.whole]
        yield from self._offer([*self.drafts, *windows.ended])

    def _note(self, chains: Chains, gaps: Sequence[float | None] = ()) -> None:
        self.trace.append(chains.trace(gaps or [None] * len(chains)))
        if self.watch is not None:
            self.watch(self.trace[-1])

    def _offer(self, answers: list[Answer]) -> RequestSteps[list[ScoredText]]:
        return (yield from self.best.offer([self._text(ids) for ids in answers]))

    def _text(self, ids: Answer) -> str:
        text = self.energy.policy.decode(ids)
        return text[: min((at for s in self.stop if (at := text.find(s)) >= 0), default=len(text))]
