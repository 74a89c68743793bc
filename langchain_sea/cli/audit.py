"""`langchain-sea audit verify|replay FILE`: whether an audit is whole, and whether its verdicts come out again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from langchain_sea.safety import GuardConfig, replay, verify

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `audit`."""
    parser.add_argument("what", choices=["verify", "replay"])
    parser.add_argument("file", help="the audit, JSON lines")
    parser.add_argument("--policy", help="TOML of the policy that it was written under; without, the default")
    parser.add_argument("--checks", choices=["embedded", "rules"], default="rules")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 where all is well."""
    faults = verify(options.file)
    for fault in faults:
        sys.stdout.write(f"{options.file}: {fault}\n")
    if faults or options.what == "verify":
        sys.stdout.write(f"{options.file}: {'broken' if faults else 'whole'}\n")
        return int(bool(faults))
    from langchain_sea.tool_guard import make_guard  # noqa: PLC0415 - only where calls are judged

    policy = GuardConfig.read(options.policy) if options.policy else None
    rows = replay(options.file, make_guard(policy, checks=options.checks))
    for row in rows:
        if not row.is_equal:
            sys.stdout.write(f"row {row.row}: was {row.outcome}, now {row.new_outcome}\n")
    different = sum(not row.is_equal for row in rows)
    sys.stdout.write(f"{options.file}: {len(rows)} calls judged again, {different} with another verdict\n")
    return int(bool(different))
