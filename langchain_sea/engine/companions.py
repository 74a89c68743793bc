"""Answers that are written beside the draft, under a reward's steering vector where one has it.

A pass takes little longer for a few rows than for one, because the weights must be read in either case. So the policy
writes a few more answers while it writes the draft. They end with the draft. On a slow machine they are the whole
search.

Under a vector, their first tokens are drawn under a large share of it; of many such beginnings the best few are kept.
The other tokens are drawn under a smaller share and at a lower temperature, which keeps them fluent. Such answers also
say whether there is anything to gain. Without a vector they are drafts like the first.

Shapes: D width of the states.
"""

from __future__ import annotations

import heapq
import math
import statistics
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import Steering
from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine.early_ends import find_early_ends
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp
from langchain_sea.engine.speed_model import get_speed
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt, SteeringVector
    from langchain_sea.engine.candidates import Candidates
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import CompanionConfig

__all__ = ["Companions", "SteeredCompanions", "make_companions"]

_MAX_SLOWDOWN = 2.0  # of the draft: in a large batch on a CPU, time grows with the rows


@dataclass
class Companions:
    """Plain drafts beside one draft.

    Attributes:
        config: how many there are.
        drafter: writes them, and holds the tracker of the budget.
        energy: of the rewards.
        generators: one for each answer; none of them is the draft's.
        answers: what is written so far.
        has_ended: whether the policy ended each of them.
    """

    config: CompanionConfig
    drafter: Drafter
    energy: Energy
    generators: Sequence[torch.Generator]
    answers: list[Answer] = field(default_factory=list)
    has_ended: list[bool] = field(default_factory=list)

    def begin(self, prompt: Prompt) -> RequestSteps[None]:  # noqa: ARG002
        """Write what is written before the draft: nothing."""
        self.generators = self.generators[: self.config.count]
        self.answers = [[] for _ in self.generators]
        yield from ()

    def next_input(self, prompt: Prompt) -> GenerationInput:
        """Return what is written beside the draft."""
        return GenerationInput(
            prompt, self.answers, generators=self.generators[: len(self.answers)], max_new_tokens=self._num_left
        )

    @property
    def is_affordable(self) -> bool:
        """Whether they make the draft take at most twice as long, beside the other requests of the moment.

        Always where no time limit counts: the answer must then not depend on the speed of the machine.
        """
        if self.drafter.tracker.budget.max_time is None:
            return True
        speed = get_speed(self.drafter.policy)
        rows = speed.num_requests * (1 + self.config.count)
        return speed.is_decode_within(_MAX_SLOWDOWN, rows, speed.num_requests)

    @property
    def _num_left(self) -> int:
        """How many tokens each may still get."""
        return self.drafter.tracker.max_new_tokens

    def extend(self, written: Sequence[Answer], unfinished: Sequence[bool]) -> None:
        """Add the new ids of each, and note which go on."""
        self.has_ended = [not goes_on for goes_on in unfinished]
        self.answers = [[*ids, *more] for ids, more in zip(self.answers, written, strict=True)]

    def offer(self, prompt: Prompt, candidates: Candidates) -> RequestSteps[bool]:
        """Offer whole answers, then beginnings that could end: as many as there is time to score.

        Those that are as whole as the draft can be come first, ended or of the longest length: their scores say by
        how much a better answer must differ from the draft.

        Returns:
            whether they show that the draft cannot be improved; plain drafts do not.
        """
        longest, best = self.drafter.tracker.max_new_tokens, candidates.best
        has_reached = [len(ids) >= longest for ids in self.answers]
        whole = [row for row, ids in enumerate(self.answers) if ids and (has_reached[row] or self.has_ended[row])]
        count = len(self._take_in_time([self.answers[row] for row in whole], candidates, num_passes=1))
        answers, is_cut = [self.answers[row] for row in whole[:count]], [has_reached[row] for row in whole[:count]]
        scored = yield from best.score([candidates.decode(ids) for ids in answers])
        scores = [text.score for text in (best.draft, *scored) if text is not None and math.isfinite(text.score)]
        best.spread = statistics.pstdev(scores) if len(scores) > 1 else None
        yield from candidates.offer_shortened(answers, is_cut)
        rest = [ids for row, ids in enumerate(self.answers) if ids and row not in whole]
        yield from self._offer_early_ends(prompt, candidates, sorted(rest, key=len))
        return False

    def _offer_early_ends(
        self, prompt: Prompt, candidates: Candidates, answers: Sequence[Answer]
    ) -> RequestSteps[bool]:
        """Offer beginnings of the answers that could end; return whether there was time for all of them."""
        while looked_at := self._take_in_time(answers, candidates, num_passes=2):
            shorter = yield from find_early_ends(
                self.drafter.policy, prompt, looked_at, start=0, count=len(looked_at), tracker=self.drafter.tracker
            )
            yield from candidates.offer_shortened(shorter, [False] * len(shorter))
            answers = answers[len(looked_at) :]
        return not answers

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


@dataclass(kw_only=True)
class SteeredCompanions(Companions):
    """Answers beside one draft, under shares of a reward's steering vector.

    Attributes:
        vector: of the reward.
    """

    vector: SteeringVector

    def begin(self, prompt: Prompt) -> RequestSteps[None]:
        """Write their first tokens: several beginnings under each share, of which the best are kept."""
        shares = list(islice(cycle(self.config.begin_shares), len(self.generators)))
        inputs = [self._steer(prompt, [[] for _ in shares], shares, 1.0)]
        beginnings = (yield from self.drafter.write(inputs, self.config.begin_tokens)).answers[0]
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
        beside = self._steer(prompt, self.answers, shares, self.config.temperature_scale)
        return beside._replace(max_new_tokens=self._num_left)

    @property
    def _num_left(self) -> int:
        return min(self.config.max_tokens, self.drafter.tracker.max_new_tokens) - self.config.begin_tokens

    def offer(self, prompt: Prompt, candidates: Candidates) -> RequestSteps[bool]:
        """Offer those that have ended, then beginnings that could: as many as there is time to score.

        Returns:
            whether all of them were scored, and the draft is good, and none is better by more than the rewards' noise.
        """
        order = sorted(range(len(self.answers)), key=lambda row: (not self.has_ended[row], len(self.answers[row])))
        answers = [self.answers[row] for row in order]
        whole = self._take_in_time(answers[: sum(self.has_ended)], candidates, num_passes=1)
        if whole:
            yield from candidates.offer_shortened(whole, [False] * len(whole))
        are_scored = yield from self._offer_early_ends(prompt, candidates, answers)
        best = candidates.best
        is_known = best.energy.limits is not None and bool(answers) and are_scored
        return is_known and best.is_draft_good and best.highest_gain < best.min_gain

    def _steer(
        self, prompt: Prompt, answers: Sequence[Answer], shares: Sequence[float], scale: float
    ) -> GenerationInput:
        direction = self.vector.direction.to(self.drafter.policy.device).float()
        vectors = torch.tensor(list(shares), device=direction.device)[:, None] * direction
        steering = Steering(self.vector.layer, vectors)
        return GenerationInput.steered(prompt, answers, steering, scale, self.generators[: len(answers)])


def make_companions(config: CompanionConfig, drafter: Drafter, energy: Energy) -> Companions | None:
    """Return the companions of a draft.

    None if answers are too short, there is no generator for them, or the time limit does not even suffice to score
    one.
    """
    vector, generators = find_steering_vector(energy.terms), drafter.generators[1 : 1 + config.num_beginnings]
    shortest = 1 if vector is None else 1 + config.begin_tokens
    if not generators or drafter.tracker.max_new_tokens < shortest:
        return None
    limit = drafter.tracker.budget.max_time
    if limit is not None and 2 * get_speed(drafter.policy).forward(config.max_tokens) > limit:
        return None
    if vector is None:
        return Companions(config, drafter, energy, generators)
    return SteeredCompanions(config, drafter, energy, generators, vector=vector)
