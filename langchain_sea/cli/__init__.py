"""The command line `langchain-sea`: one module for each command, and `main`, which runs them.

Modules here import the rest of the package inside functions, so that `--help` and `--version` load neither torch nor
transformers. Nothing else imports this package.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from langchain_sea._version import __version__
from langchain_sea.cli import ask, audit, batch, demo, doctor, evaluate, fit_reward, serve
from langchain_sea.cli.console import UsageError, write_status
from langchain_sea.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = (
    ("ask", ask, "answer one question"),
    ("demo", demo, "four questions, draft and answer side by side"),
    ("doctor", doctor, "versions, devices, weights, and what to do about each"),
    ("fit-reward", fit_reward, "train a reward head for a model"),
    ("batch", batch, "answer the rows of a file on a cluster, into a folder (extra ray)"),
    ("serve", serve, "an OpenAI-compatible endpoint (extra ray)"),
    ("audit", audit, "verify or replay an audit of tool calls"),
    ("eval", evaluate, "compare methods at equal wall-clock time"),
)
_INTERRUPTED = 130
_WRONG_INPUT = 2
"""Of files and arguments, as argparse has it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        write_status("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:
        if options.debug:
            raise
        write_status(f"{type(error).__name__}: {error}")
        return _WRONG_INPUT if isinstance(error, (FileError, UsageError)) else 1


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="langchain-sea",
        description="Better answers from a local language model, without training.",
        allow_abbrev=False,  # a later version may have a second option of that beginning
    )
    parser.add_argument("--version", action="version", version=f"langchain-sea {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's whole traceback")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module, description in _COMMANDS:
        command = commands.add_parser(name, help=description, description=module.__doc__, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
