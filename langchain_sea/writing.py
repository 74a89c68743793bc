"""What the policy writes for one prompt, and when the clock stops it. Knows no energy and no chain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.budget import Meter
    from langchain_sea.protocols import Policy, Prompt

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
        waiting: prompts that still want to write, this one among them; each may take its share of the time.
        unfinished: length from which a beginning has not ended by itself.
    """

    policy: Policy
    prompt: Prompt
    temperature: float
    generators: Sequence[torch.Generator]
    meter: Meter
    waiting: int = 1
    unfinished: int = 0

    def begin(self, rows: int, tokens: int, share: float) -> list[Answer]:
        """So many answers of at most `tokens` tokens, in that share of the budget's seconds."""
        written, cut = self._write([[]] * rows, tokens, share)
        # the rows that the clock cut off are the longest ones
        self.unfinished = max(map(len, written)) if cut else tokens
        return written

    def finish(self, beginnings: list[Answer]) -> list[Answer]:
        """The beginnings written to their end, those that ended by themselves as they are."""
        rows = [i for i, ids in enumerate(beginnings) if len(ids) >= self.unfinished]
        longest = max((len(beginnings[i]) for i in rows), default=0)
        rest, _ = self._write([beginnings[i] for i in rows], self.meter.budget.tokens - longest, 1.0)
        more = dict(zip(rows, rest, strict=True))
        return [ids + more.get(i, []) for i, ids in enumerate(beginnings)]

    def _write(self, prefixes: list[Answer], tokens: int, share: float) -> tuple[list[Answer], bool]:
        """The new ids of each prefix, and whether the clock stopped them."""
        if not prefixes or tokens <= 0:
            return [[] for _ in prefixes], False
        slot = self.meter.left(share) / self.waiting
        end, cut = self.meter.seconds + slot, False

        def go_on(_rows: int) -> bool:
            nonlocal cut
            cut = self.meter.seconds >= end
            return not cut

        written = self.policy.extend(
            self.prompt,
            prefixes,
            tokens=tokens,
            temperature=self.temperature,
            generators=list(islice(cycle(self.generators), len(prefixes))),
            go_on=go_on,
        )
        self.meter.drafted += sum(map(len, written))
        return written, cut
