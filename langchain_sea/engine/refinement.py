"""The request of one refinement: draft, run chains, decode, score, keep the best. Knows networks by protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.engine.block_search import BlockSearch
from langchain_sea.engine.blocks import BlockwiseRefiner
from langchain_sea.engine.chains import run_chains
from langchain_sea.engine.drafting import Answer, Drafter
from langchain_sea.engine.ops import GenerationInput
from langchain_sea.engine.request import Request
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

__all__ = ["RefinementRequest"]

# With a grammar, most tokens of an answer are decided by it.
_MAX_GRAMMAR_DRAFTS = 16
_MAX_COMPLETION_TOKENS = 32  # kept free to complete drafts that the length limit cut short
_NUM_GRAMMAR_CANDIDATES = 128  # where the preset's candidates are the whole vocabulary


@dataclass(eq=False)
class RefinementRequest(Request[Refinement]):
    """One prompt on its way from draft to answer.

    Attributes:
        prompt: the prompt; energy, langevin, search_config, generators and stop are as for `refine`.
        drafts: the ids of answers that were written elsewhere; without any the policy writes the draft.
        tracker: of the budget.
        watch: called after every step.
        commit: called after every block with the answer so far, which is then final; see `BlockwiseRefiner`.
        trace: the steps so far.
        failure: why the refinement ended early, if a reward failed or memory ran out.
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
    trace: list[TraceStep] = field(init=False, default_factory=list)
    failure: Exception | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        temperature = self.search_config.drafts.temperature
        self._drafter = Drafter(self.energy.policy, temperature, self.generators, self.tracker)
        self._best = BestSoFar(self.energy, self.prompt, self.tracker)
        self._blocks: BlockwiseRefiner | None = None

    def steps(self) -> RequestSteps[Refinement]:
        """Refine the prompt. A reward that fails, or a lack of memory, ends it with what was best before."""
        block_size = self.search_config.block_size
        try:
            if self.prompt.has_grammar:
                yield from self._refine_within_grammar()
            elif block_size is None:
                yield from self._refine_answers()
            elif self.energy.is_ranking_only:  # text rewards cannot score the first tokens of an answer
                yield from self._draft(self.search_config.drafts.num_drafts)
                yield from self._offer(self.drafts)
            else:
                yield from self._refine_blocks(block_size)
        except RewardUnavailableError as error:
            self.tracker.stop_reason, self.failure = StopReason.REWARD_UNAVAILABLE, error
        except OutOfMemoryError as error:
            self.tracker.stop_reason, self.failure = StopReason.OUT_OF_MEMORY, error
        return self._result()

    def partial_result(self, reason: StopReason) -> Refinement:
        """Return the best answer so far."""
        self.tracker.stop_reason = reason
        return self._result()

    def _result(self) -> Refinement:
        """Return the best answer; where no text was scored, the draft as far as it is written."""
        drafts = self.drafts or ([self._blocks.draft.ids] if self._blocks else [[]])
        return self._best.refinement(self._decode(drafts[0]), failure=self.failure, trace=self.trace)

    def _draft(self, num_drafts: int, num_reserved: int = 0) -> RequestSteps[None]:
        """Let the policy write the drafts, unless some were given."""
        if not self.drafts:
            tokens = self.tracker.max_new_tokens - num_reserved
            empty = GenerationInput(self.prompt, [[] for _ in range(num_drafts)])
            (self.drafts,), _ = yield from self._drafter.write([empty], tokens)

    def _refine_answers(self) -> RequestSteps[None]:
        """Run chains on whole answers, each decoded and scored at every step."""
        yield from self._draft(self.search_config.chains.num_chains)
        yield from self._offer(self.drafts)
        starts = [ids for ids in self.drafts if ids]
        yield from self._run_chains(self.search_config, starts, self._score_answers)

    def _refine_within_grammar(self) -> RequestSteps[None]:
        """Rank complete answers, then run chains where the grammar leaves a choice: inside of strings."""
        num_reserved = min(_MAX_COMPLETION_TOKENS, self.tracker.max_new_tokens // 3)
        yield from self._draft(min(self.search_config.drafts.num_drafts, _MAX_GRAMMAR_DRAFTS), num_reserved)
        completed = [self.prompt.complete(ids, num_reserved) for ids in self.drafts]
        answers = [ids for ids in completed if ids is not None]
        scores = yield from self._offer(answers or self.drafts)
        if not answers or self.energy.is_ranking_only:
            return
        order = sorted(range(len(answers)), key=lambda row: -scores[row].score)
        chains = self.search_config.chains
        num_candidates = chains.num_candidates or _NUM_GRAMMAR_CANDIDATES
        search_config = replace(self.search_config, chains=replace(chains, num_candidates=num_candidates, top_k=None))
        starts = [answers[row] for row in order]
        yield from self._run_chains(search_config, starts, self._score_complete_answers)

    def _refine_blocks(self, block_size: int) -> RequestSteps[None]:
        """Run chains on one block of the answer after another."""
        search = BlockSearch(self.energy, self.langevin, self.search_config, self._drafter, self._record)
        self._blocks = BlockwiseRefiner(self.prompt, search, self.drafts, self.commit)
        try:
            yield from self._blocks.steps(block_size)
        except (RewardUnavailableError, OutOfMemoryError):
            yield from self._blocks.finish_draft()
            raise
        self.drafts = self.drafts or [self._blocks.draft.ids]
        yield from self._offer([*self.drafts, *self._blocks.finished_answers])

    def _run_chains(
        self, search_config: SearchConfig, starts: list[Answer], watch: Callable[[Chains], RequestSteps[None]]
    ) -> RequestSteps[None]:
        yield from run_chains(
            self._best.energy,
            self.prompt,
            self.langevin,
            search_config,
            starts=starts,
            generators=self.generators,
            tracker=self.tracker,
            watch=watch,
        )

    def _score_answers(self, chains: Chains) -> RequestSteps[None]:
        energies, texts = chains.state.terms.energy.tolist(), (yield from self._offer(chains.state.answers()))
        self._record(chains, [-text.score - energy for text, energy in zip(texts, energies, strict=True)])
        if self._best.reward_hacked:
            self.tracker.stop_requested = StopReason.MAX_DROP

    def _score_complete_answers(self, chains: Chains) -> RequestSteps[None]:
        """Score the answers that are still complete: several changes at once may break the grammar."""
        answers, gaps = chains.state.answers(), list[float | None]([None] * len(chains))
        rows = [row for row, ids in enumerate(answers) if self.prompt.complete(ids, 0) is not None]
        texts = yield from self._offer([answers[row] for row in rows])
        for row, text in zip(rows, texts, strict=True):
            gaps[row] = -text.score - float(chains.state.terms.energy[row])
        self._record(chains, gaps)

    def _record(self, chains: Chains, gaps: Sequence[float | None] = ()) -> None:
        self.trace.append(chains.trace(gaps or [None] * len(chains)))
        if self.watch is not None:
            self.watch(self.trace[-1])

    def _offer(self, answers: list[Answer]) -> RequestSteps[list[ScoredText]]:
        return (yield from self._best.offer([self._decode(ids) for ids in answers]))

    def _decode(self, ids: Answer) -> str:
        text = self.energy.policy.decode(ids)
        return text[: min((at for s in self.stop if (at := text.find(s)) >= 0), default=len(text))]
