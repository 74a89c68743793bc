"""Verify an audit of tool calls, list what was stopped and why, or judge its calls again, also under another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line
from langchain_sea.core.wording import count_of

if TYPE_CHECKING:
    import argparse

    from langchain_sea.safety import GuardPipeline

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `audit`."""
    parser.add_argument(
        "action",
        choices=["verify", "stops", "replay", "compare"],
        help="verify: is it complete and unchanged; stops: what was stopped or would have been, and why; replay: judge"
        " again under the policy of then; compare: judge under another policy",
    )
    parser.add_argument("file", help="the audit, JSON lines")
    parser.add_argument("--config", "--policy", help="TOML of the guard's settings (default: the defaults)")
    parser.add_argument("--checks", choices=["embedded", "rules"], default="rules")


def run(options: argparse.Namespace) -> int:
    """Return 0 if the audit is intact, and if a replay leads to the same decisions."""
    from langchain_sea.safety import verify

    faults = verify(options.file)
    for fault in faults:
        write_line(f"{options.file}: {fault}")
    if faults or options.action == "verify":
        write_line(f"{options.file}: {'broken' if faults else 'intact'}")
        return int(bool(faults))
    return {"stops": _list_stops, "replay": _replay, "compare": _compare}[options.action](options)


def _list_stops(options: argparse.Namespace) -> int:
    """Write what was stopped, or would have been in monitor mode."""
    from langchain_sea.safety.audit.policy_comparison import list_stops

    rows = list(list_stops(options.file))
    for row in rows:
        verb = "would have been stopped" if row.has_run else "was stopped"
        write_line(f"row {row.row}: {row.tool} {verb} ({row.outcome}): {'; '.join(row.reasons)}")
    write_line(f"{options.file}: {count_of(len(rows), 'call')} stopped")
    return 0


def _replay(options: argparse.Namespace) -> int:
    """Judge again under the policy of then; 1 where a decision differs."""
    from langchain_sea.safety import replay

    rows = replay(options.file, _make_pipeline(options))
    changed = [row for row in rows if not row.is_equal]
    for row in changed:
        write_line(f"row {row.row}: was {row.outcome}, now {row.new_outcome}")
    write_line(f"{options.file}: {count_of(len(rows), 'call')} checked again, {len(changed)} with another decision")
    return int(bool(changed))


def _compare(options: argparse.Namespace) -> int:
    """Judge under another policy, and write which decisions would differ."""
    from langchain_sea.safety.audit.policy_comparison import compare_policies

    rows = compare_policies(options.file, _make_pipeline(options))
    changed = [row for row in rows if row.outcome != row.new_outcome]
    for row in changed:
        write_line(f"row {row.row}: {row.tool} was {row.outcome}, would be {row.new_outcome}: {row.reason}")
    write_line(f"{options.file}: {count_of(len(rows), 'call')} judged, {len(changed)} with another decision")
    return 0


def _make_pipeline(options: argparse.Namespace) -> GuardPipeline:
    from langchain_sea.safety import GuardConfig
    from langchain_sea.tool_guard import make_guard

    config = GuardConfig.read(options.config) if options.config else None
    return make_guard(config, checks=options.checks)
