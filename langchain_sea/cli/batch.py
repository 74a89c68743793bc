"""Answer the rows of a file on a cluster with Ray Data; run it again to continue after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `batch`."""
    parser.add_argument("source", type=Path, help=".jsonl or .parquet with a column `prompt` or `messages`")
    parser.add_argument("out", type=Path, help="folder of the answers; an interrupted run continues from it")
    parser.add_argument("--settings", type=Path, required=True, help="TOML of SEAChatModel's settings")
    parser.add_argument("--workers", type=int, default=1, help="processes with a set of weights each")
    parser.add_argument("--block", type=int, default=32, help="rows a worker takes at a time, written in two halves")
    parser.add_argument("--retry-errors", action="store_true", help="try rows that failed again")


def run(options: argparse.Namespace) -> int:
    """Return 0 if every row has an answer, 1 if some failed."""
    from langchain_sea.serving.config import make_model, read_settings
    from langchain_sea.serving.ray_data import answer_file

    counts = answer_file(
        options.source,
        options.out,
        make_model(read_settings(options.settings)),
        workers=options.workers,
        block=options.block,
        retry_errors=options.retry_errors,
    )
    write_line(", ".join(f"{count} {name}" for name, count in counts.items()))
    return int(counts["failed"] > 0)
