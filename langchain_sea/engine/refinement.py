"""The request of one refinement: write the draft, search, score, keep the best. Knows networks by protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.core.protocols import DraftDependent
from langchain_sea.core.terms import all_token_additive
from langchain_sea.engine.block_search import BlockSearch
from langchain_sea.engine.blocks import BlockwiseRefiner
from langchain_sea.engine.candidates import Candidates
from langchain_sea.engine.chains import run_chains
from langchain_sea.engine.companions import Companions, make_companions
from langchain_sea.engine.draft_writer import DraftWriter
from langchain_sea.engine.drafting import Answer, Drafter
from langchain_sea.engine.lateness import find_time_limit, stop_when_late
from langchain_sea.engine.latent_refiner import LatentRefiner
from langchain_sea.engine.planning import PlanReport, make_plan_report
from langchain_sea.engine.request import Request
from langchain_sea.engine.selection import BestSoFar, Refinement
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError
from langchain_sea.plans import describe_no_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.chains import Chains
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.reasoning import ReasoningConfig
    from langchain_sea.plans import SearchPlan
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin

__all__ = ["RefinementRequest"]

# With a grammar, most tokens of an answer are decided by it.
_MAX_GRAMMAR_DRAFTS = 16
_NUM_GRAMMAR_CANDIDATES = 128  # where the preset's candidates are the whole vocabulary
_NUM_FITTED_DRAFTS = 16  # for rewards that are fitted to the drafts of a prompt


@dataclass(eq=False)
class RefinementRequest(Request[Refinement]):
    """One prompt on its way from draft to answer.

    The policy's own answer, the draft, is written to its end before anything else.

    Attributes:
        prompt: the prompt; energy, langevin, search_config, generators and stop are as for `refine`.
        drafts: the ids of answers that were written elsewhere; without any the policy writes the draft.
        tracker: of the budget.
        watch: called after every step.
        on_plan: called when the draft is written, and at the beginning of every further window.
        commit: called after every window or block with the answer so far, which is then final.
        reasoning: how the policy marks reasoning, which is then left as it wrote it: the answer behind it is refined,
            scored and returned. None takes reasoning for a part of the answer.
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
    on_plan: Callable[[PlanReport], None] | None = None
    commit: Callable[[Answer], None] | None = None
    reasoning: ReasoningConfig | None = None
    trace: list[TraceStep] = field(init=False, default_factory=list)
    failure: Exception | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.policy = self.energy.policy
        if self.search_config.plan is not None:  # the answer must not depend on the speed of the machine
            self.tracker.budget = replace(self.tracker.budget, max_time=None)
        temperature = self.search_config.drafts.temperature
        self._drafter = Drafter(self.energy.policy, temperature, self.generators, self.tracker)
        self._candidates = Candidates(BestSoFar(self.energy, self.prompt, self.tracker), self.stop)
        self._plan: str | None = None
        companions = self._make_companions()
        self._writer = DraftWriter(self.prompt, self._drafter, self._candidates, self.reasoning, companions)

    def steps(self) -> RequestSteps[Refinement]:
        """Refine the prompt. If memory runs out or a reward fails, unless for lack of time, the draft is returned."""
        self.tracker.start()
        try:
            yield from self._write_draft()
            self.tracker.start_refinement()
            if self.tracker.is_timed_out:
                self.tracker.stop_reason = StopReason.TIMEOUT
                self._report_plan(None)
            else:
                yield from self._refine()
        except RewardUnavailableError as error:
            limit = find_time_limit(error, self.tracker) if self._candidates.best.draft else None
            self.tracker.stop_reason, self.failure = limit or StopReason.REWARD_UNAVAILABLE, None if limit else error
        except OutOfMemoryError as error:
            self.tracker.stop_reason, self.failure = StopReason.OUT_OF_MEMORY, error
        return self._result()

    def _refine(self) -> RequestSteps[None]:
        """Search for a better answer than the draft, in the way that the prompt, the preset and the rewards need."""
        if self._uses_latents:
            yield from self._refine_by_latents()
            return
        block_size = self.search_config.block_size
        self._report_plan(None, is_planned=False)
        if self.prompt.has_grammar:
            yield from self._refine_within_grammar()
        elif block_size is None:
            yield from self._refine_answers()
        elif self.energy.is_ranking_only:  # text rewards cannot score the first tokens of an answer
            yield from self._rank_answers()
        else:
            yield from self._refine_blocks(block_size)

    @property
    def _uses_latents(self) -> bool:
        """Whether the search moves latents."""
        config = self.search_config
        if config.latent is None or config.block_size is None or self.prompt.has_grammar:
            return False
        return not all_token_additive(self.energy.terms)

    def partial_result(self, reason: StopReason) -> Refinement:
        """Return the best answer so far; of a draft that is not complete, its beginning."""
        self.tracker.stop_reason = reason
        draft = None if self.drafts else self._writer.partial_draft(self.generations)
        if draft is not None:
            self.drafts = [draft]
        return self._result()

    def _result(self) -> Refinement:
        """Return the best answer; where no text was scored, the draft."""
        draft = self._candidates.decode(self.drafts[0]) if self.drafts else ""
        refinement = self._candidates.best.refinement(
            draft, failure=self.failure, trace=self.trace, plan=self._plan, cut_texts=self._candidates.cut_texts
        )
        reasoning = self._writer.reasoning_ids
        text = self.energy.policy.decode(reasoning) if reasoning else None
        return refinement._replace(reasoning=text, reasoning_tokens=len(reasoning))

    def _write_draft(self) -> RequestSteps[None]:
        """Let the policy write its own answer, unless drafts were given; nothing but the call's limit cuts it.

        Chains on whole answers start from several drafts, which are written together.
        """
        if self.drafts:
            for ids in self.drafts:
                if len(ids) >= self.tracker.max_new_tokens:
                    self._candidates.note_cut(ids)
            return
        is_for_chains = self.search_config.block_size is None and not self.prompt.has_grammar
        num_drafts = self.search_config.chains.num_chains if is_for_chains else 1
        self.drafts = yield from self._writer.write_drafts(num_drafts)
        if self._writer.reasoning_ids:
            self.prompt = self._writer.prompt
            self._candidates.best = BestSoFar(self.energy, self.prompt, self.tracker)

    def _make_companions(self) -> Companions | None:
        config = self.search_config.latent
        thinks = self.reasoning is not None and self.reasoning.is_open
        if config is None or config.companions is None or not self._uses_latents or self.drafts or thinks:
            return None
        return make_companions(config.companions, self._drafter, self.energy)

    def _refine_answers(self) -> RequestSteps[None]:
        """Run chains on whole answers, each decoded and scored at every step."""
        yield from self._candidates.offer(self.drafts)
        starts = [ids for ids in self.drafts if ids]
        yield from self._run_chains(self.search_config, starts, self._score_answers)

    def _rank_answers(self) -> RequestSteps[None]:
        """Rank whole answers. Those that the time limit cuts do not count."""
        yield from self._candidates.offer(self.drafts)
        count = self.search_config.drafts.num_drafts - len(self.drafts)
        if count > 0 and self.tracker.exhausted_limit() is None:
            written, has_ended = yield from self._writer.write_answers(count)
            longest = self.tracker.max_new_tokens
            whole = [(ids, not end) for ids, end in zip(written, has_ended, strict=True) if end or len(ids) == longest]
            yield from self._candidates.offer_shortened([ids for ids, _ in whole], [is_cut for _, is_cut in whole])
        self.tracker.stop_reason = self.tracker.exhausted_limit() or StopReason.STEPS

    def _refine_within_grammar(self) -> RequestSteps[None]:
        """Rank complete answers, then run chains where the grammar leaves a choice: inside of strings."""
        num_drafts = min(self.search_config.drafts.num_drafts, _MAX_GRAMMAR_DRAFTS)
        written: list[Answer] = []
        if len(self.drafts) < num_drafts and self.tracker.exhausted_limit() is None:
            written, _ = yield from self._writer.write_answers(num_drafts - len(self.drafts))
        completed = [self.prompt.complete(ids, 0) for ids in [*self.drafts, *written]]
        answers = [ids for ids in completed if ids is not None]
        if completed[0] is None:
            self._candidates.cut_texts.add(self._candidates.decode(self.drafts[0]))
        scores = yield from self._candidates.offer(answers or self.drafts[:1])
        if not answers or self.energy.is_ranking_only:
            return
        order = sorted(range(len(answers)), key=lambda row: -scores[row].score)
        chains = self.search_config.chains
        num_candidates = chains.num_candidates or _NUM_GRAMMAR_CANDIDATES
        search_config = replace(self.search_config, chains=replace(chains, num_candidates=num_candidates, top_k=None))
        starts = [answers[row] for row in order]
        yield from self._run_chains(search_config, starts, self._score_complete_answers)

    def _refine_by_latents(self) -> RequestSteps[None]:
        """Draw under latents, window after window."""
        more: list[Answer] = []
        if any(term.normalize == "drafts" or isinstance(term.reward, DraftDependent) for term in self.energy.terms):
            written, has_ended = yield from self._writer.write_answers(_NUM_FITTED_DRAFTS)
            more = [ids for ids, ended in zip(written, has_ended, strict=True) if ended]
        yield from self._candidates.offer([*self.drafts, *more])
        if (yield from self._has_nothing_to_gain()):
            self.tracker.stop_reason = StopReason.DRAFT_IS_GOOD
            self._plan = describe_no_plan("no answer beside the draft is better by more than the rewards' own noise")
            self._report_plan(None, is_planned=False)
            return
        refiner = LatentRefiner(
            prompt=self.prompt,
            draft=self.drafts[0],
            best=self._candidates.best,
            search_config=self.search_config,
            drafter=self._drafter,
            offer=self._candidates.offer_shortened,
            best_ids=self._candidates.best_ids,
            record=self._record_step,
            report_plan=self._report_plan,
            commit=self.commit,
        )
        try:
            yield from refiner.steps()
        finally:
            self._plan = refiner.plan_reason

    def _has_nothing_to_gain(self) -> RequestSteps[bool]:
        """Offer the companions; return whether they show that the draft cannot be improved."""
        companions = self._writer.companions
        if companions is None:
            return False
        return bool((yield from stop_when_late(companions.offer(self.prompt, self._candidates), self.tracker)))

    def _refine_blocks(self, block_size: int) -> RequestSteps[None]:
        """Run chains on one block of the answer after another."""
        search = BlockSearch(self.energy, self.langevin, self.search_config, self._drafter, self._record)
        blocks = BlockwiseRefiner(self.prompt, search, self.drafts)
        yield from blocks.steps(block_size)
        yield from self._candidates.offer(self.drafts)
        yield from self._candidates.offer_shortened(blocks.finished_answers, blocks.cut_by_length)

    def _run_chains(
        self, search_config: SearchConfig, starts: list[Answer], watch: Callable[[Chains], RequestSteps[None]]
    ) -> RequestSteps[None]:
        yield from run_chains(
            self._candidates.best.energy,
            self.prompt,
            self.langevin,
            search_config,
            starts=starts,
            generators=self.generators,
            tracker=self.tracker,
            watch=watch,
        )

    def _score_answers(self, chains: Chains) -> RequestSteps[None]:
        texts = yield from self._candidates.offer(chains.state.answers())
        energies = chains.state.terms.energy.tolist()
        self._record(chains, [-text.score - energy for text, energy in zip(texts, energies, strict=True)])
        if self._candidates.best.reward_hacked:
            self.tracker.stop_requested = StopReason.MAX_DROP

    def _score_complete_answers(self, chains: Chains) -> RequestSteps[None]:
        """Score the answers that are still complete: several changes at once may break the grammar."""
        answers, gaps = chains.state.answers(), list[float | None]([None] * len(chains))
        rows = [row for row, ids in enumerate(answers) if self.prompt.complete(ids, 0) is not None]
        texts = yield from self._candidates.offer([answers[row] for row in rows])
        for row, text in zip(rows, texts, strict=True):
            gaps[row] = -text.score - float(chains.state.terms.energy[row])
        self._record(chains, gaps)

    def _record(self, chains: Chains, gaps: Sequence[float | None] = ()) -> None:
        self._record_step(chains.trace(gaps or [None] * len(chains)))

    def _report_plan(self, plan: SearchPlan | None, *, is_planned: bool = True) -> None:
        if self.on_plan is not None:
            self.on_plan(make_plan_report(self.tracker, plan, is_planned=is_planned))

    def _record_step(self, step: TraceStep) -> None:
        self.trace.append(step)
        if self.watch is not None:
            self.watch(step)
