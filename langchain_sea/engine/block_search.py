"""The steps of one block of a long answer: draft beginnings, rank them, run chains, continue the best ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.engine.chains import run_chains
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.chains import Chains
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin

__all__ = ["Beginnings", "BlockPlan", "BlockSearch", "Ends"]


class BlockPlan(NamedTuple):
    """What happens in one block."""

    start: int  # tokens of the answer before the block
    stride: int  # tokens after which the next block begins
    size: int  # tokens that the chains move
    fraction: float  # of the budget's time that may be over when the chains end
    has_chains: bool = True  # False if a limit is reached: the policy only continues the answer

    @property
    def end(self) -> int:
        """Tokens of the answer after the block."""
        return self.start + self.stride


class Beginnings(NamedTuple):
    """The first tokens of a block, to be continued."""

    answers: list[Answer]
    unfinished_length: int  # an answer of at least so many tokens goes on; a shorter one has ended


class Ends(NamedTuple):
    """Beginnings that were written to the end of the block."""

    answers: list[Answer]
    is_unfinished: list[bool]  # whether each goes on
    is_out_of_time: bool  # whether the time limit cut short those that go on


@dataclass
class BlockSearch:
    """The steps of a block. Each reads the answers it is given; only `energy` changes.

    Attributes:
        energy: what is minimised. Its scales may be fitted by the first beginnings that are ranked.
        langevin: how the chains move.
        search_config: the numbers of drafts and chains.
        drafter: writes for the policy, and holds the tracker of the budget.
        record: called after every evaluation of chains.
    """

    energy: Energy
    langevin: Langevin
    search_config: SearchConfig
    drafter: Drafter
    record: Callable[[Chains], None]

    @property
    def tracker(self) -> BudgetTracker:
        """The tracker of the budget."""
        return self.drafter.tracker

    def draft(self, best: Prompt, plan: BlockPlan) -> RequestSteps[Beginnings]:
        """Return beginnings of the block, written by the policy after the answer that the prompt holds."""
        config = self.search_config
        num_rows = max(config.drafts.num_drafts, config.chains.num_chains)
        inputs = [GenerationInput(best, [[] for _ in range(num_rows)])]
        (answers,), (goes_on,), is_cut = yield from self.drafter.write(inputs, plan.size, plan.fraction)
        if not is_cut:
            return Beginnings(answers, plan.size)
        # where memory was short, a later pass may have been cut before the others: what is shorter has then not ended
        longest = max(map(len, answers))
        kept = [ids for ids, more in zip(answers, goes_on, strict=True) if not more or len(ids) == longest]
        return Beginnings(kept, longest)

    def rank(self, best: Prompt, answers: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """Return the distinct answers that are not empty, the one with the lowest energy first, NaN last."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, answers)) if ids]
        self.tracker.evaluations += len(distinct)
        if not distinct:
            return []
        prefixes = [[*best.answer, *ids] for ids in distinct]
        self.energy, terms = yield ScorePrefixesOp(self.energy, best, prefixes)
        energies = [math.inf if math.isnan(value) else value for value in terms.energy.tolist()]
        return [ids for _, ids in sorted(zip(energies, distinct, strict=True), key=itemgetter(0))]

    def optimise(self, best: Prompt, ranked: list[Answer], fraction: float) -> RequestSteps[list[Answer]]:
        """Run chains from the best beginnings; return what each had at its lowest energy, the lowest first."""
        lowest: dict[int, tuple[float, Answer]] = {}  # by the number of the chain
        yield from run_chains(
            self.energy,
            best,
            self.langevin,
            self.search_config,
            starts=ranked,
            generators=self.drafter.generators,
            tracker=self.tracker,
            watch=partial(self._record_lowest, lowest),
            fraction=fraction,
        )
        return [ids for _, ids in sorted(lowest.values(), key=itemgetter(0))]

    def continue_beginnings(self, best: Prompt, beginnings: Beginnings, stride: int) -> RequestSteps[Ends]:
        """Write the beginnings to the end of the block; those that had ended stay as they are."""
        goes_on = [len(ids) >= beginnings.unfinished_length for ids in beginnings.answers]
        unfinished = [ids for ids, more in zip(beginnings.answers, goes_on, strict=True) if more]
        if not unfinished:
            return Ends(beginnings.answers, goes_on, is_out_of_time=False)
        scale = self.search_config.continuation.temperature_scale
        inputs = [GenerationInput(best, unfinished, temperature_scale=scale)]
        num_new = stride - max(map(len, unfinished))
        (written,), (are_unfinished,), is_cut = yield from self.drafter.write(inputs, num_new)
        rest = iter(zip(written, are_unfinished, strict=True))
        ends = [next(rest) if more else ([], False) for more in goes_on]
        answers = [[*ids, *new_ids] for ids, (new_ids, _) in zip(beginnings.answers, ends, strict=True)]
        return Ends(answers, [more for _, more in ends], is_cut)

    def _record_lowest(self, lowest: dict[int, tuple[float, Answer]], chains: Chains) -> RequestSteps[None]:
        state = chains.state
        for number, energy, ids in zip(state.numbers, state.terms.energy.tolist(), state.answers(), strict=True):
            lowest[number] = min(lowest.get(number, (energy, ids)), (energy, ids), key=itemgetter(0))
        self.record(chains)
        yield from ()
