"""Compare methods at equal wall-clock time on the questions of a file.

Beside searches, the default methods have three controls: the default preset with random steps, with AISP's weights, or
with no steps at all in place of the gradient's. What the gradient is worth is the difference from the best of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.cli.console import write_line, write_status
from langchain_sea.cli.options import add_model_name
from langchain_sea.core.known_names import REWARD_NAMES, refuse_misspelt

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from langchain_sea.evaluation import Case

__all__ = ["add_arguments", "run"]

_METHODS = "default,draft,best_of_n,prefix_search,random_edits,random_walk,aisp,axis_grid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `eval`."""
    parser.add_argument("file", type=Path, help="a .jsonl or .csv with a column `question`")
    add_model_name(parser)
    parser.add_argument("--reward", action="append", help="a name, several times for several")
    parser.add_argument("--methods", default=_METHODS, help="separated by commas (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=20, help="questions drawn from the file")
    parser.add_argument("--max-tokens", type=int, default=40, help="length of the longest answer")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of refinement, by `default` (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rows", type=Path, default=Path("eval-rows.jsonl"), help="an interrupted run continues from this file"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--html", type=Path, help="write a page with figures and answers")


def run(options: argparse.Namespace) -> int:
    """Answer what is missing, score the answers with the safety gate, and print the figures."""
    from langchain_sea.core.files import require_folder_of
    from langchain_sea.evaluation import LEAD, add_gate_scores, require_methods
    from langchain_sea.evaluation.report import render_page
    from langchain_sea.rewards import registry

    methods = [name for name in options.methods.split(",") if name]
    require_methods(methods)
    for reward in options.reward or ():  # before weights are read
        refuse_misspelt(reward, REWARD_NAMES, "reward")
    for path in filter(None, (options.rows, options.json, options.html)):
        require_folder_of(path)
    cases = _sample_cases(options)
    gate = registry.load_gate("safety")  # it may be missing, and answers may take hours
    assert gate is not None
    rows = _answer(cases, methods, options)
    write_status("scoring the answers with the safety gate …")
    scored = add_gate_scores(rows, gate, getattr(gate, "threshold", 0.5))
    tables = _make_tables(scored, [LEAD, *(name for name in methods if name != LEAD)])
    text = json.dumps(tables, indent=2)
    write_line(text)
    if options.json:
        options.json.write_text(f"{text}\n", encoding="utf-8")
    if options.html:
        page = render_page(f"Evaluation: {options.file.name}", tables, scored)
        options.html.write_text(page, encoding="utf-8")
    return 0


def _sample_cases(options: argparse.Namespace) -> list[Case]:
    from langchain_sea.evaluation.cases import read_cases, sample

    return sample(read_cases(options.file), options.prompts, str(options.file), options.seed)


def _answer(cases: Sequence[Case], methods: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of these cases; the file may hold others of earlier runs."""
    write_status(f"loading {options.model} …")
    from langchain_sea.evaluation import Evaluation
    from langchain_sea.models.registry import load_model
    from langchain_sea.rewards import registry

    policy = load_model(options.model, report=write_status)
    terms = registry.make_terms(options.reward, policy)
    evaluation = Evaluation(
        policy=policy, terms=terms, seed=options.seed, max_tokens=options.max_tokens, max_time=options.seconds
    )
    return evaluation.run(cases, methods, options.rows, report=write_status)


def _make_tables(rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    from langchain_sea.evaluation import Table, summarize

    groups = sorted({(row["set"], row["tier"]) for row in rows})
    return {
        f"{name}, {tier}": summarize(Table([row for row in rows if (row["set"], row["tier"]) == (name, tier)], methods))
        for name, tier in groups
    }
