"""Whether the audit log is whole: one row a call, verdicts that can be replayed, and every change noticed."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cases
import exploits
from report_checks import reported

from langchain_sea.safety import AuditLog, replay, verify

if TYPE_CHECKING:
    from report_checks import Checks


def audited(checks: Checks, data: Path, seed: int) -> dict[str, Any]:
    """One row a call, the same verdicts when they are judged again, and every flipped byte noticed."""
    rng = random.Random(seed)
    sample = [case for _, case in exploits.exploits(seed, 4)] + reported(cases.bfcl_calls(data, 200, seed))
    with tempfile.TemporaryDirectory() as folder:
        rows = wrong = equal = replays = 0
        for policy in {case.context.policy.digest: case.context.policy for case in sample}.values():
            path = Path(folder) / f"{policy.digest}.jsonl"
            pipeline = checks.pipeline(policy, rules_only=True, audit=AuditLog(path, keep="full"))
            mine = [case for case in sample if case.context.policy.digest == policy.digest]
            decisions = [(d, case.context) for case in mine for d in pipeline(case.calls, case.context)]
            calls = len([pipeline.settle_unanswered(d, context) for d, context in decisions])
            again = replay(path, checks.pipeline(policy, rules_only=True))
            rows, wrong = rows + calls, wrong + abs(calls - len(again)) + len(verify(path))
            equal, replays = equal + sum(r.is_equal for r in again), replays + len(again)
        whole = path.read_bytes()
        caught = 0
        for _ in range(200):
            place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
            flipped = Path(folder) / "flipped.jsonl"
            flipped.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            caught += bool(verify(flipped))
    value = min(1.0 if not wrong else 0.0, equal / replays, caught / 200)
    return {
        "audit": {
            "value": round(value, 4),
            "calls": rows,
            "replays_equal": round(equal / replays, 4),
            "flips_found": caught / 200,
        }
    }
