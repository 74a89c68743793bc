"""Answers that are written beside the draft, under a reward's steering vector.

A pass takes little longer for a few rows than for one, because the weights must be read in either case. So the policy
writes a few more answers while it writes the draft. Their first tokens are drawn under a large share of the vector, the
others under a smaller one and at a lower temperature, which keeps them fluent. They end with the draft. On a slow
machine they are the whole search; on a fast one they say whether there is anything to gain.

Shapes: D width of the states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import Steering
from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine.early_ends import find_early_ends
from langchain_sea.engine.ops import GenerationInput
from langchain_sea.engine.planning import get_speed

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
    vector: SteeringVector
    generators: Sequence[torch.Generator]
    answers: list[Answer] = field(default_factory=list)
    has_ended: list[bool] = field(default_factory=list)
    are_scored: bool = False

    def begin(self, prompt: Prompt) -> RequestSteps[None]:
        """Write their first tokens."""
        shares = self.config.begin_shares[: len(self.generators)]
        inputs = [self._make_input(prompt, [[] for _ in shares], shares, 1.0)]
        (self.answers,), _ = yield from self.drafter.write(inputs, self.config.begin_tokens)
        # an answer that has ended already says nothing: the policy has been pushed into silence
        self.answers = [ids for ids in self.answers if len(ids) == self.config.begin_tokens]

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
        """Offer those that have ended, and shorter ones that could have: as many as there is time to score."""
        best, tracker = candidates.best, self.drafter.tracker
        count = self._count_in_time(best.function_seconds, tracker.remaining())
        answers, policy = self.answers[:count], best.energy.policy
        if not answers:
            return
        shorter = yield from find_early_ends(policy, prompt, answers, start=0, count=count, tracker=tracker)
        whole = [ids for ids, ended in zip(answers, self.has_ended, strict=False) if ended]
        yield from candidates.offer_shortened([*shorter, *whole], [False] * (len(shorter) + len(whole)))
        self.are_scored = count == len(self.answers)

    def _count_in_time(self, function_seconds: float, seconds: float) -> int:
        """Return how many of the answers can be read, to find where they could end, and then scored."""
        speed, count = get_speed(self.drafter.policy), len(self.answers)
        while count and 2 * (speed.forward(sum(map(len, self.answers[:count]))) + count * function_seconds) > seconds:
            count -= 1
        return count

    def _make_input(
        self, prompt: Prompt, answers: Sequence[Answer], shares: Sequence[float], scale: float
    ) -> GenerationInput:
        direction = self.vector.direction.to(self.drafter.policy.device).float()
        vectors = torch.tensor(list(shares), device=direction.device)[:, None] * direction
        return GenerationInput(
            prompt, answers, Steering(self.vector.layer, vectors), scale, self.generators[: len(answers)]
        )


def make_companions(config: CompanionConfig, drafter: Drafter, energy: Energy) -> Companions | None:
    """Return the companions of a draft.

    None if no reward has a steering vector, answers are too short, there is no generator for them, or the time limit
    does not even suffice to score one.
    """
    vector, generators = find_steering_vector(energy.terms), drafter.generators[1 : 1 + len(config.begin_shares)]
    if vector is None or not generators or drafter.tracker.max_new_tokens <= config.begin_tokens:
        return None
    limit = drafter.tracker.budget.max_time
    if limit is not None and 2 * get_speed(drafter.policy).forward(config.max_tokens) > limit:
        return None
    return Companions(config, drafter, vector, generators)
