"""Figures on the enumerable toy: `python tests/benchmarks/toy.py --seed 0 --json toy.json`.

Prints JSON. `mala_total_variation` is the largest over `mala_cases` toys and `mala_noise_floor` the largest
that sampling noise alone gives there; `ula_bias` is that of E‖y‖² per step size;
`optimum_found_by_policy_draws` is the control: as many evaluations spent on draws from the policy.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit_tests"))
import toy  # the unit tests' toy, not this script

from langchain_sea.sampling.langevin import Langevin

MALA_CASES = [(4, 2, 0.5), (4, 2, 1.0), (2, 4, 0.5), (3, 3, 0.5)]  # V, T, scale of the reward
STEP_SIZES = [0.1, 0.2, 0.4, 0.8]
SEARCHES = 200


def mala(seed: int) -> list[tuple[float, float]]:
    """Total variation and noise floor per case."""
    pairs = []
    for vocab, length, scale in MALA_CASES:
        case = toy.Toy.random(vocab, length, seed, scale=scale)
        method = Langevin(kernel="mala", step_size=0.4)
        shares, floor = toy.occupancy(case, method, chains=1024, steps=600, seed=seed)
        pairs.append((toy.total_variation(shares, case.exact()), floor))
    return pairs


def ula(seed: int) -> dict[str, float]:
    """Bias per step size, every chain walking the same time."""
    case = toy.Toy.random(2, 2, seed)
    return {str(eta): toy.ula_bias(case, eta, chains=1024, steps=round(80 / eta), seed=seed) for eta in STEP_SIZES}


def main() -> None:
    """Measure, print, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, seed = time.perf_counter(), arguments.seed
    pairs, biases = mala(seed), ula(seed)
    cases = range(seed * SEARCHES, (seed + 1) * SEARCHES)
    falling = list(biases.values())
    figures = {
        "mala_total_variation": max(distance for distance, _ in pairs),
        "mala_noise_floor": max(floor for _, floor in pairs),
        "mala_cases": len(pairs),
        "ula_bias": biases,
        "ula_bias_falls": int(falling == sorted(falling)),
        "optimum_found": sum(map(toy.finds_optimum, cases)) / SEARCHES,
        "optimum_found_by_policy_draws": sum(map(toy.policy_finds_optimum, cases)) / SEARCHES,
        "finite_difference_error": toy.finite_difference_error(seed),
        "seconds": time.perf_counter() - started,
    }
    text = json.dumps(figures, indent=2)
    print(text)  # the script's output
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
