"""Search without a gradient: the request of one prompt, and `search` for many. The methods are in `baselines.py`.

The counterpart of `refine`, with the same caches, budget, rule of the best answer, and result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.engine.arguments import require_arguments
from langchain_sea.engine.drafting import Drafter
from langchain_sea.engine.engines import get_engine
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.lateness import find_time_limit
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp
from langchain_sea.engine.request import Request
from langchain_sea.engine.selection import BestSoFar, Refinement
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import ScoredText
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["Search", "SearchRequest", "search"]


class Search(Protocol):
    """A search method."""

    @property
    def temperature(self) -> float:
        """The temperature of sampling."""

    @property
    def rows(self) -> int:
        """The largest number of answers that it generates together."""

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Search for one prompt's best answer. The first answer that it offers is the draft."""


@dataclass(eq=False)
class SearchRequest(Request[Refinement]):
    """The search for one prompt's best answer: what all methods have in common.

    Attributes:
        energy: with scales fitted to the first prefixes that were ranked.
        scores: of all answers that were scored, by their ids.
    """

    prompt: Prompt
    method: Search
    energy: Energy
    drafter: Drafter
    scores: dict[tuple[int, ...], ScoredText] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.policy = self.energy.policy
        self.tracker = self.drafter.tracker
        self._best = BestSoFar(self.energy, self.prompt, self.tracker)

    def steps(self) -> RequestSteps[Refinement]:
        """Run the method. If a reward fails or memory runs out, the answer is the draft.

        A reward that still runs when the time is over has not failed: the answer is the best one so far.
        """
        failure: Exception | None = None
        limit: StopReason | None = None
        self.tracker.start()
        self.tracker.start_refinement()  # a search has no draft of its own before it
        try:
            yield from self.method.steps(self)
            if not self.scores:  # the time was over before the first answer
                yield from self.finish([[]])
        except RewardUnavailableError as error:
            limit = find_time_limit(error, self.tracker) if self.scores else None
            if limit is None:
                failure, limit = error, StopReason.REWARD_UNAVAILABLE
        except OutOfMemoryError as error:
            failure, limit = error, StopReason.OUT_OF_MEMORY
        self.tracker.stop_reason = limit or self.tracker.exhausted_limit() or StopReason.STEPS
        return self._best.refinement("", failure=failure)

    def partial_result(self, reason: StopReason) -> Refinement:
        """Return the best answer so far."""
        self.tracker.stop_reason = reason
        return self._best.refinement("")

    @property
    def is_exhausted(self) -> bool:
        """Whether a limit of the budget is reached."""
        return self.tracker.exhausted_limit() is not None

    @property
    def max_new_tokens(self) -> int:
        """The length of the longest answer."""
        return self.tracker.max_new_tokens

    def random(self) -> float:
        """Return a number from [0, 1), from the prompt's own generator."""
        generator = self.drafter.generators[0]
        return float(torch.rand((), generator=generator, device=generator.device))

    def write(self, prefixes: Sequence[Answer], tokens: int) -> RequestSteps[tuple[list[Answer], bool]]:
        """Continue the prefixes.

        Args:
            prefixes: answers so far.
            tokens: the largest number of new ids of each.

        Returns:
            The prefixes with what follows, no longer than the longest answer, and whether time was too short.
        """
        inputs = [GenerationInput(self.prompt, list(prefixes))]
        written = yield from self.drafter.write(inputs, tokens)
        answers = [[*a, *b][: self.max_new_tokens] for a, b in zip(prefixes, written.answers[0], strict=True)]
        return answers, written.is_cut

    def finish(self, prefixes: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """Continue the prefixes to their end, and offer them; those cut short only if there are no others."""
        longest = self.max_new_tokens - min(map(len, prefixes))
        answers, is_cut = yield from self.write(prefixes, longest)
        if not is_cut or not self.scores:
            yield from self.offer(answers)
        return answers

    def offer(self, answers: Sequence[Answer]) -> RequestSteps[None]:
        """Decode and score the answers, and keep the best."""
        texts = [self.energy.policy.decode(ids) for ids in answers]
        evaluations = self.tracker.evaluations + len(texts)
        scored = yield from self._best.offer(texts)
        # a text that was written before counts again: else a search among few answers would never reach its limit
        self.tracker.evaluations = evaluations
        self.scores.update(zip(map(tuple, answers), scored, strict=True))

    def rank(self, prefixes: Sequence[Answer]) -> RequestSteps[list[Answer]]:
        """Return the distinct prefixes, the one of the lowest energy first."""
        distinct = [list(ids) for ids in dict.fromkeys(map(tuple, prefixes)) if ids]
        if not distinct:
            return []
        self.tracker.evaluations += len(distinct)
        self.energy, terms = yield ScorePrefixesOp(self.energy, self.prompt, distinct)
        return [distinct[i] for i in terms.energy.argsort(stable=True).tolist()]

    def best_answer(self) -> Answer:
        """Return the ids of the best answer so far."""
        best, items = self._best.best, self.scores.items()
        return list(max(items, key=lambda item: (item[1] is best, item[1].score))[0])


def search(
    prompts: Sequence[Prompt],
    method: Search,
    *,
    energy: Energy,
    seed: int = 0,
    budget: Budget | None = None,
    max_new_tokens: int = 64,
) -> list[Refinement]:
    """Search for the best answer to every prompt. The arguments are those of `refine`.

    Args:
        prompts: from `policy.prompt(messages)`.
        method: one of `langchain_sea.engine.baselines`.
        energy: what is minimised.
        seed: decides all random numbers, together with the prompt's own ids.
        budget: limits of time and evaluations; None takes the default ones.
        max_new_tokens: the length of the longest answer, in the policy's tokens.

    Raises:
        RefinementInterrupted: Ctrl-C was pressed; it holds the best answers so far.
        TypeError: an argument has another type.
    """
    require_arguments(prompts, energy, budget)
    policy, requests = energy.policy, []
    for prompt in prompts:
        tracker = BudgetTracker(budget or Budget(), max_new_tokens)
        generators = generators_for(seed, prompt.key, method.rows, policy.device)
        drafter = Drafter(policy, method.temperature, generators, tracker)
        requests.append(SearchRequest(prompt, method, energy, drafter))
    return get_engine(policy).refine(requests)
