"""What the policy writes for one prompt, and when the clock stops it. Knows no energy and no chain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

from langchain_sea.errors import OutOfMemoryError
from langchain_sea.work import Extend

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.budget import Meter
    from langchain_sea.protocols import Policy, Prompt
    from langchain_sea.work import Task

Answer = list[int]


@dataclass(slots=True)
class Writer:
    """Drafts, beginnings, and what follows them.

    Attributes:
        policy: writes.
        prompt: what it answers.
        temperature: of sampling.
        generators: one for each row; rows beyond their number share them.
        meter: whose seconds it keeps, and where drafted tokens are counted.
        unfinished: length from which a beginning has not ended by itself.
    """

    policy: Policy
    prompt: Prompt
    temperature: float
    generators: Sequence[torch.Generator]
    meter: Meter
    unfinished: int = 0

    def begin(self, rows: int, tokens: int, share: float) -> Task[list[Answer]]:
        """So many answers of at most `tokens` tokens, in that share of the budget's seconds."""
        written, cut = yield from self._write([[]] * rows, tokens, share, self._dealt(rows))
        # the rows that the clock cut off are the longest ones
        self.unfinished = max(map(len, written)) if cut else tokens
        return written

    def finish(self, beginnings: list[Answer]) -> Task[list[Answer]]:
        """The beginnings written to their end, those that ended by themselves as they are."""
        rows = [i for i, ids in enumerate(beginnings) if len(ids) >= self.unfinished]
        longest = max((len(beginnings[i]) for i in rows), default=0)
        tokens = self.meter.budget.tokens - longest
        rest, _ = yield from self._write([beginnings[i] for i in rows], tokens, 1.0, self._dealt(len(rows)))
        more = dict(zip(rows, rest, strict=True))
        return [ids + more.get(i, []) for i, ids in enumerate(beginnings)]

    def _dealt(self, rows: int) -> list[torch.Generator]:
        return list(islice(cycle(self.generators), rows))

    def _write(
        self, prefixes: list[Answer], tokens: int, share: float, generators: list[torch.Generator]
    ) -> Task[tuple[list[Answer], bool]]:
        """The new ids of each prefix, and whether the clock stopped them."""
        if not prefixes or tokens <= 0:
            return [[] for _ in prefixes], False
        end, cut = self.meter.seconds + self.meter.left(share), False

        def go_on(_rows: int) -> bool:
            nonlocal cut
            cut = self.meter.seconds >= end
            return not cut

        try:
            written = yield Extend(
                self.policy, self.prompt, prefixes, tokens, self.temperature, generators, go_on
            )
        except OutOfMemoryError:
            if len(prefixes) == 1:
                raise
            self.meter.short, half = True, len(prefixes) // 2
            first, _ = yield from self._write(prefixes[:half], tokens, share, generators[:half])
            second, cut = yield from self._write(prefixes[half:], tokens, share, generators[half:])
            return first + second, cut
        self.meter.drafted += sum(map(len, written))
        return written, cut
