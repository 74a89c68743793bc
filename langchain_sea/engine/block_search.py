"""The steps of one block of a long answer: draft beginnings, rank them, run chains, continue the best ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.engine.chains import run_chains
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp
from langchain_sea.engine.steered_drafts import first_tokens, make_steering, steering_coefficients

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

__all__ = ["Beginnings", "BlockPlan", "BlockSearch", "PartialAnswer"]


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
    coefficients: Sequence[float] = ()  # multiples of the steering vector, one for each drafted beginning


@dataclass(slots=True)
class PartialAnswer:
    """An answer as far as it is written.

    Attributes:
        prompt: the prompt, which holds the ids of all blocks before the current one.
        new_ids: the ids of the current block.
        is_unfinished: whether the answer goes on.
    """

    prompt: Prompt
    new_ids: Answer = field(default_factory=list)
    is_unfinished: bool = True

    @property
    def ids(self) -> Answer:
        """All ids of the answer."""
        return [*self.prompt.answer, *self.new_ids]


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

    def draft(self, best: PartialAnswer, own: PartialAnswer, plan: BlockPlan) -> RequestSteps[Beginnings]:
        """Return beginnings of the block, written by the policy; the first one is the draft in the first block."""
        config, is_first = self.search_config, not best.prompt.answer
        num_rows = max(config.drafts.num_drafts, config.chains.num_chains)
        coefficients = steering_coefficients(self.energy, config.drafts.steering_coeffs, num_rows)
        first = yield from first_tokens(self.energy, best.prompt, coefficients)
        steering = make_steering(self.energy, coefficients)
        inputs = [GenerationInput(best.prompt, first, steering)]
        if own.is_unfinished and not is_first:
            inputs.append(GenerationInput(own.prompt, [[]]))
        written, is_cut = yield from self.drafter.write(inputs, plan.size, plan.fraction)
        # with its first token given, a beginning has one token more than the others
        answers = [[*start, *ids][: plan.size] for start, ids in zip(first, written[0], strict=True)]
        # answers that the time limit cut short are the longest ones
        unfinished_length = max(map(len, answers)) if is_cut else plan.size
        if own.is_unfinished:
            own.new_ids = answers[0] if is_first else written[1][0]
            own.is_unfinished = len(own.new_ids) >= unfinished_length
        return Beginnings(answers, unfinished_length, coefficients)

    def rank(self, best: PartialAnswer, answers: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """Return the distinct answers that are not empty, the one with the lowest energy first, NaN last."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, answers)) if ids]
        self.tracker.evaluations += len(distinct)
        if not distinct:
            return []
        prefixes = [[*best.prompt.answer, *ids] for ids in distinct]
        self.energy, values = yield ScorePrefixesOp(self.energy, best.prompt, prefixes)
        energies = [math.inf if math.isnan(value) else value for value in values.tolist()]
        return [ids for _, ids in sorted(zip(energies, distinct, strict=True), key=itemgetter(0))]

    def optimise(self, best: PartialAnswer, ranked: list[Answer], fraction: float) -> RequestSteps[list[Answer]]:
        """Run chains from the best beginnings; return what each had at its lowest energy, the lowest first."""
        lowest: dict[int, tuple[float, Answer]] = {}  # by the number of the chain
        yield from run_chains(
            self.energy,
            best.prompt,
            self.langevin,
            self.search_config,
            starts=ranked,
            generators=self.drafter.generators,
            tracker=self.tracker,
            watch=partial(self._record_lowest, lowest),
            fraction=fraction,
        )
        return [ids for _, ids in sorted(lowest.values(), key=itemgetter(0))]

    def continue_beginnings(
        self, best: PartialAnswer, own: PartialAnswer, beginnings: Beginnings, stride: int
    ) -> RequestSteps[list[Answer]]:
        """Write the beginnings to the end of the block; return them, those that had ended unchanged."""
        config = self.search_config.continuation
        is_unfinished = [len(ids) >= beginnings.unfinished_length for ids in beginnings.answers]
        unfinished = [ids for ids, goes_on in zip(beginnings.answers, is_unfinished, strict=True) if goes_on]
        own_ids = [own.new_ids] if own.is_unfinished else []
        inputs = [
            GenerationInput(own.prompt, own_ids),
            GenerationInput(best.prompt, unfinished, temperature_scale=config.temperature_scale),
        ]
        longest = max(map(len, unfinished + own_ids), default=0)
        (own_rest, rests), _ = yield from self.drafter.write(inputs, stride - longest)
        if own_ids:
            own.new_ids = own.new_ids + own_rest[0]
        own.is_unfinished = own.is_unfinished and len(own.new_ids) >= stride
        rest = iter(rests)
        pairs = zip(beginnings.answers, is_unfinished, strict=True)
        return [ids + next(rest) if goes_on else ids for ids, goes_on in pairs]

    def _record_lowest(self, lowest: dict[int, tuple[float, Answer]], chains: Chains) -> RequestSteps[None]:
        state = chains.state
        for number, energy, ids in zip(state.numbers, state.terms.energy.tolist(), state.answers(), strict=True):
            lowest[number] = min(lowest.get(number, (energy, ids)), (energy, ids), key=itemgetter(0))
        self.record(chains)
        yield from ()
