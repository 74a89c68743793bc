"""Counts of pytest's: behaviours of clients, and LangChain's own suite through `ChatOpenAI`."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def _ran(file: str, folder: Path) -> list[tuple[str, str]]:
    """Names and outcomes."""
    report = folder / f"{file}.xml"
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / file), f"--junitxml={report}"],
                   check=False, capture_output=True, timeout=1200, cwd=HERE.parents[1])  # fmt: skip
    found = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found.append((str(case.get("name")), outcome))
    return found


def behaviours(folder: Path) -> dict[str, Any]:
    """Named behaviours that hold: those all of whose tests pass."""
    outcomes: dict[str, set[str]] = {}
    for name, outcome in _ran("test_clients.py", folder):
        outcomes.setdefault(re.split(r"\[", name)[0], set()).add(outcome)
    bad = sorted(name for name, seen in outcomes.items() if seen != {"passed"})
    return {"value": len(outcomes) - len(bad), "failed": bad}


def standard(folder: Path) -> dict[str, Any]:
    """Failures of the integration suite; what is skipped is named."""
    found = _ran("test_standard_served.py", folder)
    by = {kind: sorted(name for name, outcome in found if outcome == kind) for kind in ("failed", "skipped")}
    return {"value": len(by["failed"]) if found else None, "tests": len(found), **by}
