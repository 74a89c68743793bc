"""What the policy writes for one prompt, and when the time limit stops it. Knows no energy and no chain."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import GenerateOp, GenerationInput
from langchain_sea.engine.speed_model import get_speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Policy
    from langchain_sea.engine.ops import RequestSteps

Answer = list[int]

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?=\s|$)")
_MIN_KEPT_SHARE = 0.25  # of an answer that is shortened to its last whole sentence


class Written(NamedTuple):
    """What the policy has written."""

    answers: list[list[Answer]]  # the new ids of each answer, for every input
    unfinished: list[list[bool]]  # for each of them, whether it goes on: a limit ended it
    is_cut: bool  # whether the limit was that of the time


@dataclass(slots=True)
class Drafter:
    """Writes drafts, prefixes, and continuations.

    Attributes:
        policy: the model that writes.
        temperature: of sampling.
        generators: one for each answer; answers beyond their number share them.
        tracker: of the prompt's budget; its time limit stops the writing, and it counts the tokens.
    """

    policy: Policy
    temperature: float
    generators: Sequence[torch.Generator]
    tracker: BudgetTracker

    def write(
        self, inputs: Sequence[GenerationInput], tokens: int, fraction: float = 1.0, *, ends_with_first: bool = False
    ) -> RequestSteps[Written]:
        """Continue all answers together.

        Args:
            inputs: the answers so far; those without generators share the drafter's.
            tokens: the largest number of new ids of each answer.
            fraction: of the budget's time that may be over when this ends.
            ends_with_first: whether the others end when those of the first input have.
        """
        generators = cycle(self.generators)
        seeded = [
            each if each.generators else each._replace(generators=list(islice(generators, len(each.prefixes))))
            for each in inputs
            if each.prefixes
        ]
        if tokens <= 0 or not seeded:
            no_ids: list[list[Answer]] = [[[] for _ in each.prefixes] for each in inputs]
            return Written(no_ids, [[True] * len(each.prefixes) for each in inputs], is_cut=False)
        until = self.tracker.seconds + self.tracker.remaining(fraction)
        writing = _Writing(self, tokens, until, ends_with_first)
        rows = iter((yield from writing.run(seeded)))
        by_input = [list(islice(rows, len(each.prefixes))) for each in inputs]
        answers = [[ids for ids, _ in some] for some in by_input]
        unfinished = [[goes_on for _, goes_on in some] for some in by_input]
        return Written(answers, unfinished, writing.is_cut)


@dataclass(slots=True)
class _Writing:
    """One call of `Drafter.write`.

    Attributes:
        end: seconds on the tracker's clock at which it stops.
        ends_with_first: see `Drafter.write`.
        is_cut: whether it was stopped.
        num_first_steps: after which the answers of the first input had ended, the one without a new id included.
    """

    drafter: Drafter
    tokens: int
    end: float
    ends_with_first: bool
    is_cut: bool = False
    num_first_steps: int = 0

    def run(self, inputs: Sequence[GenerationInput]) -> RequestSteps[list[tuple[Answer, bool]]]:
        """Return the new ids of all answers, input after input, and whether each goes on.

        As many are written at a time as memory suffices for.
        """
        policy, tracker = self.drafter.policy, self.drafter.tracker
        limit = get_size_limit(policy, GenerateOp)
        rows = [(number, row) for number, each in enumerate(inputs) for row in range(len(each.prefixes))]
        written = yield from split_on_out_of_memory(partial(self._generate, inputs), rows, tracker, limit)
        get_speed(policy).max_rows = limit.size
        return written

    def _generate(
        self, all_inputs: Sequence[GenerationInput], rows: Sequence[tuple[int, int]]
    ) -> RequestSteps[list[tuple[Answer, bool]]]:
        """Return the new ids of some answers, each given by the number of its input and its own number in that."""
        drafter, by_input = self.drafter, defaultdict[int, list[int]](list)
        for number, row in rows:
            by_input[number].append(row)
        inputs = [all_inputs[number].select_rows(some) for number, some in by_input.items()]
        has_first = 0 in by_input
        # others that memory puts into a later pass get as many tokens as they would have got beside the first input
        tokens = self.tokens if has_first or not self.ends_with_first else self.num_first_steps
        ends_with_first = self.ends_with_first and has_first
        op = GenerateOp(drafter.policy, inputs, tokens, drafter.temperature, self._should_continue, ends_with_first)
        written: list[list[Answer]] = yield op
        drafter.tracker.draft_tokens += sum(len(ids) for answers in written for ids in answers)
        longest = max(len(ids) for answers in written for ids in answers)
        if has_first:
            self.num_first_steps = max(self.num_first_steps, min(self.tokens, max(map(len, written[0])) + 1))
        # the steps of this pass: after the last one that added an id, the first answers may have ended
        num_steps = longest if self.is_cut else tokens
        if ends_with_first and not self.is_cut:
            num_steps = max(longest, self.num_first_steps)
        limits = [min(num_steps, each.max_new_tokens or num_steps) for each in inputs]
        return [(ids, len(ids) >= limit) for answers, limit in zip(written, limits, strict=True) for ids in answers]

    def _should_continue(self, _num_unfinished: int) -> bool:
        self.is_cut = self.drafter.tracker.seconds >= self.end
        return not self.is_cut


def is_sentence(text: str) -> bool:
    """Return whether the text ends with a sentence."""
    return any(match.end() == len(text) for match in _SENTENCE_END.finditer(text))


def end_at_sentence(text: str) -> str | None:
    """Return the text up to the end of its last sentence; None if that is less than a quarter of it."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends and ends[-1] >= _MIN_KEPT_SHARE * len(text) else None
