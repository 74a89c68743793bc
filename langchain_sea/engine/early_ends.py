"""Where a written answer could have ended before: after a sentence at which the policy ends often enough.

An answer that goes on for too long repeats itself and loses its point. Another draw would have ended it earlier, and
that shorter answer is known without drawing it.

Shapes: C answers, T positions.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import torch

from langchain_sea.core.protocols import LOGITS, Tokens
from langchain_sea.engine.drafting import is_sentence
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import ForwardOp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import ModelOutput, Policy, Prompt
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps

__all__ = ["MIN_END_CHANCE", "find_early_ends", "find_sentence_ends"]

MIN_END_CHANCE = 0.05
"""The policy's chance of ending an answer at a place, below which the answer does not end there."""


class _EarlyEnd(NamedTuple):
    """A place where an answer could end."""

    chance: float
    ids: Answer


def find_early_ends(
    policy: Policy, prompt: Prompt, answers: Sequence[Answer], *, start: int, count: int, tracker: BudgetTracker
) -> RequestSteps[list[Answer]]:
    """Return the likeliest shorter answers.

    Args:
        policy: that wrote the answers.
        prompt: that they answer; they begin with its own answer.
        answers: ids of answers, finished or not.
        start: ids of each answer that have been looked at before.
        count: how many are returned at most.
        tracker: of the prompt's budget.
    """
    by_row = {tuple(ids): find_sentence_ends(policy, ids, start) for ids in answers}
    rows = [list(ids) for ids, places in by_row.items() if places]
    if not rows or not policy.end_ids:
        return []

    def compute(some: Sequence[Answer]) -> RequestSteps[list[list[float]]]:
        output: ModelOutput = yield ForwardOp(policy, prompt, some, LOGITS)
        return _end_chances(policy, output, some)

    limit = get_size_limit(policy, "early ends")
    chances = yield from split_on_out_of_memory(compute, rows, tracker, limit)
    ends = [
        _EarlyEnd(row_chances[place], ids[:place])
        for ids, row_chances in zip(rows, chances, strict=True)
        for place in by_row[tuple(ids)]
        if row_chances[place] >= MIN_END_CHANCE
    ]
    return [end.ids for end in heapq.nlargest(count, ends, key=lambda end: end.chance)]


def find_sentence_ends(policy: Policy, ids: Sequence[int], start: int) -> list[int]:
    """Return the places after which a sentence has ended, as numbers of ids; not the end of the answer itself.

    Args:
        policy: whose ids they are.
        ids: of an answer.
        start: places up to this one do not count.
    """
    return [place for place in range(start + 1, len(ids)) if is_sentence(policy.decode(ids[:place]))]


@torch.no_grad()
def _end_chances(policy: Policy, output: ModelOutput, answers: Sequence[Answer]) -> list[list[float]]:
    """Return the policy's chance of ending each answer before each of its ids, (C, T)."""
    total = None
    for end in sorted(policy.end_ids):
        ends = Tokens.from_ids([[end] * len(ids) for ids in answers], policy.device)
        log_chance = output.log_probs(ends)
        total = log_chance if total is None else torch.logaddexp(total, log_chance)
    assert total is not None
    chances: list[list[float]] = total.exp().tolist()
    return chances
