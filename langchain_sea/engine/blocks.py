"""Long answers block by block: draft beginnings, rank and optimise them, continue the best, and choose one.

Every block costs the same, however long the answer before it is, because the policy keeps what it has read of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.core.terms import all_token_additive
from langchain_sea.engine.block_search import Beginnings, BlockPlan, Ends
from langchain_sea.engine.ops import PrefillOp

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        drafts: ids of whole answers, whose beginnings compete with those that are drafted here.
        finished_answers: whole answers.
        cut_by_length: for each of them, whether it ended at the limit on its length.
        is_token_additive: whether blocks follow at the shorter stride of rewards that are sums over tokens.
        stride: tokens after which the next block begins.
    """

    prompt: Prompt
    search: BlockSearch
    drafts: Sequence[Answer]
    finished_answers: list[Answer] = field(init=False, default_factory=list)
    cut_by_length: list[bool] = field(init=False, default_factory=list)
    is_token_additive: bool = field(init=False)
    stride: int = field(init=False)

    def __post_init__(self) -> None:
        continuation = self.search.search_config.continuation
        short_stride = continuation.token_additive_stride or continuation.stride
        self.is_token_additive = short_stride < continuation.stride and all_token_additive(self.search.energy.terms)
        self.stride = short_stride if self.is_token_additive else continuation.stride

    @property
    def tracker(self) -> BudgetTracker:
        """The tracker of the budget."""
        return self.search.tracker

    def steps(self, block_size: int) -> RequestSteps[None]:
        """Search block after block; then `finished_answers` holds the whole answers."""
        best: Prompt | None = self.prompt
        position = 0
        while best is not None and (plan := self._plan(position, block_size)) is not None:
            plan, beginnings = yield from self._begin_block(best, plan)
            ends = yield from self.search.continue_beginnings(best, beginnings, plan.stride)
            position = plan.end
            best = yield from self._select(best, ends, plan)

    def _plan(self, start: int, block_size: int) -> BlockPlan | None:
        """Return the plan of the next block; None if the time is over."""
        max_new_tokens = self.tracker.max_new_tokens
        num_left = max_new_tokens - start
        limit = self.tracker.exhausted_limit()
        if limit in (StopReason.SECONDS, StopReason.TIMEOUT):
            self.tracker.stop_reason = limit
            return None
        if limit is not None and start:
            return BlockPlan(start, num_left, 0, 1.0, has_chains=False)
        # what is left after this block would be too short for a block of its own
        stride = num_left if num_left <= self.stride + block_size else self.stride
        fraction = self.search.search_config.continuation.optimise_fraction
        # blocks at a short stride end with the answer, long before the length limit: all share the time alike
        if not self.is_token_additive:
            fraction = (start + fraction * stride) / max_new_tokens
        return BlockPlan(start, stride, min(block_size, stride), fraction)

    def _begin_block(self, best: Prompt, plan: BlockPlan) -> RequestSteps[tuple[BlockPlan, Beginnings]]:
        """Return the beginnings of the block that are to be continued, and the plan for that."""
        num_kept = self.search.search_config.drafts.num_kept
        if not plan.has_chains:
            return plan, Beginnings([[] for _ in range(max(1, num_kept))], 0)
        started = self.tracker.seconds
        drafted = yield from self.search.draft(best, plan)
        own = [] if best.answer else [ids[: plan.size] for ids in self.drafts]
        ranked = yield from self.search.rank(best, own + drafted.answers)
        optimised = yield from self.search.optimise(best, ranked, plan.fraction)
        if self.is_token_additive and not self._has_time_for(self.tracker.seconds - started):
            plan = plan._replace(stride=self.tracker.max_new_tokens - plan.start)
        return plan, Beginnings([*ranked[:num_kept], *optimised], drafted.unfinished_length)

    def _has_time_for(self, seconds: float) -> bool:
        """Return whether another block of so many seconds can begin; else the policy writes the rest."""
        return self.tracker.remaining(self.search.search_config.continuation.optimise_fraction) >= seconds

    def _select(self, best: Prompt, ends: Ends, plan: BlockPlan) -> RequestSteps[Prompt | None]:
        """Return the prompt with the answer to go on from, read by the policy; None if the search is over."""
        prefix = list(best.answer)
        is_last = plan.end >= self.tracker.max_new_tokens
        unfinished = [ids for ids, more in zip(ends.answers, ends.is_unfinished, strict=True) if more]
        whole = [ids for ids, more in zip(ends.answers, ends.is_unfinished, strict=True) if not more]
        self._finish([[*prefix, *ids] for ids in whole], is_cut=False)
        if ends.is_out_of_time:
            self.tracker.stop_reason = self.tracker.exhausted_limit() or StopReason.SECONDS
        if ends.is_out_of_time or not unfinished:
            return None  # an answer that the time cut short is no answer
        if is_last:
            self._finish([[*prefix, *ids] for ids in unfinished], is_cut=True)
            return None
        ranked = yield from self.search.rank(best, unfinished)
        chosen: Prompt = yield PrefillOp(self.search.energy, best, ranked[0])
        return chosen

    def _finish(self, answers: Sequence[Answer], *, is_cut: bool) -> None:
        self.finished_answers += answers
        self.cut_by_length += [is_cut] * len(answers)
