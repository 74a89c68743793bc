"""Which plan fits into the time that is left, by the measured speed of the machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.plans import PLANS, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.engine.speed_model import SpeedModel

__all__ = ["PlanReport", "Workload", "choose_draws", "choose_plan", "make_plan_report", "plan_seconds"]

_SHORT_ANSWER = 16  # tokens: a refusal of one sentence
_PASSES_OF_ANSWERS = 2.5  # one that finds where they could end, one that scores them, and half for the shorter ones
_TEXTS_OF_ANSWERS = 2  # scored by functions: each answer, and a shorter one
_ROLLOUT_TOKENS = 48  # of a draw that is judged as a text, where whole answers are too long for the time
_FEW_ROUNDS = 2  # of whole answers: more rounds of rollouts are worth more
_NUMBERS_OF_DRAFTS = (16, 12, 8, 4, 2)  # that are tried, where no plan fits
_SAFETY_FACTOR = 1.1  # for what is not counted here


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


def choose_draws(
    speed: SpeedModel, seconds: float, whole: int | None, make_work: Callable[[int | None], Workload]
) -> tuple[SearchPlan | None, str, int]:
    """Return a plan, the reason, and the tokens of a draw.

    Rewards that judge whole texts get draws that are whole answers where these leave time for a search, else rollouts
    of a limited length. If no plan fits, as many drafts are written in one round as do.

    Args:
        speed: of the policy.
        seconds: that are left.
        whole: tokens of a whole answer; None where beginnings are judged.
        make_work: returns the work with draws of so many tokens, or of the plan's number.
    """
    if whole is None:
        chosen, reason = choose_plan(speed, seconds, make_work(None))
        return chosen, reason, chosen.tokens if chosen else 0
    for tokens in dict.fromkeys((whole, min(whole, _ROLLOUT_TOKENS))):
        chosen, reason = choose_plan(speed, seconds, make_work(tokens))
        if chosen is not None and (chosen.rounds > _FEW_ROUNDS or tokens <= _ROLLOUT_TOKENS):
            return chosen, reason, tokens
    expected = 0.0
    for rows in _NUMBERS_OF_DRAFTS:
        plan = SearchPlan(name="drafts", groups=1, rows=rows, rounds=1, tokens=whole, kept=1)
        expected = plan_seconds(plan, speed, make_work(whole))
        if expected <= seconds:
            return plan, f"expected to take {expected:.3g} s of the {seconds:.3g} s left; no larger plan fits", whole
    return None, f"two more drafts are expected to take {expected:.3g} s, and {seconds:.3g} s are left", whole


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
