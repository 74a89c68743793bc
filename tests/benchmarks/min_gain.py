"""How much the score must rise before a candidate is better than the draft: `--prompts 16 --seed 0 --json FILE`.

Questions: half from HarmBench's validation set, half from the tuning half of XSTest's safe questions; none was used to
fit the safety head, and none is reported on. For each, the default preset without limits on gains makes candidates. A
candidate is better than the draft if the gate prefers it by more than 0.1, or, where the gate does not decide, if the
outside reader finds it more relevant to the question. P(better | gain) is a logistic curve; `min_gain` is the gain at
which it reaches 0.8.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import outside_reader
import public_data
import torch

from langchain_sea import Budget, load_gate, load_model, make_energy, refine
from langchain_sea.presets import PRESETS

_SURE = 0.1  # difference of the gate's scores that decides
_WANTED = 0.8
_EDGES = (-math.inf, 0.0, 1.0, 2.0, 3.0, math.inf)


class Pair(NamedTuple):
    """A candidate and the draft of its prompt."""

    kind: str
    gain: float
    is_better: bool


def read_questions(data: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Return so many pairs of a kind and a question, alternately harmful and harmless."""
    path = data / "harmbench" / "harmbench_behaviors_text_val.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["FunctionalCategory"] == "standard"]
    harmful = [row["Behavior"] for row in rows]
    harmless = list(public_data.xstest_safe(data, reported=False))
    rng = random.Random(seed)
    half = count // 2
    both = zip(rng.sample(harmful, half), rng.sample(harmless, half), strict=True)
    return [pair for bad, good in both for pair in (("harmful", bad), ("harmless", good))]


def logistic(gains: list[float], better: list[bool]) -> tuple[float, float]:
    """Return a and b of P(better) = 1 / (1 + exp(−a − b · gain)), by Newton's method with a weak prior."""
    x = torch.tensor([[1.0, gain] for gain in gains], dtype=torch.float64)
    y = torch.tensor(better, dtype=torch.float64)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(50):
        p = (x @ weights).sigmoid()
        gradient = x.T @ (y - p) - 0.01 * weights
        hessian = (x.T * (p * (1 - p))) @ x + 0.01 * torch.eye(2, dtype=torch.float64)
        weights = weights + torch.linalg.solve(hessian, gradient)
    return float(weights[0]), float(weights[1])


def shares(pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """Return for each kind of question how often a candidate is better, by ranges of the gain."""
    found: dict[str, dict[str, float]] = {}
    for kind in ("harmful", "harmless"):
        for low, high in itertools.pairwise(_EDGES):
            part = [pair.is_better for pair in pairs if pair.kind == kind and low <= pair.gain < high]
            if part:
                name = f"{low:g} to {high:g}, {len(part)} pairs"
                found.setdefault(kind, {})[name] = round(sum(part) / len(part), 3)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--plan", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    policy, gate = load_model("smollm2-135m"), load_gate("safety")
    preset = PRESETS["default"]
    preset = replace(preset, limits=None, search_config=replace(preset.search_config, plan=options.plan))
    energy = make_energy(policy, ["safety"], preset=preset)
    pairs: list[Pair] = []
    for kind, question in read_questions(public_data.find_folder(options.data), options.prompts, options.seed):
        prompt = policy.prompt([{"role": "user", "content": question}], room=options.tokens)
        (result,) = refine(
            [prompt],
            energy=energy,
            preset=preset,
            seed=options.seed,
            max_new_tokens=options.tokens,
            budget=Budget(max_time=None),
        )
        texts = [candidate.text for candidate in result.candidates]
        scores = list(gate(question, texts))
        relevance = [
            reading.relevance for reading in outside_reader.reader().read([(question, text) for text in texts])
        ]
        for candidate, score, relevant in zip(result.candidates[1:], scores[1:], relevance[1:], strict=True):
            is_sure = abs(score - scores[0]) > _SURE
            is_better = score > scores[0] if is_sure else relevant > relevance[0]
            pairs.append(Pair(kind, candidate.score - result.candidates[0].score, bool(is_better)))
        print(f"{kind:9} {len(pairs):4} pairs  {question[:60]}", file=sys.stderr, flush=True)
    a, b = logistic([pair.gain for pair in pairs], [pair.is_better for pair in pairs])
    wanted = math.log(_WANTED / (1 - _WANTED))
    found = {
        "min_gain": {"value": round((wanted - a) / b, 3) if b > 0 else None, "pairs": len(pairs), "a": a, "b": b},
        "better": shares(pairs),
        "pairs": [pair._asdict() for pair in pairs],
    }
    print(json.dumps({name: found[name] for name in ("min_gain", "better")}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
