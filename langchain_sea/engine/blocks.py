"""Long answers a window at a time: begin, rank, move, write on, and go on from the best. Knows no text.

Every window costs the same, whatever stands before it: the policy keeps what it has read of the answer. One
strand is the draft, which nothing steers and which is written along; the other is the best so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

import torch

from langchain_sea.budget import StopReason
from langchain_sea.core.protocols import Steering
from langchain_sea.core.terms import all_token_additive, find_steering_vector
from langchain_sea.engine.drafting import GenerationInput
from langchain_sea.engine.ops import ForwardOp, PrefillOp, ScorePrefixesOp
from langchain_sea.engine.run_chains import run_chains

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.chains import Chains
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin


Ranked = tuple[float, "Answer"]
"""A beginning behind its energy."""


@dataclass(slots=True)
class PartialAnswer:
    """An answer as far as it is written: `prompt` has all of it but `new`."""

    prompt: Prompt
    new: Answer = field(default_factory=list)
    goes_on: bool = True

    @property
    def whole(self) -> Answer:
        """All of it."""
        return [*self.prompt.answer, *self.new]


@dataclass
class BlockwiseRefiner:
    """One prompt's strands.

    Attributes:
        prompt: the prompt, energy, method and window, as for `run_chains`.
        given: answers that were written elsewhere; where there are none the policy's own is the draft.
        note: called after every evaluation of chains.
        commit: called after every window with the answer so far, which stands from then on: the draft goes on
            from there, too. None: the draft is the policy's from start to end.
        draft: the policy's own, as far as it is written.
        short: whether the windows are those of rewards that add up over tokens.
        ended: whole answers that ended by themselves, or stood at the end.
    """

    prompt: Prompt
    energy: Energy
    langevin: Langevin
    search_config: SearchConfig
    writer: Drafter
    given: list[Answer]
    note: Callable[[Chains], None]
    commit: Callable[[Answer], None] | None = None
    draft: PartialAnswer = field(init=False)
    short: bool = field(init=False, default=False)
    ended: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draft = PartialAnswer(self.prompt, goes_on=not self.given)
        stride = (
            self.search_config.continuation.token_additive_stride or self.search_config.continuation.stride
        )
        # what leaves on the way leaves in long parts
        if (
            self.commit is None
            and stride < self.search_config.continuation.stride
            and all_token_additive(self.energy.terms)
        ):
            self.search_config, self.short = (
                replace(
                    self.search_config, continuation=replace(self.search_config.continuation, stride=stride)
                ),
                True,
            )

    @property
    def tracker(self) -> BudgetTracker:
        """What is spent."""
        return self.writer.tracker

    def task(self, length: int) -> RequestSteps[None]:
        """Window after window of `length` tokens; then `draft` and `ended` hold the answers."""
        best, tokens, at = PartialAnswer(self.prompt), self.tracker.max_new_tokens, 0
        while True:
            room = tokens - at
            # a rest too short for a window of its own belongs to this one
            reach = (
                room
                if room <= self.search_config.continuation.stride + length
                else self.search_config.continuation.stride
            )
            late = self.tracker.exhausted_limit() if at else None
            if late == StopReason.SECONDS:
                self.ended.append(best.whole)
                return
            if late is None:
                began = self.tracker.seconds
                # short ones end with the answer, long before all tokens: they share the seconds as they come
                share = (
                    self.search_config.continuation.optimise_fraction
                    if self.short
                    else (at + self.search_config.continuation.optimise_fraction * reach) / tokens
                )
                starts, unfinished = yield from self._moves(best, min(length, reach), share)
                if (
                    self.short
                    and self.tracker.remaining(self.search_config.continuation.optimise_fraction)
                    < self.tracker.seconds - began
                ):
                    reach = room  # no time for another one like it: the policy writes the rest
            else:  # no step may begin: the policy writes the rest
                reach, unfinished = room, 0
                starts = [[] for _ in range(max(1, self.search_config.drafts.num_kept))]
            ends = yield from self._finish(best, starts, unfinished, reach)
            at += reach
            if self.commit is not None:
                ends = (yield from self._ranked(best, [*ends, *self._beside(best)]))[:1]
                self.commit([*best.whole, *(ends[0] if ends else [])])
            live = [ids for ids in ends if len(ids) >= reach]
            if at >= tokens or not live or self.tracker.exhausted_limit() == StopReason.SECONDS:
                self.ended += [[*best.whole, *ids] for ids in ends]
                return
            self.ended += [[*best.whole, *ids] for ids in ends if len(ids) < reach]
            ranked = yield from self._ranked(best, live)
            best = PartialAnswer((yield PrefillOp(self.energy, best.prompt, ranked[0])))
            if self.commit is not None:
                self.draft = PartialAnswer(best.prompt)
            elif self.draft.goes_on:
                prompt = yield PrefillOp(self.energy, self.draft.prompt, self.draft.new)
                self.draft = PartialAnswer(prompt)

    def rest(self) -> RequestSteps[None]:
        """The draft written to its end, whatever became of the windows."""
        if self.draft.goes_on:
            room = self.tracker.max_new_tokens - len(self.draft.whole)
            wanted = [GenerationInput(self.draft.prompt, [self.draft.new])]
            ((rest,),), _ = yield from self.writer.write(wanted, room)
            self.draft.new, self.draft.goes_on = self.draft.new + rest, False

    def _moves(
        self, best: PartialAnswer, length: int, share: float
    ) -> RequestSteps[tuple[list[Answer], int]]:
        """Beginnings of this window to write on from, and the length of one that has not ended by itself."""
        first, rows = (
            not best.prompt.answer,
            max(self.search_config.drafts.num_drafts, self.search_config.chains.num_chains),
        )
        shares = self._shares(rows)
        openers = yield from self._openers(best, shares)
        wanted = [GenerationInput(best.prompt, openers, self._push(shares))]
        if self.draft.goes_on and not first:
            wanted.append(GenerationInput(self.draft.prompt, [[]]))
        written, cut = yield from self.writer.write(wanted, length, share)
        # one that has an opener has a token more than was asked for
        begun = [[*opener, *ids][:length] for opener, ids in zip(openers, written[0], strict=True)]
        # the rows that the clock cut off are the longest ones
        unfinished = max(map(len, begun)) if cut else length
        if self.draft.goes_on:
            self.draft.new = begun[0] if first else written[1][0]
            self.draft.goes_on = len(self.draft.new) >= unfinished
        given = [ids[:length] for ids in self.given] if first else []
        found = yield from self._energies(best, given + begun)
        ranked = [ids for _, ids in found]
        lowest: dict[int, tuple[float, Answer]] = {}  # chain → its lowest energy and the tokens there
        yield from run_chains(
            self.energy,
            best.prompt,
            self.langevin,
            self.search_config,
            starts=ranked,
            generators=self.writer.generators,
            tracker=self.tracker,
            watch=partial(self._watch, lowest),
            share=share,
        )
        moved = [ids for _, ids in sorted(lowest.values(), key=itemgetter(0))]
        return [*self._kept(ranked, dict(zip(map(tuple, begun), shares, strict=True))), *moved], unfinished

    def _beside(self, best: PartialAnswer) -> list[Answer]:
        """This window of the draft, where that goes on from the same text."""
        same = list(self.draft.prompt.answer) == list(best.prompt.answer)
        return [self.draft.new] if same and self.draft.new else []

    def _shares(self, rows: int) -> list[float]:
        """How far along a reward's axis each beginning is drafted: the first, half of `drafts`, not at all."""
        offsets = self.search_config.drafts.steering_coeffs
        if find_steering_vector(self.energy.terms) is None or not offsets:
            return [0.0] * rows
        return [0.0] * (rows - rows // 2) + [offsets[i % len(offsets)] for i in range(rows)]

    def _openers(self, best: PartialAnswer, shares: list[float]) -> RequestSteps[list[Answer]]:
        """What each beginning starts with: on each side of the axis the n-th with the n-th likeliest token.

        Along the axis the policy goes on as it would after such a token, but it would hardly ever draw most of them.
        """
        openers: list[Answer] = [[] for _ in shares]
        sides = [[row for row, s in enumerate(shares) if s * side > 0] for side in (1, -1)]
        if not any(sides):
            return openers
        policy = self.energy.policy
        reading = yield ForwardOp(policy, best.prompt, [[*best.prompt.answer, 0]])
        here = torch.tensor([[0]], device=policy.device)
        likely = reading.candidates(here, max(map(len, sides)) + 1, policy.banned)[0][0, 0, 1:].tolist()
        for rows in sides:
            for row, token in zip(rows, likely, strict=False):  # a small vocabulary has fewer
                openers[row] = [token]
        return openers

    def _kept(self, ranked: list[Answer], shares: dict[tuple[int, ...], float]) -> list[Answer]:
        """The best on either side of the axis and in between: what so few tokens say of them decides little."""
        kept: list[Answer] = []
        for side in (0, 1, -1):
            here = (ids for ids in ranked if _sign(shares.get(tuple(ids), 0.0)) == side)
            kept += islice(here, self.search_config.drafts.num_kept)
        return kept

    def _push(self, shares: list[float]) -> Steering | None:
        """What is added to the states of rows that are drafted along the axis."""
        axis = find_steering_vector(self.energy.terms)
        if axis is None or not any(shares):
            return None
        return Steering(axis.layer, torch.tensor(shares)[:, None] * axis.direction.cpu().float())

    def _finish(
        self, best: PartialAnswer, starts: list[Answer], unfinished: int, reach: int
    ) -> RequestSteps[list[Answer]]:
        """The beginnings written to the window's reach, those that ended by themselves as they are."""
        draft = self.draft
        own = [draft.new] if draft.goes_on else []
        goes_on = [len(ids) >= unfinished for ids in starts]
        open_rows = [ids for ids, on in zip(starts, goes_on, strict=True) if on]
        longest = max(map(len, open_rows + own), default=0)
        wanted = [
            GenerationInput(draft.prompt, own),
            GenerationInput(
                best.prompt, open_rows, cooling=self.search_config.continuation.temperature_scale
            ),
        ]
        (other, rest), _ = yield from self.writer.write(wanted, reach - longest)
        more = iter(rest)
        ends = [ids + next(more) if on else ids for ids, on in zip(starts, goes_on, strict=True)]
        if own:
            draft.new = draft.new + other[0]
        draft.goes_on = draft.goes_on and len(draft.new) >= reach
        return ends

    def _ranked(self, best: PartialAnswer, begun: list[Answer]) -> RequestSteps[list[Answer]]:
        """The distinct ones, lowest energy first."""
        return [ids for _, ids in (yield from self._energies(best, begun))]

    def _energies(self, best: PartialAnswer, begun: list[Answer]) -> RequestSteps[list[Ranked]]:
        """The distinct ones with their energies, lowest first."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, begun)) if ids]
        self.tracker.evaluations += len(distinct)
        if not distinct:
            return []
        work = ScorePrefixesOp(self.energy, best.prompt, [[*best.prompt.answer, *ids] for ids in distinct])
        energies = yield work
        self.energy = work.energy
        return sorted(zip(energies.tolist(), distinct, strict=True), key=_by_energy)

    def _watch(self, lowest: dict[int, tuple[float, Answer]], chains: Chains) -> RequestSteps[None]:
        found = zip(chains.names, chains.terms.energy.tolist(), chains.answers(), strict=True)
        for name, energy, ids in found:
            lowest[name] = min(lowest.get(name, (energy, ids)), (energy, ids), key=itemgetter(0))
        self.note(chains)
        yield from ()


def _sign(share: float) -> int:
    return (share > 0) - (share < 0)


def _by_energy(ranked: Ranked) -> float:
    """NaN comes last."""
    return math.inf if math.isnan(ranked[0]) else ranked[0]
