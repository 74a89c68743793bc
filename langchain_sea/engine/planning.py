"""How long the engine's passes take on this machine, and which plan fits into the time that is left.

Seconds are measured while the engine works, so that the choice follows the hardware, the model, and whatever else the
machine is doing.
"""

from __future__ import annotations

import math
import statistics
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.plans import PLANS, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Policy

__all__ = ["PlanReport", "SpeedModel", "Workload", "choose_plan", "get_speed", "make_plan_report", "plan_seconds"]

_MAX_SAMPLES = 9  # the median of the newest nine passes counts: the first pass of a shape is slow
_MIN_ROWS_OF_DOUBLE = 24  # until more rows are measured, 24 more are expected to double the time of a pass
_GRADIENT_COST = 2.5  # of a pass with a gradient in a latent ÷ one without, until it is measured
_SHORT_ANSWER = 16  # tokens: a refusal of one sentence
_PASSES_OF_ANSWERS = 2.5  # one that finds where they could end, one that scores them, and half for the shorter ones
_TEXTS_OF_ANSWERS = 2  # scored by functions: each answer, and a shorter one
_SAFETY_FACTOR = 1.1  # for what is not counted here


class _Reference(NamedTuple):
    """The time of the smallest measured step of drafting: every draft measures it anew."""

    rows: int
    seconds: float


@dataclass(slots=True)
class _Samples:
    """The last measured seconds for passes of about one size, and the reference of that moment."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))
    reference: _Reference | None = None


class SpeedModel:
    """Seconds of a policy's passes as measured so far, by the number of tokens that a pass reads.

    What was measured while the machine was busier, or less busy, is scaled by how much the time of a draft's token has
    changed since.

    Attributes:
        num_requests: how many requests share the passes at the moment.
        max_rows: to which one pass can add a token; memory does not suffice for more.
    """

    def __init__(self) -> None:
        """Begin without a measurement."""
        self.num_requests = 1
        self.max_rows = 1 << 30
        self._decode: dict[int, _Samples] = {}
        self._forward: dict[int, _Samples] = {}
        self._gradient: dict[int, _Samples] = {}

    def record_decode(self, rows: int, seconds: float) -> None:
        """Note how long it took to add one token to so many rows."""
        self._record(self._decode, rows, seconds)

    def record_forward(self, tokens: int, seconds: float) -> None:
        """Note how long it took to read so many tokens of answers, and to score them."""
        self._record(self._forward, tokens, seconds)

    def record_gradient(self, tokens: int, seconds: float) -> None:
        """Note how long the gradient in the latents took for so many tokens."""
        self._record(self._gradient, tokens, seconds)

    @property
    def is_measured(self) -> bool:
        """Whether the time of a token is known."""
        return bool(self._decode)

    def decode(self, rows: int) -> float:
        """Return the seconds in which one token is added to so many rows, in as many passes as memory needs."""
        num_passes = max(1, -(-rows // self.max_rows))
        return num_passes * _estimate(self._medians(self._decode), -(-rows // num_passes))

    def forward(self, tokens: int) -> float:
        """Return the seconds in which so many tokens are read and scored.

        Fewer tokens than were ever read take at least as long as one token in so many rows.
        """
        read = self._medians(self._forward)
        smallest = min(read, default=math.inf)
        written = {rows: seconds for rows, seconds in self._medians(self._decode).items() if rows < smallest}
        return _estimate(written | read, tokens)

    def gradient(self, tokens: int) -> float:
        """Return the seconds that a gradient in the latents takes for so many tokens."""
        if self._gradient:
            return _estimate(self._medians(self._gradient), tokens)
        return _GRADIENT_COST * self.forward(tokens)

    def _record(self, samples: dict[int, _Samples], size: int, seconds: float) -> None:
        if size > 0:
            # sizes within a quarter of a power of two of each other share a median
            bucket = samples.setdefault(round(2 ** (round(4 * math.log2(size)) / 4)), _Samples())
            bucket.values.append(seconds)
            bucket.reference = self._reference()

    def _reference(self) -> _Reference | None:
        rows = min(self._decode, default=0)
        return _Reference(rows, statistics.median(self._decode[rows].values)) if rows else None

    def _medians(self, samples: dict[int, _Samples]) -> dict[int, float]:
        """Return the seconds for each measured size, as they would be now."""
        now = self._reference()
        medians = {}
        for size, bucket in samples.items():
            then, scale = bucket.reference, 1.0
            if now is not None and then is not None and now.rows == then.rows and then.seconds > 0:
                scale = now.seconds / then.seconds
            medians[size] = scale * statistics.median(bucket.values)
        return medians


def _estimate(seconds: dict[int, float], size: int) -> float:
    """Return the seconds of a pass of this size: between measured sizes by a line, beyond them by a slope."""
    if not seconds or size <= 0:
        return 0.0
    sizes = sorted(seconds)
    above = next((s for s in sizes if s >= size), None)
    below = next((s for s in reversed(sizes) if s <= size), None)
    if below is None:
        assert above is not None
        return seconds[above]
    start = seconds[below]
    if above == below:
        return start
    if above is not None:
        return max(start, start + (seconds[above] - start) * (size - below) / (above - below))
    return start * _growth(sizes, seconds, size)


def _growth(sizes: Sequence[int], seconds: dict[int, float], size: int) -> float:
    """Return how many times the largest measured pass a larger one takes.

    Small passes take the time of reading the weights, whatever their size; large ones grow with it.
    """
    largest = sizes[-1]
    slope = 1 / (_MIN_ROWS_OF_DOUBLE + largest)
    if len(sizes) > 1:
        first, last = seconds[sizes[0]], seconds[largest]
        slope = max(0.5 * slope, (last - first) / (largest - sizes[0]) / last)
    return 1 + slope * (size - largest)


class Workload(NamedTuple):
    """What one window of an answer asks of the machine, besides the plan."""

    draw_tokens: int | None  # of each draw; None: the plan's number
    written_tokens: int  # that the kept draws are continued by
    answer_tokens: int  # that are read to score one continued draw
    draw_seconds: float = 0.0  # that plain functions take to judge a draw
    answer_seconds: float = 0.0  # and to judge a continued draw


def plan_seconds(plan: SearchPlan, speed: SpeedModel, work: Workload) -> float:
    """Return the seconds that a plan is expected to take, beside the other requests of the moment."""
    round_seconds, gradient_seconds = round_costs(plan, speed, work)
    rounds = plan.rounds * round_seconds + (plan.rounds - 1) * gradient_seconds
    return _SAFETY_FACTOR * (rounds + writing_seconds(plan.kept, speed, work))


def round_costs(plan: SearchPlan, speed: SpeedModel, work: Workload) -> tuple[float, float]:
    """Return the seconds of drawing and scoring one round, and of one gradient."""
    tokens = work.draw_tokens or plan.tokens
    rows = speed.num_requests * plan.num_draws
    scoring = speed.forward(rows * tokens) + plan.num_draws * work.draw_seconds
    return tokens * speed.decode(rows) + scoring, speed.gradient(rows * tokens)


def writing_seconds(kept: int, speed: SpeedModel, work: Workload) -> float:
    """Return the seconds in which so many draws are continued and scored."""
    rows = speed.num_requests * kept
    scoring = (
        _PASSES_OF_ANSWERS * speed.forward(rows * work.answer_tokens) + _TEXTS_OF_ANSWERS * kept * work.answer_seconds
    )
    return work.written_tokens * speed.decode(rows) + scoring


def choose_plan(speed: SpeedModel, seconds: float, work: Workload) -> tuple[SearchPlan | None, str]:
    """Return the largest plan that fits into the seconds, and the reason; None if none does.

    The smallest plan is also taken if there is time to write short answers alone: many end early, and those that do
    not are dropped when the time is over.
    """
    if seconds == math.inf:
        return PLANS[-1], "there is no time limit"
    if not speed.is_measured:
        return PLANS[0], "the speed is not known yet"
    expected = 0.0
    for plan in reversed(PLANS):
        expected = plan_seconds(plan, speed, work)
        if expected <= seconds:
            return plan, f"expected to take {expected:.3g} s of the {seconds:.3g} s left"
    smallest = PLANS[0]
    drawn = work.draw_tokens or smallest.tokens
    short = max(0, min(work.written_tokens, _SHORT_ANSWER - drawn))
    hoped = plan_seconds(smallest, speed, work._replace(written_tokens=short, answer_tokens=drawn + short))
    if hoped <= seconds:
        return smallest, f"expected to take {hoped:.3g} s of the {seconds:.3g} s left for answers that end early"
    return None, f"the smallest plan is expected to take {expected:.3g} s, and {seconds:.3g} s are left"


class PlanReport(NamedTuple):
    """What follows once the draft, or a window of the answer, is written.

    Attributes:
        draft_seconds: of wall-clock time that the draft took.
        plan: the plan's name; None if there is none.
        draws: of each round; None if it is not known.
        rounds: at most; 0 if the time suffices for none, None if their number is not known.
        seconds: the time limit of the refinement; None without one.
    """

    draft_seconds: float
    plan: str | None
    draws: int | None
    rounds: int | None
    seconds: float | None


def make_plan_report(tracker: BudgetTracker, plan: SearchPlan | None, *, is_planned: bool = True) -> PlanReport:
    """Return what callers are shown of a plan.

    Args:
        tracker: of the budget.
        plan: what was chosen; None if nothing fits into the time.
        is_planned: whether the search follows a plan at all; chains do not.
    """
    draft_seconds, budget = round(tracker.draft_seconds, 4), tracker.budget
    if plan is None:
        none = 0 if is_planned else None
        return PlanReport(draft_seconds, None, none, none, budget.max_time)
    rounds = plan.rounds if budget.max_steps is None else min(plan.rounds, budget.max_steps + 1)  # the first needs none
    return PlanReport(draft_seconds, plan.name, plan.num_draws, rounds, budget.max_time)


_speeds: weakref.WeakKeyDictionary[Policy, SpeedModel] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def get_speed(policy: Policy) -> SpeedModel:
    """Return the measured speed of a policy, one for all of its requests."""
    with _lock:
        return _speeds.setdefault(policy, SpeedModel())
