"""How much one search draws: a table of plans, the smallest first. Which one fits is decided by measured speed."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_sea.core.suggestions import require_name

__all__ = ["PLANS", "SearchPlan", "describe_no_plan", "find_no_plan_reason", "find_plan"]


_NO_PLAN = "none: "


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How much is drawn in one window of an answer.

    Attributes:
        name: in reports.
        groups: draws of one group share a latent.
        rows: draws of each group in a round.
        rounds: of drawing, each under latents moved by the gradient of the round before.
        tokens: of each draw, where rewards read beginnings.
        kept: continuations of the best draws of all rounds; see `LatentConfig.continuation_shares`.
    """

    name: str = "custom"
    groups: int = 2
    rows: int = 8
    rounds: int = 5
    tokens: int = 8
    kept: int = 8

    def __post_init__(self) -> None:
        for name in ("groups", "rows", "rounds", "tokens", "kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")

    @property
    def num_draws(self) -> int:
        """Draws of one round."""
        return self.groups * self.rows


PLANS = (
    SearchPlan(name="tiny", groups=2, rows=4, rounds=1, tokens=8, kept=4),
    SearchPlan(name="small", groups=2, rows=8, rounds=2, tokens=8, kept=6),
    SearchPlan(name="medium", groups=2, rows=8, rounds=5, tokens=8, kept=12),
    SearchPlan(name="large", groups=4, rows=8, rounds=5, tokens=12, kept=12),
    SearchPlan(name="extra_large", groups=4, rows=16, rounds=6, tokens=12, kept=16),
    SearchPlan(name="huge", groups=4, rows=32, rounds=6, tokens=12, kept=24),
)
"""The smallest first; each is worth its time, see `docs/tuning.md`."""


def find_plan(plan: str | SearchPlan) -> SearchPlan:
    """Return the plan of that name, or the plan itself.

    Raises:
        ValueError: there is no plan of that name; the message suggests the nearest one.
    """
    if isinstance(plan, SearchPlan):
        return plan
    by_name = {each.name: each for each in PLANS}
    require_name(plan, by_name, "plan", otherwise="a SearchPlan")
    return by_name[plan]


def describe_no_plan(reason: str) -> str:
    """Return what is reported as the plan where no plan was followed."""
    return f"{_NO_PLAN}{reason}"


def find_no_plan_reason(report: str | None) -> str | None:
    """Return why no plan was followed; None if one was.

    Args:
        report: the plan as it was reported; None if the search ended before one was chosen.
    """
    if report is None:
        return "the time was over before a search began"
    return report.removeprefix(_NO_PLAN) if report.startswith(_NO_PLAN) else None
