"""Decoding with fixed shapes: one step of all unfinished rows of all requests, which a GPU replays as a graph.

A batch holds rows until most of them have ended. Others that come get the places of rows that have ended; where there
are too few, a new batch takes over the keys and values of all. Between two steps nothing but the new ids is read on the
host, and a GPU begins the next steps before that.

Shapes: B rows; S positions that a row's own keys have room for, P positions of a prompt, D width, V vocabulary.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from langchain_sea.models.decode_arena import DecodeArena
from langchain_sea.models.decode_batch import DecodeShape, ModelParts
from langchain_sea.models.decode_rows import Arrival, find_places, load_rows
from langchain_sea.models.generation import sample_rows
from langchain_sea.models.hooked_model import compile_dynamically
from langchain_sea.models.kv_cache import PackedSequence
from langchain_sea.models.static_shapes import round_up_capacity, round_up_power, round_up_prompt, round_up_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.decode_batch import DecodeBatch
    from langchain_sea.models.generation import LengthGroup, PolicyGeneration
    from langchain_sea.models.lm_head import LMHead
    from langchain_sea.models.static_attention import KeyValue
    from langchain_sea.models.static_forward import StaticRunner

__all__ = ["StaticDecoder"]

_MAX_COPIED_POSITIONS = 2**16  # of prompts, copied into rows so that attention is one kernel per layer
_MAX_PADDING = 2  # where prompts are shared, a batch may be so many times as large as what it holds
_MAX_PLACES = 2  # a batch may have so many times as many places as rows, these rounded up to a power of two,
_MAX_EMPTY_STEPS = 8  # and more for so many steps: requests that go on together often come within a few
_STEPS_BEGUN = {"cuda": 4}  # before the first of them is read, by the type of device
_LOOKAHEAD = 64  # positions that a new batch has room for beyond those in use, if as many are left


@dataclass(slots=True)
class _Member:
    """The rows of one group in a batch.

    Attributes:
        group: the group.
        rows: their numbers in the generation, when they joined.
        first: the place of the first of them in the batch; the others follow it.
        num_own: positions after the prompt whose keys and values the rows have.
    """

    group: LengthGroup
    rows: list[int]
    first: int
    num_own: int

    def places(self, shape: DecodeShape) -> range | list[int]:
        """Return the places that are in use: of the rows that go on, or all that share the prompt with them."""
        if shape.prompt_tokens:
            return range(self.first, self.first + shape.rows)
        return [self.first + self.rows.index(row) for row in self.group.rows]


class _Parked(NamedTuple):
    """Keys and values of a group's rows, without those of the prompt: (C, H, n, d) of each layer."""

    key_values: list[KeyValue]

    @property
    def num_own(self) -> int:
        """Positions, n."""
        return self.key_values[0][0].shape[2]


class StaticDecoder:
    """Decodes for all requests of a policy. One thread at a time may use it.

    Attributes:
        parts: of the model.
        num_steps_begun: before the first of them is read, where all rows have room for so many.
    """

    def __init__(
        self, runner: StaticRunner, embed: Callable[[Tensor], Tensor], head: LMHead, disallowed: Tensor
    ) -> None:
        """Hold the parts; nothing is allocated."""
        sample = compile_dynamically(sample_rows) if runner.compiles else sample_rows
        self.parts = ModelParts(runner, embed, head, sample, disallowed)
        self._device = head.weight.device
        self.num_steps_begun = _STEPS_BEGUN.get(self._device.type, 1)
        self._arena = DecodeArena(self.parts)
        self._batch: DecodeBatch | None = None
        self._num_empty_steps = 0  # one after another, in which most places of the batch were free
        self._members: dict[LengthGroup, _Member] = {}
        self._steered: set[int] = set()  # layers
        self._parked: WeakKeyDictionary[LengthGroup, _Parked] = WeakKeyDictionary()
        runner.on_release = self.release

    @staticmethod
    def can_decode(generation: PolicyGeneration) -> bool:
        """Whether a generation can be decoded here, which is so at each of its steps or at none.

        A grammar looks at the logits on the host, and a prompt of one token has no keys to tell their shape.
        """
        return not generation.matchers and all(group.prompt.num_read for group in generation.groups)

    @torch.no_grad()
    def step(self, generations: Sequence[PolicyGeneration], end_ids: frozenset[int]) -> None:
        """Append one token to every unfinished row of all generations.

        Rows that come while steps are under way get theirs once these have been read.
        """
        groups = [(state, group) for state in generations for group in state.unfinished_groups()]
        if not groups:
            return
        known = [pair for pair in groups if pair[1] in self._members]
        arriving = [pair for pair in groups if pair[1] not in self._members]
        has_room = self._goes_on([group for _, group in groups])
        waits = has_room and bool(known and arriving and self._batch and self._batch.num_unread)
        if waits:
            groups = known
        elif not (has_room and self._join(arriving)):
            self._rebuild(groups)
        batch = self._batch
        assert batch is not None
        if not waits:
            self._load_prompts(batch)
        tokens = batch.next_tokens(0 if waits else self._num_to_begin(batch))
        for member in self._members.values():
            member.num_own += 1
        for state, group in groups:
            member = self._members[group]
            by_row = dict(zip(member.rows, tokens[member.first :], strict=False))
            state.append_tokens(group, [by_row[row] for row in group.rows], end_ids)

    def _num_to_begin(self, batch: DecodeBatch) -> int:
        """Return how many steps may be under way: not more than a row has room for, or than all rows need."""
        num_left = max(member.group.num_left for member in self._going_on)
        return min(self.num_steps_begun, batch.shape.capacity - self._num_used(batch.shape), num_left)

    @property
    def _going_on(self) -> list[_Member]:
        """The members of which a row goes on."""
        return [member for member in self._members.values() if member.group.rows]

    def _num_used(self, shape: DecodeShape) -> int:
        """Return how many positions the longest of the rows that go on has."""
        return max((shape.num_before(member.group) + member.num_own for member in self._going_on), default=0)

    def _goes_on(self, groups: Sequence[LengthGroup]) -> bool:
        """Whether the batch has room for a token of each of its rows, and it suits these groups.

        It must not read on for a group that is left out, and not have many more places than rows for long.
        """
        if self._batch is None or not {member.group for member in self._going_on} <= set(groups):
            return False
        shape, num_rows = self._batch.shape, sum(len(group.rows) for group in groups)
        is_empty = shape.num_rows > _MAX_PLACES * round_up_power(num_rows)
        self._num_empty_steps = self._num_empty_steps + 1 if is_empty else 0
        return self._num_used(shape) < shape.capacity and self._num_empty_steps <= _MAX_EMPTY_STEPS

    def _join(self, arriving: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> bool:
        """Put groups into free places of the batch, and return whether it has room for all."""
        batch = self._batch
        assert batch is not None
        if not arriving:
            return True
        batch.drop_unread_steps()
        shape = batch.shape
        going_on = self._going_on
        used = {place for member in going_on for place in member.places(shape)}
        first_places = find_places(shape, used, [len(group.rows) for _, group in arriving])
        if first_places is None or not all(self._fits(shape, state, group) for state, group in arriving):
            return False
        self._members = {member.group: member for member in going_on}  # others may get the places of the rest
        self._read_prefixes(arriving)
        self._load(batch, arriving, first_places)
        return True

    def _fits(self, shape: DecodeShape, state: PolicyGeneration, group: LengthGroup) -> bool:
        """Whether a batch of this shape steers a group's layer, and has room for its prompt and next tokens."""
        num_prompt = group.prompt.num_read
        return (
            shape.num_before(group) + self._num_needed(group) <= shape.capacity
            and (num_prompt <= shape.prompt_tokens or not shape.prompt_tokens)
            and (state.steering is None or state.steering.layer in shape.steered)
        )

    def _num_needed(self, group: LengthGroup) -> int:
        """Return how many positions after the prompt a batch has room for in each row of a group, if it is new."""
        known = self._parked[group].num_own if group in self._parked else len(group.ids[0]) - 1
        return known + min(group.num_left, _LOOKAHEAD)

    def _load_prompts(self, batch: DecodeBatch) -> None:
        """Put the prompts into the slots again: other passes may have put theirs there."""
        if batch.slots is not None:
            by_slot = {member.first // batch.shape.rows: group for group, member in self._members.items()}
            prompts = [by_slot[i].prompt.key_values if i in by_slot else () for i in range(max(by_slot) + 1)]
            batch.slots.load(prompts)

    def _rebuild(self, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> None:
        """Make a batch of these groups; what was computed for them, and for groups that are left out, is kept."""
        self._park()
        self._read_prefixes(groups)
        shape = self._choose_shape(groups)
        prompts = [group.prompt.key_values for _, group in groups]
        slots = self.parts.runner.load_prompts(prompts, shape.prompts, shape.prompt_tokens)
        batch = self._arena.get_batch(shape, prompts[0], slots)
        first_places = find_places(shape, set(), [len(group.rows) for _, group in groups])
        assert first_places is not None
        self._load(batch, groups, first_places)
        self._batch, self._num_empty_steps = batch, 0

    def _load(
        self, batch: DecodeBatch, groups: Sequence[tuple[PolicyGeneration, LengthGroup]], first_places: Sequence[int]
    ) -> None:
        """Put groups into places of a batch; what was kept for them lies there then."""
        arrivals = [
            Arrival(state, group, first, self._parked[group].key_values if group in self._parked else ())
            for (state, group), first in zip(groups, first_places, strict=True)
        ]
        load_rows(batch, arrivals)
        for _, group, first, _ in arrivals:
            known = self._parked.pop(group, None)
            self._members[group] = _Member(group, list(group.rows), first, known.num_own if known else 0)

    def _park(self) -> None:
        """Copy the keys and values of all unfinished rows out of the batch, and leave it."""
        if self._batch is not None:
            self._batch.drop_unread_steps()
        batch, parked = self._batch, {}  # nothing is left before all is copied, for which memory may not suffice
        for group, member in self._members.items():
            if batch is None or not group.rows:
                continue
            places = [member.first + member.rows.index(row) for row in group.rows]
            start = batch.shape.num_before(group)
            rows = torch.tensor(places, device=self._device)
            parked[group] = _Parked(
                [
                    (k[rows, :, start : start + member.num_own], v[rows, :, start : start + member.num_own])
                    for k, v in batch.cache
                ]
            )
        self._parked.update(parked)
        self._batch, self._members = None, {}

    @torch.no_grad()
    def release(self) -> None:
        """Give the batches' memory back; rows that are not finished keep copies of their keys and values."""
        with suppress(torch.OutOfMemoryError):  # where memory does not suffice for the copies, all stays
            self._park()
            self._arena.clear()

    def _read_prefixes(self, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> None:
        """Read all but the last id that each row of these groups reads next."""
        groups = [(state, group) for state, group in groups if len(group.ids[0]) > 1]
        if not groups:
            return
        sequences = [
            PackedSequence(
                self.parts.embed(torch.tensor([ids[:-1] for ids in group.ids], device=self._device)),
                group.prompt.key_values,
                steering=state.steering_for(group),
            )
            for state, group in groups
        ]
        self.parts.runner.forward(sequences, last=False, keep_key_values=True)
        for (_, group), sequence in zip(groups, sequences, strict=True):
            self._parked[group] = _Parked(sequence.key_values)
            group.ids = [ids[-1:] for ids in group.ids]

    def _choose_shape(self, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> DecodeShape:
        """Return the sizes of a batch that holds the groups."""
        rows = [len(group.rows) for _, group in groups]
        prompts = [group.prompt.num_read for _, group in groups]
        own = [self._num_needed(group) for _, group in groups]
        # a layer that was steered once stays so, by zeros: a batch without it would be one more shape
        self._steered |= {state.steering.layer for state, _ in groups if state.steering}
        steered = tuple(sorted(self._steered))
        num_slots, num_rows = round_up_power(len(groups)), round_up_rows(max(rows))
        num_copied = sum(row * prompt for row, prompt in zip(rows, prompts, strict=True))
        if num_copied <= _MAX_COPIED_POSITIONS or num_slots * num_rows > _MAX_PADDING * sum(rows):
            longest = max(prompt + length for prompt, length in zip(prompts, own, strict=True))
            return DecodeShape(round_up_power(sum(rows)), 1, round_up_capacity(longest), 0, steered)
        return DecodeShape(num_slots, num_rows, round_up_capacity(max(own)), round_up_prompt(max(prompts)), steered)
