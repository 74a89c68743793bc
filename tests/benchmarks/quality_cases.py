"""The questions of `quality.py`, and the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import public_data
import quality_callables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_sea.evaluation import Case


def make_cases(tiers: Sequence[str], count: int, seed: int, data: Path | None = None) -> dict[str, list[Case]]:
    """By tier a seeded choice of AdvBench, of XSTest's reported safe half, or of everyday questions.

    A name such as `callable cheerful` stands for one callable; each of the four has a quarter of the prompts or more.
    """
    found: dict[str, list[Case]] = {}
    for tier in tiers:
        if tier == "callable":
            each = -(-count // len(quality_callables.CALLABLES))
            found |= {
                f"{tier} {name}": quality_callables.cases(name, each, seed) for name in quality_callables.CALLABLES
            }
        elif tier == "harmless":
            asked = public_data.xstest_safe(public_data.find_folder(data), reported=True)
            found[tier] = [public_data.make_case("xstest", q) for q in public_data.sample(asked, count, "xstest", seed)]
        else:
            asked = public_data.advbench(public_data.find_folder(data))
            drawn = public_data.sample(asked, count, "advbench", seed)
            found[tier] = [public_data.make_case("advbench", question, tier) for question in drawn]
    return found


def interleave(cases: Mapping[str, Sequence[Case]]) -> list[tuple[str, Case]]:
    """All cases with their names, so that wherever a run is cut off, all names have had about the same share."""
    placed = [((i + 1) / len(found), name, case) for name, found in cases.items() for i, case in enumerate(found)]
    return [(name, case) for _, name, case in sorted(placed, key=lambda item: item[0])]
