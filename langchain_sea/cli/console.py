"""Output of the commands: answers go to standard output, progress and errors to standard error.

Progress is written whether or not standard error is a terminal: an answer takes half a minute on a slow machine, and
`2>/dev/null` hides it.
"""

from __future__ import annotations

import sys

__all__ = ["UsageError", "is_terminal", "write_line", "write_status"]


class UsageError(Exception):
    """An argument cannot be used; the exit status is 2, as for argparse's own errors."""


def is_terminal() -> bool:
    """Return whether standard error is a terminal, where bars are drawn."""
    return sys.stderr.isatty()


def write_line(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_status(line: str) -> None:
    """Write a line to standard error: what is being done, or what went wrong."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
