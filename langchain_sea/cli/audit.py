"""Verify that an audit of tool calls is complete and unchanged, or check its calls again and compare the decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `audit`."""
    parser.add_argument("action", choices=["verify", "replay"])
    parser.add_argument("file", help="the audit, JSON lines")
    parser.add_argument(
        "--config", "--policy", help="TOML of the guard's settings when the audit was written (default: the defaults)"
    )
    parser.add_argument("--checks", choices=["embedded", "rules"], default="rules")


def run(options: argparse.Namespace) -> int:
    """Return 0 if the audit is intact, and if a replay leads to the same decisions."""
    from langchain_sea.safety import GuardConfig, replay, verify
    from langchain_sea.tool_guard import make_guard

    faults = verify(options.file)
    for fault in faults:
        write_line(f"{options.file}: {fault}")
    if faults or options.action == "verify":
        write_line(f"{options.file}: {'broken' if faults else 'intact'}")
        return int(bool(faults))
    config = GuardConfig.read(options.config) if options.config else None
    rows = replay(options.file, make_guard(config, checks=options.checks))
    changed = [row for row in rows if not row.is_equal]
    for row in changed:
        write_line(f"row {row.row}: was {row.outcome}, now {row.new_outcome}")
    write_line(f"{options.file}: {len(rows)} calls checked again, {len(changed)} with another decision")
    return int(bool(changed))
