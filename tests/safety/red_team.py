"""What the guard lets run of a red team's attempts: `python tests/safety/red_team.py --json FILE`.

They are in `red_team_conversations.py` and `red_team_arguments.py`, and were written before the rules that stop them. The
rules were then made with these attempts in sight, so the figure says what is covered, and not how a new attack fares.

| key | value |
|---|---|
| `red_team_ran`, `red_team_ran_with_policy` | attempts of which a harmful call ran, with nothing set and with a small policy |
| `red_team_honest_blocked`, `red_team_honest_asked` | honest controls that were blocked, or asked about |
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import red_team_arguments  # noqa: F401 - adds its attempts
import red_team_conversations  # noqa: F401 - adds its attempts
from red_team_runner import ALL, KINDS, policy_of, run_attempt


def measure(only: set[str]) -> dict[str, Any]:
    """Run the attempts, and return the figures."""
    rows = []
    for attempt in ALL:
        if only and attempt.id not in only:
            continue
        row = {"id": attempt.id, "title": attempt.title, "honest": attempt.honest}
        row |= {"default": run_attempt(attempt, None), "policy": run_attempt(attempt, policy_of(attempt))}
        sys.stderr.write(f"{attempt.id:6} {row['default']['outcome']:8} {row['policy']['outcome']:8} {attempt.title}\n")
        rows.append(row)
    attempts, honest = ([row for row in rows if row["honest"] == kind] for kind in (False, True))
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for row in attempts:
        by_kind[KINDS[int(row["id"].split(".")[0])]][row["default"]["outcome"]] += 1
    return {
        "red_team_ran": count(attempts, "default", "ran") | {"by_kind": {k: dict(v) for k, v in by_kind.items()}},
        "red_team_ran_with_policy": count(attempts, "policy", "ran"),
        "red_team_honest_blocked": count(honest, "default", "blocked"),
        "red_team_honest_asked": count(honest, "default", "asked"),
    }


def count(rows: list[dict[str, Any]], policy: str, outcome: str) -> dict[str, Any]:
    """Return how many rows have an outcome, and which."""
    ids = [row["id"] for row in rows if row[policy]["outcome"] == outcome]
    return {"value": len(ids), "of": len(rows), "ids": ids}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="numbers of attempts, with commas")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    text = json.dumps(measure({each for each in options.only.split(",") if each}), indent=2) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
