"""Answers that are written beside the draft, under a reward's steering vector.

A pass takes little longer for a few rows than for one, because the weights must be read in either case. So the policy
writes a few more answers while it writes the draft. Their first tokens are drawn under a large share of the vector; of
many such beginnings the best few are kept. The other tokens are drawn under a smaller share and at a lower temperature,
which keeps them fluent. They end with the draft. On a slow machine they are the whole search; on a fast one they say
whether there is anything to gain.

Shapes: D width of the states.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import Steering
from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine.early_ends import find_early_ends
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp
from langchain_sea.engine.planning import get_speed
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt, SteeringVector
    from langchain_sea.engine.candidates import Candidates
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import CompanionConfig

__all__ = ["Companions", "make_companions"]


@dataclass
class Companions:
    """The answers beside one draft.

    Attributes:
        config: how many there are, and their shares of the vector.
        drafter: writes them, and holds the tracker of the budget.
        vector: of the reward.
        generators: one for each answer; none of them is the draft's.
        answers: what is written so far.
        has_ended: whether the policy ended each of them.
        are_scored: whether all of them were offered.
    """

    config: CompanionConfig
    drafter: Drafter
    energy: Energy
    vector: SteeringVector
    generators: Sequence[torch.Generator]
    answers: list[Answer] = field(default_factory=list)
    has_ended: list[bool] = field(default_factory=list)
    are_scored: bool = False

    def begin(self, prompt: Prompt) -> RequestSteps[None]:
        """Write their first tokens: several beginnings under each share, of which the best are kept."""
        shares = list(islice(cycle(self.config.begin_shares), len(self.generators)))
        inputs = [self._make_input(prompt, [[] for _ in shares], shares, 1.0)]
        (beginnings,), _ = yield from self.drafter.write(inputs, self.config.begin_tokens)
        # an answer that has ended already says nothing: the policy has been pushed into silence
        rows = [row for row, ids in enumerate(beginnings) if len(ids) == self.config.begin_tokens]
        if len(rows) > self.config.count:
            costs = yield from self._compute_costs(prompt, [beginnings[row] for row in rows])
            rows = [row for _, row in heapq.nsmallest(self.config.count, zip(costs, rows, strict=True))]
        self.answers = [beginnings[row] for row in rows]
        self.generators = [self.generators[row] for row in rows]

    def _compute_costs(self, prompt: Prompt, beginnings: Sequence[Answer]) -> RequestSteps[list[float]]:
        """Return the energy of each beginning; infinite where its first token is too surprising.

        Zeros where a reward fails or memory runs out: the draft must be written in any case.
        """

        def score(some: Sequence[Answer]) -> RequestSteps[list[float]]:
            op = ScorePrefixesOp(self.energy, prompt, some)
            _, terms = yield op
            surprises = op.batch.compute_surprises()
            return [
                energy if first <= highest and math.isfinite(energy) else math.inf
                for energy, (_, first) in zip(terms.energy.tolist(), surprises, strict=True)
            ]

        highest = math.inf if self.energy.limits is None else self.energy.limits.max_first_surprise
        limit = get_size_limit(self.energy.policy, ScorePrefixesOp)
        try:
            return (yield from split_on_out_of_memory(score, beginnings, self.drafter.tracker, limit))
        except (RewardUnavailableError, OutOfMemoryError):
            return [0.0] * len(beginnings)

    def next_input(self, prompt: Prompt) -> GenerationInput:
        """Return what is written beside the draft."""
        shares = [self.config.share] * len(self.answers)
        beside = self._make_input(prompt, self.answers, shares, self.config.temperature_scale)
        return beside._replace(max_new_tokens=self._num_left)

    @property
    def _num_left(self) -> int:
        longest = min(self.config.max_tokens, self.drafter.tracker.max_new_tokens)
        return longest - self.config.begin_tokens

    def extend(self, written: Sequence[Answer], num_steps: int) -> None:
        """Add the new ids of each; those that were still being written after so many steps have not ended."""
        self.has_ended = [len(ids) < min(num_steps, self._num_left) for ids in written]
        self.answers = [[*ids, *more] for ids, more in zip(self.answers, written, strict=True)]

    def offer(self, prompt: Prompt, candidates: Candidates) -> RequestSteps[None]:
        """Offer those that have ended, then shorter ones that could have: as many as there is time to score."""
        best, tracker = candidates.best, self.drafter.tracker
        order = sorted(range(len(self.answers)), key=lambda row: (not self.has_ended[row], len(self.answers[row])))
        ordered = [self.answers[row] for row in order]
        whole = self._take_in_time(ordered[: sum(self.has_ended)], candidates, num_passes=1)
        if whole:
            yield from candidates.offer_shortened(whole, [False] * len(whole))
        left = ordered
        while looked_at := self._take_in_time(left, candidates, num_passes=2):
            shorter = yield from find_early_ends(
                best.energy.policy, prompt, looked_at, start=0, count=len(looked_at), tracker=tracker
            )
            yield from candidates.offer_shortened(shorter, [False] * len(shorter))
            left = left[len(looked_at) :]
        self.are_scored = not left

    def _take_in_time(self, answers: Sequence[Answer], candidates: Candidates, num_passes: int) -> Sequence[Answer]:
        """Return the first of the answers: as many as can be read so many times, and judged, in the time left."""
        speed, seconds = get_speed(self.drafter.policy), self.drafter.tracker.remaining()
        count = len(answers)
        while count:
            seconds_each = speed.forward(sum(map(len, answers[:count]))) + count * candidates.best.function_seconds
            if num_passes * seconds_each <= seconds:
                break
            count -= 1
        return answers[:count]

    def _make_input(
        self, prompt: Prompt, answers: Sequence[Answer], shares: Sequence[float], scale: float
    ) -> GenerationInput:
        direction = self.vector.direction.to(self.drafter.policy.device).float()
        vectors = torch.tensor(list(shares), device=direction.device)[:, None] * direction
        return GenerationInput.steered(
            prompt, answers, Steering(self.vector.layer, vectors), scale, self.generators[: len(answers)]
        )


def make_companions(config: CompanionConfig, drafter: Drafter, energy: Energy) -> Companions | None:
    """Return the companions of a draft.

    None if no reward has a steering vector, answers are too short, there is no generator for them, or the time limit
    does not even suffice to score one.
    """
    vector, generators = find_steering_vector(energy.terms), drafter.generators[1 : 1 + config.num_beginnings]
    if vector is None or not generators or drafter.tracker.max_new_tokens <= config.begin_tokens:
        return None
    limit = drafter.tracker.budget.max_time
    if limit is not None and 2 * get_speed(drafter.policy).forward(config.max_tokens) > limit:
        return None
    return Companions(config, drafter, energy, vector, generators)
