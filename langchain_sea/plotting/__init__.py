"""Pictures of a refinement: curves, a word diff, a self-contained HTML page and a progress bar.

Imports `core` for the types of a trace, LangChain's callbacks, and matplotlib (extra `plot`) inside functions. Knows
neither models nor rewards: it shows what a `Trace` holds, and texts in it are escaped before they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.plotting.curves import plot
from langchain_sea.plotting.page import to_html
from langchain_sea.plotting.progress import ProgressBar
from langchain_sea.plotting.text_diff import Diff

if TYPE_CHECKING:
    from langchain_sea.core.trace import Trace

__all__ = ["Diff", "ProgressBar", "diff", "plot", "to_html"]


def diff(trace: Trace) -> Diff:
    """Return the word diff between a trace's draft and its answer; both are empty where a reward failed."""
    before, after = trace.before, trace.after
    return Diff.between(before.text if before else "", after.text if after else "")
