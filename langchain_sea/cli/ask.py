"""Answer one question: the answer goes to standard output, its scores to standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line, write_progress
from langchain_sea.cli.options import add_model_options, format_scores, load_weights, make_model, to_json

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
    load_weights(options)
    write_progress("drafting and refining …")
    message = make_model(options).invoke(options.question)
    if options.json:
        write_line(json.dumps(to_json(options.question, message), ensure_ascii=False, indent=2))
    else:
        write_line(str(message.content))
        write_progress(format_scores(message.response_metadata["sea"]))
    return 0
