"""Every reward that a user has: `python tests/benchmarks/rewards.py --json FILE [--seed S] [--only KEY]`.

Keys are written to the file as they come. `bridge`, `hardening` and `ranking` need the real pair and the public
sets (`--data`, `SEA_DATA`, or a folder `data` near by); the others run on tiny models.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import public_data
import torch

from langchain_sea.rewards.pair_classifier import PairClassifierGate

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


def kinds(options: argparse.Namespace) -> dict[str, Any]:
    """Against plain pipelines and finite differences."""
    import reward_kinds

    rows = public_data.read_table(public_data.find_folder(options.data) / "gsm8k/example_model_solutions.jsonl")
    answers = [row["175b_finetuning"]["solution"] for row in public_data.sample(rows, 100, "plain", options.seed)]
    return {
        "plain_difference": reward_kinds.plain_difference(answers),
        "gradient_cosine": reward_kinds.gradient_cosine(),
        "step_cost": reward_kinds.step_cost(),
    }


def black_box(options: argparse.Namespace) -> dict[str, Any]:
    """A checker alone."""
    from reward_black_box import black_box

    return {"black_box_gain": black_box(options.seed, 100)}


def thresholds(options: argparse.Namespace) -> dict[str, Any]:
    """At least so much of one, then as much as possible of the other."""
    from reward_thresholds import thresholds

    return thresholds(options.seed, 200)


def failures(_options: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: it leaves threads behind that never return."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "failures.json"
        subprocess.run(
            [sys.executable, str(HERE / "failures.py"), "--table", "--json", str(out)], check=True, stdout=sys.stderr
        )
        return dict(json.loads(out.read_text(encoding="utf-8")))


def ranking(options: argparse.Namespace) -> dict[str, Any]:
    """What ships, on real answers."""
    from reward_ranking import ranking

    found = ranking(public_data.find_folder(options.data), options.seed, 60)
    return {"ranking": {"value": min(each["value"] for each in found.values()), **found}}


def hardening(options: argparse.Namespace) -> dict[str, Any]:
    """First head and hardened one under attack."""
    from reward_hardening import hardening

    return {"hardening": hardening(public_data.find_folder(options.data), options.seed, 48, options.first)}


def bridge(options: argparse.Namespace) -> dict[str, Any]:
    """Another tokenizer."""
    from reward_bridge import bridge

    twin = PairClassifierGate.load(options.twin) if options.twin else None
    return bridge(public_data.find_folder(options.data), options.seed, options.bridge_prompts, twin)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    part.__name__: part for part in (kinds, thresholds, black_box, failures, bridge, ranking, hardening)
}


def main() -> None:
    """Measure part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, and not the others")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--twin", type=Path, help="a gate's file, made from the head's side, for the bridge")
    parser.add_argument("--first", type=Path, help="a head to compare with, in place of the one that ships")
    parser.add_argument("--bridge-prompts", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    for name in options.only or PARTS:
        began = time.monotonic()
        found |= PARTS[name](options)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        text = json.dumps(found, indent=2)
        if options.json:
            options.json.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
