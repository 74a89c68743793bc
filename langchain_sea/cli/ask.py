"""Answer one question: the answer goes to standard output; plan, progress and scores go to standard error.

Ctrl-C prints the best answer so far; the exit status is then 130.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_sea.cli.answers import explain_draft, format_scores, refinement_to_json, to_json
from langchain_sea.cli.console import write_line, write_status
from langchain_sea.cli.options import add_model_options, answer_question, load_weights, make_model, require_question
from langchain_sea.errors import RefinementInterrupted

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ask`."""
    parser.add_argument("question")
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the answer with all its numbers")


def run(options: argparse.Namespace) -> int:
    """Answer the question."""
    require_question(options.question)
    load_weights(options)
    try:
        message = answer_question(make_model(options), options.question)
    except RefinementInterrupted as interrupted:
        for refinement in interrupted.refinements:
            row = refinement_to_json(options.question, refinement)
            _write_answer(row, as_json=options.json)
        raise
    row = to_json(options.question, message)
    _write_answer(row, as_json=options.json)
    if not options.json:
        write_status(f"{explain_draft(row['sea']) or 'the draft was replaced'}; {format_scores(row['sea'])}")
    return 0


def _write_answer(row: dict[str, Any], *, as_json: bool) -> None:
    write_line(json.dumps(row, ensure_ascii=False, indent=2) if as_json else str(row["answer"]))
