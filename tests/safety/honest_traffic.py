"""Which rules stop honest calls of recorded runs, and how often: `python tests/safety/honest_traffic.py`."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traffic

from langchain_sea.safety import GuardPipeline, RulesCheck

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import public_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DETAILS = re.compile(r"'.*?'|\d+")


def list_reasons(run: Mapping[str, Any], *, with_effects: bool) -> Iterator[tuple[str, str]]:
    """Yield (action, reason without its details) of the rules about each honest call."""
    pipeline = GuardPipeline(policy=traffic.make_policy(run, with_effects=with_effects), checks=(RulesCheck(),))
    for judged in traffic.judge_run(run, pipeline):
        if judged.label == "benign":
            for finding in judged.decision.findings:
                yield str(finding.action), _DETAILS.sub("…", finding.reason)[:90]


def main() -> None:
    """Print the rules by set of runs and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    data = public_data.find_folder(parser.parse_args().data)
    for name in traffic.SETS:
        runs = traffic.read_runs(data, name)
        for with_effects in (False, True):
            counts = Counter(pair for run in runs for pair in list_reasons(run, with_effects=with_effects))
            print(f"{name}, {'effects set' if with_effects else 'nothing set'}: {len(runs)} conversations")
            for (action, reason), count in counts.most_common():
                print(f"  {count:4} {action:6} {reason}")
            if not counts:
                print("  no call is stopped or asked about")


if __name__ == "__main__":
    main()
