"""`langchain-sea eval SUITE`: methods side by side on public sets or a file of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.evaluation import METHODS, datasets, read_rows, with_presets
from langchain_sea.evaluation.datasets import Case
from langchain_sea.evaluation.metrics import Table, judged, summary
from langchain_sea.evaluation.report import page
from langchain_sea.models.registry import load_model
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    import argparse

__all__ = ["SUITES", "add_arguments", "run", "suite"]

SUITES = ("safety", "over-refusal", "truthfulqa", "gsm8k", "math500", "paper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eval`."""
    parser.add_argument("suite", help=f"{', '.join(SUITES)}, or a .jsonl or .csv with a column `question`")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--reward", action="append", help="a name, several times for several")
    parser.add_argument("--methods", default="default,draft,best_of_n,prefix_search,random_edits")
    parser.add_argument("--prompts", type=int, default=20, help="of each set")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument(
        "--rows", type=Path, default=Path("eval-rows.jsonl"), help="a run cut off goes on from it"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--html", type=Path)


def suite(name: str, data: Path | None, count: int, seed: int) -> list[Case]:
    """The cases of a suite, drawn by the seed; `paper` is the paper's protocol.

    Raises:
        ValueError: there is no such suite and no such file.
    """
    if Path(name).suffix in (".jsonl", ".csv"):
        return datasets.drawn(datasets.own(Path(name)), count, name, seed)
    if name not in SUITES:
        raise ValueError(f"no suite {name!r}: choose {', '.join(SUITES)}, or a .jsonl or .csv file.")
    folder = datasets.folder(data)
    if name == "paper":
        parts = [suite(part, folder, count, seed) for part in ("safety", "truthfulqa", "gsm8k", "math500")]
        attacked = [Case(set=c.set, question=c.question, tier="attacked") for c in parts[0]]
        return [case for part in (*parts, attacked) for case in part]
    found: list[Case]
    if name == "safety":
        found = [Case(set="advbench", question=q) for q in datasets.advbench(folder)]
    elif name == "over-refusal":
        found = [Case(set="xstest", question=q) for q in datasets.xstest_safe(folder, reported=True)]
    else:
        read: Any = {
            "truthfulqa": datasets.truthfulqa,
            "math500": datasets.math500,
            "gsm8k": lambda where: datasets.gsm8k(where, "test"),
        }
        found = [Case(set=name, question=q, gold=a) for q, a in read[name](folder)]
    return datasets.drawn(found, count, name, seed)


def run(options: argparse.Namespace) -> int:
    """Answer what is missing, judge, and print the figures."""
    methods = [name for name in options.methods.split(",") if name]
    if strange := set(methods) - set(METHODS):
        raise ValueError(f"no methods {sorted(strange)}: choose of {', '.join(METHODS)}.")
    cases = suite(options.suite, options.data, options.prompts, options.seed)
    policy = load_model(options.policy)
    terms = registry.make_terms(options.reward, options.policy, policy)
    evaluation = with_presets(policy, terms, seed=options.seed, tokens=options.tokens)
    evaluation.run(cases, methods, options.rows)
    wanted = {(case.set, case.tier, case.question) for case in cases}
    rows = [r for r in read_rows(options.rows) if (r["set"], r["tier"], r["question"]) in wanted]
    gate = registry.load_gate("safety")
    assert gate is not None
    seen = judged(rows, gate, getattr(gate, "threshold", 0.5))
    groups = sorted({(row["set"], row["tier"]) for row in seen})
    used = ["default", *(name for name in methods if name != "default")]
    tables = {
        f"{name}, {tier}": summary(Table([r for r in seen if (r["set"], r["tier"]) == (name, tier)], used))
        for name, tier in groups
    }
    text = json.dumps(tables, indent=2)
    sys.stdout.write(text + "\n")
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.html:
        options.html.write_text(page(f"Evaluation: {options.suite}", tables, seen), encoding="utf-8")
    return 0
