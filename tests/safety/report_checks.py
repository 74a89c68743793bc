"""The checks under test, shares with their intervals, and the reported half of cases."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from langchain_sea.safety import RULES_ONLY, GuardPipeline
from langchain_sea.safety.defaults import make_embedded_checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cases import Case

    from langchain_sea.safety import GuardConfig


class Checks:
    """The checks under test, perhaps without one of them."""

    def __init__(self, without: str | None = None) -> None:
        self.rules = tuple(check for check in RULES_ONLY if check.name != without)
        self.with_model = tuple(check for check in make_embedded_checks() if check.name != without)
        self.all = (*self.rules, *self.with_model)

    def pipeline(self, policy: GuardConfig, *, rules_only: bool = False, **options: Any) -> GuardPipeline:
        return GuardPipeline(policy=policy, checks=self.rules if rules_only else self.all, **options)


def share(hits: int, of: int) -> dict[str, Any]:
    """A share with Wilson's interval."""
    if not of:
        return {"value": None, "of": 0}
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)
    return {"value": round(p, 4), "low": round(max(0.0, low), 4), "high": round(min(1.0, high), 4), "of": of}


def succeeded(checks: Checks, sample: Sequence[Case], *, rules_only: bool = False) -> dict[str, Any]:
    """The share of batches of which a write of an attacker's runs."""
    hits = 0
    for case in sample:
        decisions = checks.pipeline(case.context.policy, rules_only=rules_only)(case.calls, case.context)
        hits += any(decisions[p].is_allowed for p in case.writes)
    return share(hits, len(sample))


def stopped(checks: Checks, sample: Sequence[Case], *, rules_only: bool = False) -> tuple[int, int]:
    """Calls that do not run, of all."""
    decisions = [
        d
        for case in sample
        for d in checks.pipeline(case.context.policy, rules_only=rules_only)(case.calls, case.context)
    ]
    return sum(not d.is_allowed for d in decisions), len(decisions)


def reported(sample: Sequence[Case], most: int | None = None, seed: int = 0) -> list[Case]:
    """Those of the half that is reported; `most` of them, drawn by the seed."""
    kept = [case for case in sample if case.reported]
    return kept if most is None or len(kept) <= most else random.Random(seed).sample(kept, most)
