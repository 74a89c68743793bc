"""Compute the resources for many prompts a day: `python docs/scale.py [--prompts 1e9] [--seconds 5] [--rows 32]`.

Everything follows from the time of one answer on one device, which `langchain-sea batch` prints and
`tests/benchmarks/speed.py` measures. Nothing here was measured on a cluster.
"""

from __future__ import annotations

import argparse
import json

DAY = 86_400.0


def compute_resources(
    prompts: float,
    *,
    seconds: float,
    block: int = 32,
    row_bytes: int = 2_000,
    spare: float = 0.3,
    failures: float = 0.01,
    reload: float = 60.0,
) -> dict[str, float]:
    """Return devices, bytes, blocks and restarts for one day.

    Args:
        prompts: a day.
        seconds: of one device for one answer; its share of the time of a batch.
        block: rows that a worker gets at once. It writes them in two halves; a failure costs one half.
        row_bytes: of a row with its answer.
        spare: fraction of the devices' time lost to uneven lengths, loading and the last blocks.
        failures: of one device, a day.
        reload: seconds until a failed device works again: a new process that loads the weights.
    """
    devices = prompts * seconds / (DAY * (1 - spare))
    restarts = devices * failures
    return {
        "devices": round(devices, 1),
        "answers_a_second": round(prompts / DAY, 1),
        "blocks": round(prompts / block),
        "files": 2 * round(prompts / block),
        "blocks_a_second": round(prompts / block / DAY, 2),
        "output_terabytes": round(prompts * row_bytes / 1e12, 3),
        "restarts": round(restarts, 1),
        "hours_of_a_device_lost_to_restarts": round(restarts * (reload + block / 2 * seconds) / 3600, 2),
        "keys_gigabytes_at_the_driver": round(prompts * (row_bytes / 4 + 150) / 1e9, 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=float, default=1e9)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rows", type=int, default=32, help="rows in a block")
    options = parser.parse_args()
    print(json.dumps(compute_resources(options.prompts, seconds=options.seconds, block=options.rows), indent=2))


if __name__ == "__main__":
    main()
