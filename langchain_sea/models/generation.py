"""Answers that are being written, a token a step. Knows no model and no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from langchain_sea.core.protocols import Steering
from langchain_sea.models.kv_cache import GrowingKVCache

if TYPE_CHECKING:
    from torch import Tensor

    from langchain_sea.models.prompt import Matching, PolicyPrompt

__all__ = ["LengthGroup", "PolicyGeneration"]

_COPIED = 4096  # positions of prompt that a few rows may hold twice, to write with one kernel a layer


@dataclass(slots=True, eq=False)
class PolicyGeneration:
    """Answers to one prompt that are being written.

    Attributes:
        written: the new ids of each prefix.
        groups: the rows that go on, those with prefixes of one length together.
        draws: (C, tokens) in [0, 1).
        temperature: of sampling.
        matchers: of each row, where a grammar bounds the answers.
        steering: what is added to the states of each row meanwhile.
    """

    written: list[list[int]]
    groups: list[LengthGroup]
    draws: Tensor
    temperature: float
    matchers: list[Matching] = field(default_factory=list)
    steering: Steering | None = None

    @property
    def num_unfinished(self) -> int:
        """How many still go on."""
        return sum(len(group.rows) for group in self.groups)

    def steering_for(self, group: LengthGroup) -> Steering | None:
        """What is added to a group's rows."""
        return self.steering and Steering(self.steering.layer, self.steering.vectors[group.rows])

    def append_tokens(self, group: LengthGroup, chosen: list[int], end_ids: frozenset[int]) -> None:
        """What was drawn for a group's rows."""
        for row, token in zip(group.rows, chosen, strict=True):
            if self.matchers and token >= 0 and token not in end_ids:
                self.matchers[row].take(token)
        group.take(chosen, self.written, end_ids)


class LengthGroup:
    """Rows whose prefixes are equally long: what they read next, and what they have read."""

    def __init__(self, prompt: PolicyPrompt, rows: list[int], ids: list[list[int]], room: int) -> None:
        """Copies of a short prompt stand in every row, a long one is shared."""
        self.rows, self.ids, self.room = rows, ids, room
        own = len(ids[0]) + room
        copied = len(rows) * (len(prompt.ids) + len(prompt.answer)) <= _COPIED
        self.own = (
            GrowingKVCache.from_prompt(prompt.states, len(rows), own)
            if copied
            else GrowingKVCache(len(rows), own)
        )
        self.shared = () if copied else prompt.states

    def take(self, chosen: list[int], written: list[list[int]], end_ids: frozenset[int]) -> None:
        """What was drawn for each row; those that end leave."""
        kept = [i for i, token in enumerate(chosen) if token >= 0 and token not in end_ids]
        if self.room > 1 and len(kept) < len(self.rows):
            self.own.select_rows(torch.tensor(kept, dtype=torch.long))  # first: memory may run out
        self.own.advance(len(self.ids[0]))
        self.room -= 1
        for i in kept:
            written[self.rows[i]].append(chosen[i])
        kept = kept if self.room else []
        self.rows = [self.rows[i] for i in kept]
        self.ids = [[chosen[i]] for i in kept]
