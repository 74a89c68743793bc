"""Long answers block by block: draft beginnings, rank and optimise them, continue the best, and choose one.

Every block costs the same, however long the answer before it is, because the policy keeps what it has read of it.
Two answers grow side by side: the draft, which nothing steers, and the best answer so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.core.terms import all_token_additive
from langchain_sea.engine.block_search import Beginnings, BlockPlan, PartialAnswer
from langchain_sea.engine.ops import GenerationInput, PrefillOp
from langchain_sea.engine.steered_drafts import best_of_each_sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.block_search import BlockSearch
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["BlockwiseRefiner"]


@dataclass
class BlockwiseRefiner:
    """The search for one prompt's answer, block by block.

    Attributes:
        prompt: the prompt.
        search: the steps of a block.
        external_drafts: ids of answers that were written elsewhere; without any, the policy writes the draft.
        commit: called after every block with the ids of the answer so far, which is then final; the draft goes on
            from there, too. None: the draft is the policy's own from start to end.
        draft: the policy's own answer, as far as it is written.
        finished_answers: answers that ended by themselves or at the length limit.
        is_token_additive: whether blocks follow at the shorter stride of rewards that are sums over tokens.
        stride: tokens after which the next block begins.
    """

    prompt: Prompt
    search: BlockSearch
    external_drafts: list[Answer]
    commit: Callable[[Answer], None] | None = None
    draft: PartialAnswer = field(init=False)
    finished_answers: list[Answer] = field(init=False, default_factory=list)
    is_token_additive: bool = field(init=False)
    stride: int = field(init=False)

    def __post_init__(self) -> None:
        self.draft = PartialAnswer(self.prompt, is_unfinished=not self.external_drafts)
        continuation = self.search.search_config.continuation
        short_stride = continuation.token_additive_stride or continuation.stride
        # committed text cannot be changed any more, so that it is committed in long blocks
        self.is_token_additive = (
            self.commit is None and short_stride < continuation.stride and all_token_additive(self.search.energy.terms)
        )
        self.stride = short_stride if self.is_token_additive else continuation.stride

    @property
    def tracker(self) -> BudgetTracker:
        """The tracker of the budget."""
        return self.search.tracker

    def steps(self, block_size: int) -> RequestSteps[None]:
        """Search block after block; then `draft` and `finished_answers` hold the answers."""
        best: PartialAnswer | None = PartialAnswer(self.prompt)
        position = 0
        while best is not None:
            plan = self._plan(position, block_size)
            if plan is None:
                self.finished_answers.append(best.ids)
                return
            plan, beginnings = yield from self._begin_block(best, plan)
            ends = yield from self.search.continue_beginnings(best, self.draft, beginnings, plan.stride)
            position = plan.end
            best = yield from self._select(best, ends, plan)

    def finish_draft(self) -> RequestSteps[None]:
        """Write the draft to its end."""
        if self.draft.is_unfinished:
            num_left = self.tracker.max_new_tokens - len(self.draft.ids)
            inputs = [GenerationInput(self.draft.prompt, [self.draft.new_ids])]
            ((new_ids,),), _ = yield from self.search.drafter.write(inputs, num_left)
            self.draft.new_ids, self.draft.is_unfinished = self.draft.new_ids + new_ids, False

    def _plan(self, start: int, block_size: int) -> BlockPlan | None:
        """Return the plan of the next block; None if the time is over."""
        max_new_tokens = self.tracker.max_new_tokens
        num_left = max_new_tokens - start
        limit = self.tracker.exhausted_limit() if start else None
        if limit == StopReason.SECONDS:
            return None
        if limit is not None:
            return BlockPlan(start, num_left, 0, 1.0, has_chains=False)
        # what is left after this block would be too short for a block of its own
        stride = num_left if num_left <= self.stride + block_size else self.stride
        fraction = self.search.search_config.continuation.optimise_fraction
        # blocks at a short stride end with the answer, long before the length limit: all share the time alike
        if not self.is_token_additive:
            fraction = (start + fraction * stride) / max_new_tokens
        return BlockPlan(start, stride, min(block_size, stride), fraction)

    def _begin_block(self, best: PartialAnswer, plan: BlockPlan) -> RequestSteps[tuple[BlockPlan, Beginnings]]:
        """Return the beginnings of the block that are to be continued, and the plan for that."""
        if not plan.has_chains:
            num_rows = max(1, self.search.search_config.drafts.num_kept)
            return plan, Beginnings([[] for _ in range(num_rows)], 0)
        started = self.tracker.seconds
        drafted = yield from self.search.draft(best, self.draft, plan)
        external = [] if best.prompt.answer else [ids[: plan.size] for ids in self.external_drafts]
        ranked = yield from self.search.rank(best, external + drafted.answers)
        optimised = yield from self.search.optimise(best, ranked, plan.fraction)
        by_answer = dict(zip(map(tuple, drafted.answers), drafted.coefficients, strict=True))
        best_drafts = best_of_each_sign(ranked, by_answer, self.search.search_config.drafts.num_kept)
        if self.is_token_additive and not self._has_time_for(self.tracker.seconds - started):
            plan = plan._replace(stride=self.tracker.max_new_tokens - plan.start)
        return plan, Beginnings([*best_drafts, *optimised], drafted.unfinished_length)

    def _has_time_for(self, seconds: float) -> bool:
        """Return whether another block of so many seconds can begin; else the policy writes the rest."""
        return self.tracker.remaining(self.search.search_config.continuation.optimise_fraction) >= seconds

    def _select(self, best: PartialAnswer, ends: list[Answer], plan: BlockPlan) -> RequestSteps[PartialAnswer | None]:
        """Return the answer to go on from, read by the policy; None if the search is over."""
        if self.commit is not None:
            ends = (yield from self.search.rank(best, [*ends, *self._same_block_of_draft(best)]))[:1]
            self.commit([*best.ids, *(ends[0] if ends else [])])
        unfinished = [ids for ids in ends if len(ids) >= plan.stride]
        is_time_over = self.tracker.exhausted_limit() == StopReason.SECONDS
        if plan.end >= self.tracker.max_new_tokens or not unfinished or is_time_over:
            self.finished_answers += [[*best.ids, *ids] for ids in ends]
            return None
        self.finished_answers += [[*best.ids, *ids] for ids in ends if len(ids) < plan.stride]
        ranked = yield from self.search.rank(best, unfinished)
        chosen = PartialAnswer((yield PrefillOp(self.search.energy, best.prompt, ranked[0])))
        if self.commit is not None:
            self.draft = PartialAnswer(chosen.prompt)
        elif self.draft.is_unfinished:
            self.draft = PartialAnswer((yield PrefillOp(self.search.energy, self.draft.prompt, self.draft.new_ids)))
        return chosen

    def _same_block_of_draft(self, best: PartialAnswer) -> list[Answer]:
        """Return the draft's ids of this block, if the text before it is that of the best answer."""
        is_same = list(self.draft.prompt.answer) == list(best.prompt.answer)
        return [self.draft.new_ids] if is_same and self.draft.new_ids else []
