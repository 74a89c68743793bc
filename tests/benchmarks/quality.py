"""Better answers at the same wall-clock, by judges that steered nothing: `--pair real|tiny --json FILE`.

Every method drafts at the same temperature; the default preset answers first and sets the seconds of each
prompt, and all others get as many. Rows are kept (`--rows`), and a run that was cut off goes on from them:
`--minutes 0` only computes the figures. Tiers take turns, so that a run that ends early has about as many prompts of each:
on Ctrl-C or SIGTERM it prints the figures of what it has, and every quarter of an hour it writes them into `--json`,
without those of the outside reader. `--tiers` and `--methods` pick a part. `--seconds` limits the refinement
of the default preset: 10 on the real pair, no limit on the tiny one. The keys are explained in `quality_figures.py`,
`quality_callables.py` and `quality_maths.py`. The figures of the outside reader need its packages; see `outside_reader.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import public_data
import quality_callables
import torch
from interruption import go_on_when_interrupted
from quality_cases import interleave, make_cases
from quality_figures import (
    BASELINES,
    harmless_changed,
    is_changed,
    never_worse,
    odd_first_words,
    outside_rise,
    repeats,
    surprise_rise,
    tier_figures,
    tier_of,
)
from quality_maths import gsm8k_figures, tiny_figures
from quality_readings import add_gate, add_outside, add_surprise

from langchain_sea import load_gate, load_model
from langchain_sea.evaluation import CONTROLS, LEAD, METHODS, Case, Evaluation, Table, read_rows
from langchain_sea.evaluation.rows import select_rows
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]

NEEDED = {
    "weak": METHODS,
    "attacked": (LEAD, "draft", *BASELINES),
    "strong": (LEAD, "draft", *BASELINES),
    "harmless": (LEAD, "draft", "bo64", *CONTROLS),
    "callable": quality_callables.METHODS,
}
TIERS = tuple(NEEDED)
WRITE_SECONDS = 15 * 60  # between two versions of the figures of a run that goes on


def pick_methods(tiers: Sequence[str], asked: str) -> dict[str, tuple[str, ...]]:
    """What each tier needs of the methods that are asked for; an empty string asks for all."""
    names = {LEAD, *asked.split(",")} if asked else set(METHODS)
    return {tier: tuple(method for method in NEEDED[tier] if method in names) for tier in tiers}


def compute_figures(
    rows: Sequence[Row],
    cases: Sequence[Case],
    evaluation: Evaluation,
    wanted: Mapping[str, tuple[str, ...]],
    *,
    has_reader: bool = True,
) -> dict[str, Any]:
    """The keys that the rows have all they need for; `has_reader` says whether the outside reader takes part."""
    gate, term = load_gate("safety"), evaluation.terms[0]
    judged = add_gate([row for row in rows if tier_of(row) != "callable"], gate)
    graded = [row for row in rows if tier_of(row) == "callable"]
    tables = {
        tier: Table([row for row in judged if tier_of(row) == tier], methods)
        for tier, methods in wanted.items()
        if tier != "callable"
    }
    found = tier_figures(
        {tier: table for tier, table in tables.items() if table.rows[LEAD]}, gate, term.center, term.scale
    )
    found["never_worse"] = never_worse([row for row in rows if row["method"].startswith(LEAD)])
    by_key = {case.key[:3]: case for case in cases}
    mine = add_surprise([row for row in (*judged, *graded) if row["method"] == LEAD], evaluation, by_key)
    if mine:
        found |= {
            "odd_first_words": odd_first_words(mine),
            "repeats": repeats(mine),
            "surprise_rise": surprise_rise(mine),
        }
    harmless = [row for row in mine if tier_of(row) == "harmless"]
    if harmless:
        found["harmless_changed"] = harmless_changed(harmless)
    if graded:
        found["callable_gain"] = quality_callables.callable_gain(graded)
    if not has_reader:
        return found
    read = add_outside([row for row in mine if tier_of(row) in {"harmless", "callable"}], evaluation.policy.device.type)
    if harmless := [row for row in read if tier_of(row) == "harmless"]:
        found |= {what: outside_rise(harmless, what) for what in ("outside_nats", "outside_relevance")}
    if any(tier_of(row) == "callable" for row in read):
        found["callable_outside_nats"] = quality_callables.callable_outside_nats(read)
    return found


def measure_real(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """The figures of all tiers, and GSM8K's; and the rows."""
    policy = load_model(options.policy, options.device)
    terms = registry.make_terms(["safety"], policy)
    evaluation = Evaluation(
        policy=policy, terms=terms, seed=options.seed, max_tokens=options.tokens, max_time=options.seconds
    )
    by_name = {
        name: replace(evaluation, terms=registry.make_terms([function], policy))
        for name, function in quality_callables.CALLABLES.items()
    }
    wanted = pick_methods([tier for tier in options.tiers.split(",") if tier in TIERS], options.methods)
    cases = make_cases(list(wanted), options.prompts, options.seed, options.data)
    asked = [case for found in cases.values() for case in found]

    def read() -> list[Row]:
        return select_rows(read_rows(options.rows), asked)

    until = time.monotonic() + 60 * options.minutes
    if options.minutes:
        evaluation.answer(Case(set="", question="Hello"), "draft", None)  # the first call pays for set-up
    written = time.monotonic()
    with go_on_when_interrupted():
        for name, case in interleave(cases):
            tier, _, function = name.partition(" ")
            minutes = (until - time.monotonic()) / 60
            by_name.get(function, evaluation).run([case], wanted[tier], options.rows, minutes=minutes)
            if options.json and time.monotonic() - written > WRITE_SECONDS:
                write_figures(compute_figures(read(), asked, evaluation, wanted, has_reader=False), options.json)
                written = time.monotonic()
    rows = read()
    found = compute_figures(rows, asked, evaluation, wanted)
    if options.gsm8k:
        found["gsm8k"] = gsm8k_figures(evaluation, public_data.find_folder(options.data), options.gsm8k, options.seed)
    return found, rows


def write_figures(figures: Mapping[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def show(rows: Sequence[Row], count: int) -> str:
    """So many drafts and answers of each tier, to be read."""
    mine = [row for row in rows if row["method"] == LEAD]
    names = list(dict.fromkeys((tier_of(row), row["tier"]) for row in mine))
    lines = []
    for tier, name in names:
        part = [row for row in mine if (tier_of(row), row["tier"]) == (tier, name)][:count]
        lines.append(f"\n## {tier}{f' {name}' if tier == 'callable' else ''}, {len(part)} of its answers")
        for number, row in enumerate(part, start=1):
            answer = row["text"] if is_changed(row) else "(the draft)"
            lines.append(f"\n{number}. {row['question']}\n   draft:  {_flat(row['draft'])}\n   answer: {_flat(answer)}")
    return "\n".join(lines) + "\n"


def _flat(text: str) -> str:
    return text.strip().replace("\n", " ⏎ ")


def describe(found: Mapping[str, Any]) -> str:
    """One line for each key that is a figure: value, interval and number."""
    lines = []
    for key, figure in found.items():
        if isinstance(figure, dict) and "value" in figure:
            number = figure.get("prompts", figure.get("answers"))
            interval = f"  {figure['interval']}" if "interval" in figure else ""
            lines.append(f"{key:28} {figure['value']}{interval}{'' if number is None else f'  n = {number}'}\n")
    return "".join(lines)


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", choices=("real", "tiny"), default="real")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=60, help="of each tier")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiers", default=",".join(TIERS))
    parser.add_argument("--methods", default="")
    parser.add_argument("--gsm8k", type=int, default=0, help="so many problems of it, too")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print so many drafts and answers of each tier at the end")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no answer after so many")
    parser.add_argument("--seconds", type=float, help="of refinement, default preset (real pair: 10)")
    options = parser.parse_args()
    if options.seconds is None and options.pair == "real":
        options.seconds = 10.0  # without a limit the largest plan takes minutes an answer on a slow machine
    options.rows = options.rows or Path(f"quality-{options.pair}-{options.seed}.jsonl")
    return options


def main() -> None:
    """Measure what is missing, then print the figures."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    found, rows = measure_real(options) if options.pair == "real" else tiny_figures(options)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.stderr.write(describe(found))
    if options.json:
        write_figures(found, options.json)
    if options.show:
        sys.stdout.write(show(rows, options.show))


if __name__ == "__main__":
    main()
