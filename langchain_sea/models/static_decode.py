"""Decoding with fixed shapes: one step of all unfinished rows of all requests, which a GPU replays as a graph.

A batch holds rows until too many of them have ended, or others come; then a new batch takes over their keys and values.
Between two steps nothing but the new ids is read on the host.

Shapes: B rows; S positions that a row's own keys have room for, P positions of a prompt, D width, V vocabulary.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from langchain_sea.models.decode_batch import DecodeBatch, DecodeShape, ModelParts
from langchain_sea.models.generation import sample_rows
from langchain_sea.models.hooked_model import compile_dynamically
from langchain_sea.models.kv_cache import PackedSequence
from langchain_sea.models.static_shapes import round_up_capacity, round_up_power, round_up_prompt, round_up_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.generation import LengthGroup, PolicyGeneration
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.lm_head import LMHead
    from langchain_sea.models.prompt_slots import PromptSlots
    from langchain_sea.models.static_attention import KeyValue
    from langchain_sea.models.static_forward import StaticRunner

__all__ = ["StaticDecoder"]

_MAX_COPIED_POSITIONS = 2**16  # of prompts, copied into rows so that attention is one kernel per layer
_MAX_PADDING = 2  # where prompts are shared, a batch may be so many times as large as what it holds
_MAX_BATCHES = 48
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
    """

    def __init__(
        self, runner: StaticRunner, embed: Callable[[Tensor], Tensor], head: LMHead, disallowed: Tensor
    ) -> None:
        """Hold the parts; nothing is allocated."""
        sample = compile_dynamically(sample_rows) if runner.compiles else sample_rows
        self.parts = ModelParts(runner, embed, head, sample, disallowed)
        self._device = head.weight.device
        self._arena: list[KeyValue] = []  # of each layer, on one axis; all batches lie in it
        self._num_positions = 0  # that the arena holds
        self._batches: OrderedDict[DecodeShape, DecodeBatch] = OrderedDict()
        self._batch: DecodeBatch | None = None
        self._members: dict[LengthGroup, _Member] = {}
        self._steered: set[int] = set()  # layers
        self._parked: WeakKeyDictionary[LengthGroup, _Parked] = WeakKeyDictionary()
        runner.on_release = self.release

    def can_decode(self, generations: Sequence[PolicyGeneration]) -> bool:
        """Whether the rows can be decoded here.

        A grammar looks at their logits on the host, and a prompt of one token has no keys to tell their shape.
        """
        groups = [group for state in generations for group in state.unfinished_groups()]
        return not any(state.matchers for state in generations) and all(g.prompt.key_values for g in groups)

    @torch.no_grad()
    def step(self, generations: Sequence[PolicyGeneration], end_ids: frozenset[int]) -> None:
        """Append one token to every unfinished row of all generations."""
        groups = [(state, group) for state in generations for group in state.unfinished_groups()]
        if not groups:
            return
        if not self._holds([group for _, group in groups]):
            self._rebuild(groups)
        assert self._batch is not None
        if self._batch.slots is not None:  # other passes may have put their prompts there
            self._batch.slots.load([group.prompt.key_values for group in self._members])
        try:
            (ids,) = self._batch.step()
        except torch.OutOfMemoryError:
            self.parts.runner.release_memory()  # as in `_rebuild`
            raise
        tokens: list[int] = ids.tolist()
        for member in self._members.values():  # also of groups that are left out here: their next token is drawn anew
            member.num_own += 1
        for state, group in groups:
            member = self._members[group]
            by_row = dict(zip(member.rows, tokens[member.first :], strict=False))
            state.append_tokens(group, [by_row[row] for row in group.rows], end_ids)

    def _holds(self, groups: Sequence[LengthGroup]) -> bool:
        """Whether the batch is one of these groups, has room for a token, and holds few rows besides theirs."""
        if self._batch is None or not all(group in self._members for group in groups):
            return False
        going_on = [group for group in self._members if group.rows]
        if len(going_on) != len(groups):  # a group that is left out must not be read on
            return False
        shape = self._batch.shape
        used = max(self._members[group].num_own + shape.num_before(group) for group in groups)
        num_rows = sum(len(group.rows) for group in groups)
        return used < shape.capacity and 2 * round_up_power(num_rows) > shape.num_rows

    def _rebuild(self, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> None:
        """Make a batch of these groups; what was computed for them, and for groups that are left out, is kept."""
        self._park()
        self._read_prefixes([pair for pair in groups if len(pair[1].ids[0]) > 1])
        shape = self._choose_shape(groups)
        prompts = [group.prompt.key_values for _, group in groups]
        slots = self.parts.runner.load_prompts(prompts, shape.prompts, shape.prompt_tokens)
        try:
            self._batch = self._get_batch(shape, prompts[0], slots)
        except torch.OutOfMemoryError:
            self.parts.runner.release_memory()  # what is tried next, with fewer rows, may need it
            raise
        self._load(self._batch, groups)

    def _park(self) -> None:
        """Copy the keys and values of all unfinished rows out of the batch, and leave it."""
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
            self._batches.clear()
            self._arena, self._num_positions = [], 0

    def _read_prefixes(self, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> None:
        """Read all but the last id that each row of these groups reads next."""
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
        own = [
            (self._parked[group].num_own if group in self._parked else 0) + min(group.num_left, _LOOKAHEAD)
            for _, group in groups
        ]
        # a layer that was steered once stays so, by zeros: a batch without it would be one more shape
        self._steered |= {state.steering.layer for state, _ in groups if state.steering}
        steered = tuple(sorted(self._steered))
        num_slots, num_rows = round_up_power(len(groups)), round_up_rows(max(rows))
        num_copied = sum(row * prompt for row, prompt in zip(rows, prompts, strict=True))
        if num_copied <= _MAX_COPIED_POSITIONS or num_slots * num_rows > _MAX_PADDING * sum(rows):
            longest = max(prompt + length for prompt, length in zip(prompts, own, strict=True))
            return DecodeShape(round_up_power(sum(rows)), 1, round_up_capacity(longest), 0, steered)
        return DecodeShape(num_slots, num_rows, round_up_capacity(max(own)), round_up_prompt(max(prompts)), steered)

    def _get_batch(self, shape: DecodeShape, like: KeyValues, slots: PromptSlots | None) -> DecodeBatch:
        """Return a batch of this shape; its keys and values are those of whatever used it before."""
        num_positions = shape.num_rows * shape.capacity
        if num_positions > self._num_positions:
            self._batches.clear()
            self._arena, self._num_positions = [], 0  # freed before more is taken
            size = round_up_power(num_positions)
            self._arena = [tuple(x.new_zeros(size * len(x) * x.shape[-1]) for x in pair) for pair in like]  # type: ignore[misc]
            self._num_positions = size
        batch = self._batches.pop(shape, None)
        if batch is None or batch.slots is not slots:
            cache = [
                tuple(
                    flat[: num_positions * len(x) * x.shape[-1]].view(shape.num_rows, len(x), shape.capacity, -1)
                    for flat, x in zip(flats, pair, strict=True)
                )
                for flats, pair in zip(self._arena, like, strict=True)
            ]
            batch = DecodeBatch(self.parts, shape, cache, slots)  # type: ignore[arg-type]
        self._batches[shape] = batch
        while len(self._batches) > _MAX_BATCHES:
            self._batches.popitem(last=False)
        return batch

    def _load(self, batch: DecodeBatch, groups: Sequence[tuple[PolicyGeneration, LengthGroup]]) -> None:
        """Put the rows of the groups into a batch."""
        shape, first = batch.shape, 0
        # made on the host and copied once
        tokens, temperatures = torch.zeros(shape.num_rows, dtype=torch.long), torch.zeros(shape.num_rows)
        lengths, draws = torch.zeros(shape.prompts, dtype=torch.long), torch.zeros(shape.num_rows, shape.capacity)
        draws = draws.double()
        torch._foreach_zero_([part for pair in batch.cache for part in pair])  # old values may be infinite
        for vectors in batch.vectors.values():
            vectors.zero_()
        for slot, (state, group) in enumerate(groups):
            first = slot * shape.rows if shape.prompt_tokens else first
            rows, parked = slice(first, first + len(group.rows)), self._parked.pop(group, None)
            member = _Member(group, list(group.rows), first, parked.num_own if parked else 0)
            before = shape.num_before(group)
            _copy_positions(batch.cache, rows, 0, group.prompt.key_values if before else ())
            _copy_positions(batch.cache, rows, before, parked.key_values if parked else ())
            tokens[rows] = torch.tensor([ids[-1] for ids in group.ids])
            temperatures[rows] = state.temperature
            lengths[slot if shape.prompt_tokens else rows] = before + member.num_own
            used = len(state.written[group.rows[0]])
            count = min(group.num_left, shape.capacity)
            draws[rows, :count] = state.draws[group.rows, used : used + count]
            if state.steering is not None:
                batch.vectors[state.steering.layer][rows] = state.steering.vectors[group.rows].to(
                    batch.vectors[state.steering.layer]
                )
            self._members[group] = member
            first += len(group.rows)
        batch.tokens.copy_(tokens)
        batch.temperatures.copy_(temperatures)
        batch.lengths.copy_(lengths)
        batch.steps.zero_()
        batch.draws.copy_(draws)


def _copy_positions(cache: Sequence[KeyValue], rows: slice, start: int, key_values: Sequence[KeyValue]) -> None:
    """Write keys and values, (H, n, d) or (C, H, n, d) of each layer, into rows of a batch, from a position on."""
    if not key_values or not key_values[0][0].shape[-2]:
        return
    targets, sources = [], []
    for held_pair, pair in zip(cache, key_values, strict=True):
        for held, new in zip(held_pair, pair, strict=True):
            target = held[rows, :, start : start + new.shape[-2]]
            targets.append(target)
            sources.append(new.expand_as(target))
    torch._foreach_copy_(targets, sources)
