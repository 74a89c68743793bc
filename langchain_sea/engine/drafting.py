"""What the policy writes for one prompt, and when the clock stops it. Knows no energy and no chain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.engine.ops import GenerateOp, GenerationRows
from langchain_sea.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Policy, Prompt, Steering
    from langchain_sea.engine.ops import RequestSteps

Answer = list[int]


class GenerationInput(NamedTuple):
    """What is to be written behind each prefix."""

    prompt: Prompt
    prefixes: list[Answer]
    steering: Steering | None = None
    cooling: float = 1.0  # of the writer's temperature


@dataclass(slots=True)
class Drafter:
    """Drafts, beginnings, and what follows them.

    Attributes:
        policy: writes.
        temperature: of sampling.
        generators: one for each row; rows beyond their number share them.
        tracker: whose seconds it keeps, and where drafted tokens are counted.
    """

    policy: Policy
    temperature: float
    generators: Sequence[torch.Generator]
    tracker: BudgetTracker

    def write(
        self, wanted: Sequence[GenerationInput], tokens: int, share: float = 1.0
    ) -> RequestSteps[tuple[list[list[Answer]], bool]]:
        """What follows each prefix, and whether the clock cut it off.

        Args:
            wanted: all in one forward.
            tokens: the most new ids of each.
            share: of the budget's seconds that may be over when it ends.
        """
        dealt = cycle(self.generators)
        parts = [
            GenerationRows(w.prompt, w.prefixes, list(islice(dealt, len(w.prefixes))), w.steering, w.cooling)
            for w in wanted
            if w.prefixes
        ]
        written, cut = yield from self._write(parts, tokens, share)
        found = iter(written)
        return [next(found) if w.prefixes else [] for w in wanted], cut

    def _write(
        self, parts: list[GenerationRows], tokens: int, share: float
    ) -> RequestSteps[tuple[list[list[Answer]], bool]]:
        if tokens <= 0 or not parts:
            return [[[] for _ in part.prefixes] for part in parts], False
        end, cut = self.tracker.seconds + self.tracker.remaining(share), False

        def go_on(_rows: int) -> bool:
            nonlocal cut
            cut = self.tracker.seconds >= end
            return not cut

        try:
            written = yield GenerateOp(self.policy, parts, tokens, self.temperature, go_on)
        except OutOfMemoryError:
            if sum(len(part.prefixes) for part in parts) == 1:
                raise
            self.tracker.is_out_of_memory = True
            rows = [row for part in parts for row in part.each()]
            first, _ = yield from self._write(rows[: len(rows) // 2], tokens, share)
            second, cut = yield from self._write(rows[len(rows) // 2 :], tokens, share)
            found = iter(first + second)
            return [[next(found)[0] for _ in part.prefixes] for part in parts], cut
        self.tracker.draft_tokens += sum(len(ids) for part in written for ids in part)
        return written, cut
