"""Refinements side by side: each round, what they ask for next is answered in as few forwards as it fits in.

Refinements join and leave between rounds. Whatever goes wrong is brought home: a group that fails is halved
until the one that fails is alone, and only that one hears of it. Knows no text and no reward.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.protocols import AnswerBatch, ForwardRequest, GenerationState
from langchain_sea.engine.gradients import gradients, min_gradient_cosine
from langchain_sea.engine.memory import capture_error, to_package_error
from langchain_sea.engine.ops import (
    ForwardOp,
    GenerateOp,
    GradientOp,
    Op,
    PrefillOp,
    R,
    RequestSteps,
    ScorePrefixesOp,
    ScoreTextsOp,
)
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Scheduler", "Seat", "run_to_completion"]

_GROWTH = 64  # successes after which a group may be twice as large again


@dataclass(slots=True, eq=False)
class Seat:
    """One refinement among others.

    Attributes:
        task: its generator.
        ended: called when it has ended, with what it raised, if it raised anything.
        work: what it asks for now; None before the first time.
        writings: where `work` is being written, how far it is.
        waits: where `work` is a function's to answer, its answer to come, and until when.
    """

    task: RequestSteps[Any]
    ended: Callable[[BaseException | None], None] = lambda _error: None
    work: Op | None = None
    writings: list[GenerationState] | None = None
    waits: tuple[Future[Any], float] | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Scheduler:
    """All refinements that are under way."""

    def __init__(self) -> None:
        """None yet."""
        self.seats: list[Seat] = []
        self.wake = threading.Event()  # set by whoever has news while nothing is to do but to wait
        self._most: dict[type, list[int]] = defaultdict(lambda: [1 << 30, 0])

    def join(self, seat: Seat) -> None:
        """Let one begin; it goes to its first piece of work."""
        self.seats.append(seat)
        self._go_on(seat, seat.task.send, None)

    def leave(self, seat: Seat) -> None:
        """Let one stop where it is."""
        if seat in self.seats:
            self.end(seat, capture_error(seat.task.close))

    def round(self, *, most: float = math.inf) -> None:
        """Answer each once; where all wait for functions, wait too, for `most` seconds."""
        by_kind: dict[type, list[Seat]] = defaultdict(list)
        for seat in self.seats:
            if seat.waits is None:
                by_kind[type(seat.work)].append(seat)
        for kind, seats in by_kind.items():
            serve = {GradientOp: self._climb, GenerateOp: self._extend}.get(kind, self._read)
            self._in_groups(kind, seats, serve)
        self._collect(0.0 if by_kind else most)

    def _in_groups(self, kind: type, seats: list[Seat], serve: Callable[[list[Seat]], None]) -> None:
        """Serve as many at once as memory lets; fewer after a failure, more again after many successes."""
        limit = self._most[kind]
        while seats:
            group, seats = seats[: limit[0]], seats[limit[0] :]
            asked = [seat.work for seat in group]
            error = capture_error(partial(serve, group))
            if error is None:
                limit[1] += 1
                if limit[1] >= _GROWTH:
                    limit[:] = [min(limit[0] * 2, 1 << 30), 0]
                continue
            unanswered = [
                seat
                for seat, work in zip(group, asked, strict=True)
                if seat.work is work and seat.waits is None
            ]
            if len(group) == 1:
                for seat in unanswered:
                    self._go_on(seat, seat.task.throw, error)
            elif isinstance(error, OutOfMemoryError):
                limit[:] = [len(group) // 2, 0]
                seats = unanswered + seats
            else:
                for seat in unanswered:  # whose fault it is shows when each is alone
                    self._in_groups(kind, [seat], serve)

    def _read(self, seats: list[Seat]) -> None:
        """`ForwardOp`, `ScorePrefixesOp`, `ScoreTextsOp` and `PrefillOp`: one forward a policy."""
        works: list[ForwardOp | ScorePrefixesOp | ScoreTextsOp | PrefillOp] = [seat.work for seat in seats]  # type: ignore[misc]
        _read_views([view for work in works for view in work.views()])
        for seat, work in zip(seats, works, strict=True):
            if isinstance(work, ScoreTextsOp) and work.energy.has_function_rewards:
                seat.waits = _aside(seat, work, self.wake), time.monotonic() + work.seconds
            else:
                found = _caught(seat, work.finish)
                _raise_if_short([found], seats)
                self._answer(seat, found)

    def _climb(self, seats: list[Seat]) -> None:
        """One forward and one backward for all; a reward that fails fails its own refinement alone."""
        works: list[GradientOp] = [seat.work for seat in seats]  # type: ignore[misc]
        _read_views([view for work in works for view in work.views()])
        found: list[Any] = [_caught(seat, work.terms) for seat, work in zip(seats, works, strict=True)]
        _raise_if_short(found, seats)
        good = [
            (work, terms)
            for work, terms in zip(works, found, strict=True)
            if not isinstance(terms, Exception)
        ]
        # a backward for each reward first, since the last one frees the graph
        found_conflicts = iter(min_gradient_cosine(good))
        values = iter(gradients([(work.leaf, terms.energy) for work, terms in good]))
        for seat, work, terms in zip(seats, works, found, strict=True):
            if not isinstance(terms, Exception):
                whole = terms._replace(min_gradient_cosine=next(found_conflicts))
                terms = _caught(seat, partial(work.finish, whole, next(values)))  # noqa: PLW2901 - what is sent
            self._answer(seat, terms)

    def _extend(self, seats: list[Seat]) -> None:
        """One token more for each that still writes."""
        batches: dict[int, list[Seat]] = defaultdict(list)
        for seat in seats:
            work = seat.work
            assert isinstance(work, GenerateOp)
            if seat.writings is None:
                seat.writings = work.writings()
            rows = sum(writing.num_unfinished for writing in seat.writings)
            if rows and work.go_on(rows):
                batches[id(work.policy)].append(seat)
            else:
                self._written(seat)
        for batch in batches.values():
            work = batch[0].work
            assert isinstance(work, GenerateOp)
            work.policy.generate_step([writing for seat in batch for writing in seat.writings or ()])
            for seat in batch:
                if not any(writing.num_unfinished for writing in seat.writings or ()):
                    self._written(seat)

    def _written(self, seat: Seat) -> None:
        written = [writing.written for writing in seat.writings or ()]
        self._go_on(seat, seat.task.send, written)

    def _collect(self, most: float) -> None:
        """The answers of functions that are there, and errors for those that come too late."""
        waiting = [seat for seat in self.seats if seat.waits is not None]
        if most and waiting:
            self._wait(most, [seat.waits[1] for seat in waiting if seat.waits])
        for seat in waiting:
            assert seat.waits is not None
            future, until = seat.waits
            if future.done():
                seat.waits = None
                self._answer(seat, _caught(seat, future.result))
            elif time.monotonic() >= until:
                seat.waits = None
                late = "a reward was still at work when the budget's seconds were over: make it faster."
                self._go_on(seat, seat.task.throw, RewardUnavailableError(late))

    def _wait(self, most: float, ends: Sequence[float]) -> None:
        """Until a function answers, one is late, or somebody has news."""
        self.wake.wait(max(0.0, min(most, min(ends) - time.monotonic(), threading.TIMEOUT_MAX)))
        self.wake.clear()

    def _answer(self, seat: Seat, found: Any) -> None:  # noqa: ANN401 - whatever came of the work
        """Send it, or raise it in the refinement if it is an error."""
        self._go_on(seat, seat.task.throw if isinstance(found, Exception) else seat.task.send, found)

    def _go_on(self, seat: Seat, resume: Callable[[Any], Op], value: Any) -> None:  # noqa: ANN401 - as generators take
        """To the next piece of work, or to the end."""
        seat.work, seat.writings, seat.waits = None, None, None
        try:
            seat.work = seat.context.run(resume, value)
        except StopIteration:
            self.end(seat, None)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            self.end(seat, to_package_error(error))

    def end(self, seat: Seat, error: BaseException | None) -> None:
        """Take one out, and tell it why if something was wrong."""
        if seat in self.seats:
            self.seats.remove(seat)
            seat.ended(error)


def run_to_completion(task: RequestSteps[R]) -> R:
    """One task by itself, here and now."""
    rounds, found, errors = Scheduler(), list[R](), list[BaseException | None]()

    def watched() -> RequestSteps[None]:
        found.append((yield from task))

    rounds.join(Seat(watched(), errors.append))
    while rounds.seats:
        rounds.round()
    for error in errors:
        if error is not None:
            raise error
    return found[0]


def _raise_if_short(found: Sequence[Any], seats: Sequence[Seat]) -> None:
    """Where memory ran out among several, who asked for least may have met it: try again with fewer."""
    for error in found:
        if len(seats) > 1 and isinstance(error, OutOfMemoryError):
            raise error


def _read_views(views: Sequence[AnswerBatch]) -> None:
    """Fill in what the views want: one forward for each policy, and one for what needs no gradient."""
    groups: dict[tuple[int, bool], list[AnswerBatch]] = defaultdict(list)
    for view in views:
        if view.output_spec and not view.is_computed:
            groups[id(view.policy), view.tokens.soft.requires_grad].append(view)
    for (_, climbs), group in groups.items():
        with torch.set_grad_enabled(climbs):
            readings = group[0].policy.forward_all(
                [ForwardRequest(view.prompt, view.tokens, view.output_spec) for view in group]
            )
        for view, reading in zip(group, readings, strict=True):
            view.output = reading


def _caught(seat: Seat, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever comes of it
    """What `call` returns, or the exception that it raised; in the context that the refinement came from."""
    try:
        return seat.context.run(call)
    except BaseException as error:  # noqa: BLE001 - it is raised again in the refinement
        return to_package_error(error)


def _aside(seat: Seat, work: ScoreTextsOp, wake: threading.Event) -> Future[Any]:
    """The work's end in a thread of its own, so that whoever is slow is waited for by nobody else."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(work.finish())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            future.set_exception(to_package_error(error))
        wake.set()

    threading.Thread(target=seat.context.copy().run, args=(call,), daemon=True).start()
    return future
