"""Beyond one machine, measured: `python tests/distributed/report.py --json FILE [--seed S] [--only KEY]`.

Loopback only, every part bounded; keys are written as they come. `--rows` and `--kills` make the batch smaller.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def batch(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kills against an undisturbed run."""
    from killing import killed

    return killed(folder, options.seed, options.rows, options.kills)


def pace(_options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Two workers, and Ray's own cost."""
    from pacing import ray_overhead, two_workers

    return {"two_workers": two_workers(folder), "ray_overhead": ray_overhead()}


def clients(_options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What clients rely on, and LangChain's suite through one."""
    from suites import behaviours, standard

    return {"client_behaviours": behaviours(folder), "standard_suite_failed": standard(folder)}


def fuzz(options: argparse.Namespace, _folder: Path) -> dict[str, Any]:
    """Hostile requests."""
    from hostile import fuzzed

    return {"fuzz_5xx": fuzzed(options.seed, options.cases)}


def load(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """More than can be answered, on Ray Serve, and a replica that dies."""
    from loading import loaded

    return loaded(folder, options.seed, options.seconds)


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    part.__name__: part for part in (clients, fuzz, batch, pace, load)
}


def main() -> None:
    """Measure part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, and not the others")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    found = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    for name, part in PARTS.items():
        if options.only and name not in options.only:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = part(options, Path(folder))
        found |= figures
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps({name: figures, "seconds": round(time.monotonic() - began)}), flush=True)


if __name__ == "__main__":
    main()
