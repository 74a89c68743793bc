"""Comparison of methods at equal wall-clock time: refinement, best-of-N and searches on the same prompts.

Imports `engine`, `presets` and `rewards`; the command `langchain-sea eval` is a thin layer over it. It knows no data
set: cases come from a user's own file.
"""

from __future__ import annotations

from langchain_sea.evaluation.cases import Case, read_cases
from langchain_sea.evaluation.comparison import CONTROLS, CURVE, LEAD, METHODS, SEARCHES, Evaluation, require_methods
from langchain_sea.evaluation.metrics import Table, add_gate_scores, summarize
from langchain_sea.evaluation.rows import read_rows

__all__ = [
    "CONTROLS",
    "CURVE",
    "LEAD",
    "METHODS",
    "SEARCHES",
    "Case",
    "Evaluation",
    "Table",
    "add_gate_scores",
    "read_cases",
    "read_rows",
    "require_methods",
    "summarize",
]
