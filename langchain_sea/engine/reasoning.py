"""The reasoning before an answer, which refinement leaves as the policy wrote it. Knows no energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps

    WriteOn = Callable[[Answer, int], RequestSteps[tuple[Answer, bool]]]
    """Beginning of an answer, largest number of new ids → the new ids, and whether the policy ended the answer."""

__all__ = ["ReasonedAnswer", "ReasoningConfig", "split_ids", "write_reasoned_answer"]


class ReasonedAnswer(NamedTuple):
    """What the policy wrote.

    Attributes:
        reasoning: its ids with those of the tags; empty if there is none, or nothing behind it.
        answer: the ids behind it.
        has_ended: whether the policy ended the answer.
    """

    reasoning: Answer
    answer: Answer
    has_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningConfig:
    """How a policy marks its reasoning, and how long that may be.

    Attributes:
        tags: ids of the opening and of the closing tag, for every pair that the policy may write.
        is_open: whether the prompt ends with the opening tag; `tags` is then that pair.
        max_tokens: the most ids of the reasoning. Reasoning that is longer is cut there and closed, and the answer
            follows. None: as many as the answer may have.
        extend: the ids of the reasoning → the prompt of the answer behind it.
    """

    tags: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    is_open: bool
    max_tokens: int | None
    extend: Callable[[Sequence[int]], Prompt]

    def find_closing(self, ids: Answer) -> tuple[int, ...] | None:
        """Return the ids of the tag that must close the reasoning of an answer; None if it has no reasoning."""
        pairs = (closing for opening, closing in self.tags if self.is_open or tuple(ids[: len(opening)]) == opening)
        return next(pairs, None)


def write_reasoned_answer(write_on: WriteOn, config: ReasoningConfig, tokens: int) -> RequestSteps[ReasonedAnswer]:
    """Let the policy think and answer.

    Args:
        write_on: continues the answer.
        config: of the reasoning.
        tokens: the largest number of ids of both together.
    """
    longest = min(tokens, config.max_tokens or tokens)
    ids, has_ended = yield from write_on([], longest)
    closing = config.find_closing(ids)
    if not has_ended and len(ids) == longest < tokens:
        if closing is not None and not split_ids(ids, config)[0]:
            ids = [*ids, *closing]
        more, has_ended = yield from write_on(ids, tokens - len(ids))
        ids = [*ids, *more]
    return ReasonedAnswer(*split_ids(ids, config), has_ended)


def split_ids(ids: Answer, config: ReasoningConfig) -> tuple[Answer, Answer]:
    """Return the ids of the reasoning with its tags, and those behind; without an end of it, all ids are behind."""
    closing = config.find_closing(ids)
    if closing is None:
        return [], ids
    size = len(closing)
    end = next((at + size for at in range(len(ids) - size + 1) if tuple(ids[at : at + size]) == closing), 0)
    return ids[:end], ids[end:]
