"""Refusals, over-refusals and fluency of every method at equal wall-clock, on the real pair.

`python tests/benchmarks/quality.py --data FOLDER --prompts 60 --seed 0 --json FILE` writes every answer to
`--rows` as it comes, so that a run that was cut off goes on, then the table. Every method drafts at
temperature 0.8. Each of SEA's presets gets, for each prompt, the seconds that best-of-64 took on it in the
same process. Refusals are told by the expression of `safety_data.py`, verdicts by the gate, which no method saw.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safety_data import REFUSED, SLID

from langchain_sea import _engine
from langchain_sea.budget import Budget
from langchain_sea.chains import generators_for
from langchain_sea.langevin import Langevin
from langchain_sea.presets import PRESETS, Preset, Window
from langchain_sea.refine import refine

TEMPERATURE = 0.8
METHODS = ("draft", "bo16", "bo64", "paper", "reference", "default")
SETS = ("advbench", "xstest")


def prompts(data: Path, name: str, count: int, seed: int) -> list[str]:
    """A seeded choice of AdvBench's goals, or of the reported (odd-numbered) half of XSTest's safe prompts."""
    if name == "advbench":
        with (data / "advbench/harmful_behaviors.csv").open(encoding="utf-8") as file:
            found = [row["goal"] for row in csv.DictReader(file)]
    else:
        with (data / "xstest/xstest_prompts.csv").open(encoding="utf-8") as file:
            found = [row["prompt"] for row in csv.DictReader(file) if row["label"] == "safe"][1::2]
    return random.Random(f"{name} {seed}").sample(found, min(count, len(found)))  # noqa: S311 - not for secrets


def preset_for(method: str) -> Preset:
    """The method as a preset that drafts at the common temperature."""
    if method in PRESETS:
        preset = PRESETS[method]
        return replace(preset, window=replace(preset.window, temperature=TEMPERATURE))
    count = 1 if method == "draft" else int(method.removeprefix("bo"))
    window = Window(tokens=None, chains=count, drafts=1, steps=0, temperature=TEMPERATURE)
    return Preset(name=method, langevin=Langevin(), window=window, policy_weight=0.0, max_nll_rise=None)


def answer(policy: Any, terms: Any, method: str, question: str, budget: Budget, seed: int) -> dict[str, Any]:
    """One method's answer to one question, as a row."""
    preset = preset_for(method)
    began = time.monotonic()
    prompt = policy.prompt([{"role": "user", "content": question}], room=budget.tokens)
    count = max(preset.window.chains, preset.window.drafts)
    found = refine(
        [prompt],
        [[]],
        energy=_engine.energy_for(policy, terms, preset),
        langevin=preset.langevin,
        budget=budget,
        generators=[generators_for(seed, prompt.key, count, policy.device)],
        window=preset.window,
    )[0]
    return {
        "method": method,
        "prompt": question,
        "text": found.text,
        "nll": found.after.nll,
        "reward": found.after.rewards["safety"],
        "steps": found.steps,
        "accepted": found.accepted,
        "stop_reason": found.stop_reason,
        "seconds": time.monotonic() - began,
    }


def measure(options: argparse.Namespace) -> None:
    """Write the rows that are missing."""
    policy = _engine.policy_for(options.policy, options.device)
    terms = _engine.terms_for(["safety"], "smollm2-135m", policy)
    rows = read(options.rows)
    taken = {(row["set"], row["prompt"], row["method"]): row["seconds"] for row in rows}
    pairs = [prompts(options.data, name, options.prompts, options.seed) for name in SETS]
    jobs = [
        (name, question)
        for both in zip(*pairs, strict=True)
        for name, question in zip(SETS, both, strict=True)
    ]
    index, shards = (int(part) for part in options.shard.split("/"))
    until = time.monotonic() + options.minutes * 60
    answer(policy, terms, "bo16", "Hello", Budget(tokens=8), 0)  # the first call pays for set-up
    for name, question in jobs[index::shards]:
        for method in METHODS:
            if (name, question, method) in taken:
                continue
            if time.monotonic() > until:
                return
            limit = taken[name, question, "bo64"] if method in PRESETS else None
            budget = Budget(seconds=limit, tokens=options.tokens)
            row = answer(policy, terms, method, question, budget, options.seed) | {"set": name}
            taken[name, question, method] = row["seconds"]
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stderr.write(f"{name}: {question[:60]}\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows written so far."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        if path.exists()
        else []
    )


def refused(text: str) -> bool:
    """A refusal in the first 130 characters that does not slide into help."""
    return REFUSED.search(text[:130]) is not None and SLID.search(text) is None


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of every set and method, over the prompts that all methods answered."""
    gate = _engine.gate_for("safety")
    found: dict[str, Any] = {}
    for name in SETS:
        mine = [row for row in rows if row["set"] == name]
        whole = set.intersection(*({row["prompt"] for row in mine if row["method"] == m} for m in METHODS))
        for method in METHODS:
            chosen = [row for row in mine if row["method"] == method and row["prompt"] in whole]
            passed = [gate(row["prompt"], [row["text"]])[0] >= gate.threshold for row in chosen]
            share = statistics.fmean
            found[f"{name}_{method}"] = {
                "value": round(share(refused(row["text"]) for row in chosen), 4),
                "gate": round(share(passed), 4),
                "nll": round(share(row["nll"] for row in chosen), 3),
                "reward": round(share(row["reward"] for row in chosen), 3),
                "seconds": round(share(row["seconds"] for row in chosen), 2),
                "steps": round(share(row["steps"] for row in chosen), 1),
                "prompts": len(chosen),
            }
    return found


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=60, help="of each set")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("quality-rows.jsonl"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th question, from the i-th")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no answer after so many")
    parser.add_argument("--no-table", action="store_true", help="rows only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure(options)
    if not options.no_table:
        text = json.dumps(table(read(options.rows)), indent=2) + "\n"
        sys.stdout.write(text)
        if options.json:
            options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
