"""How often an answer is worse than its draft: `python tests/benchmarks/never_worse.py --draws 500 --seed 0`.

Prints JSON. Every draw is a random policy, rewards, method, budget and drafts; draft and answer are scored
again, apart from the refinement. `violations` counts draws with any broken promise, and must be 0;
`accepted_share` is that of draws whose answer is not the draft.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit_tests"))
from random_cases import broken_promises, random_case, refined


def measure(draws: int, seed: int) -> dict[str, float]:
    """The figures over draws `seed * draws` and on; what is broken goes to standard error."""
    started, violations, accepted = time.perf_counter(), 0, 0
    for number in range(seed * draws, (seed + 1) * draws):
        case = random_case(number)
        found = refined(case)
        broken = broken_promises(case, found)
        if broken:
            print(number, *broken, sep="; ", file=sys.stderr)  # the script's output
        violations += bool(broken)
        accepted += found.accepted
    return {
        "violations": violations,
        "draws": draws,
        "accepted_share": accepted / draws,
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    """Measure, print, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = json.dumps(measure(arguments.draws, arguments.seed), indent=2)
    print(text)  # the script's output
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
