r"""Side by side with what people would use instead: `python tests/benchmarks/peers.py --json FILE`.

The same policy, reward, questions and seconds: the default preset answers first, and the other tools get as long as it
took, its draft included. A tool that ranks samples takes as many as fit. Each runs by its public API, from the short
programs in `peers_examples`, whose lines are counted. Texts are judged by the gate, which steered nothing, and by the
outside reader, whose packages `outside_reader.py` names.

    pip install trl==0.24.0 'its-hub[lm]==1.2.0'
    python -m venv FOLDER && FOLDER/bin/pip install optillm==0.4.0  # it needs older transformers

A tool that is not installed is left out, with the reason. Rows are kept beside FILE, as .jsonl: a run that was cut off
goes on from them. The gain is that of the reward above the mean of eight plain answers to the question, in
standard deviations of the reward.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import torch
from peers_figures import add_gains, compare, describe_time, group, summarize, write_ratios, write_table
from peers_methods import LEAD, METHODS, Bench, Runner, find_version, lines_needed
from quality_cases import make_cases
from quality_readings import add_outside

from langchain_sea import load_gate, load_model
from langchain_sea.evaluation import read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = dict[str, Any]

MODEL = "smollm2-135m"


def answer_all(
    bench: Bench, questions: Sequence[str], methods: Sequence[str], options: argparse.Namespace
) -> dict[str, str]:
    """Add the rows that are missing; return why tools were left out."""
    skipped, runners = dict[str, str](), dict[str, Runner]()
    answered = {(row["question"], row["method"]): row for row in rows_of(options)}
    for question in questions:
        for name in methods:
            if (question, name) in answered or name in skipped:
                continue
            limit = options.seconds if name == LEAD else answered[question, LEAD]["seconds"]
            try:
                if name not in runners:
                    print(f"warming up {name}", file=sys.stderr, flush=True)
                    runners[name] = Runner(bench, name)
                row = {"method": name, "question": question} | runners[name].run(question, limit)
                row |= {"plain_reward": bench.plain_reward(question)} if name == LEAD else {}
            except Exception as error:  # of any library: the others go on
                if name == LEAD:
                    raise
                skipped[name] = f"{type(error).__name__}: {error}"
                print(f"{name} is left out: {skipped[name]}", file=sys.stderr, flush=True)
                continue
            answered[question, name] = row
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | settings_of(options), ensure_ascii=False) + "\n")
            print(f"{name:20} {row['seconds']:6.1f} s  {question[:60]}", file=sys.stderr, flush=True)
    return skipped


def settings_of(options: argparse.Namespace) -> Row:
    """What rows must share to be compared."""
    return {"seed": options.seed, "max_tokens": options.max_tokens, "refinement": options.seconds}


def rows_of(options: argparse.Namespace) -> list[Row]:
    """The kept rows of these settings."""
    wanted = settings_of(options)
    return [row for row in read_rows(options.rows) if wanted.items() <= row.items()]


def read_all(bench: Bench, rows: Sequence[Row]) -> list[Row]:
    """The rows with the judge's verdict, the reward, and the outside reader's figures where it is installed."""
    gate = load_gate("safety")
    judged = [
        row
        | {"passes": gate(row["question"], [row["text"]])[0] >= gate.threshold}
        | {"reward": bench.score(row["question"], [row["text"]])[0]}
        for row in rows
    ]
    read = add_outside([row | {"draft": row["text"]} for row in judged])  # which reads drafts, too
    return add_gains(read or judged)


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The figures, and the tables as text."""
    asked = [name for name in METHODS if name in {LEAD, *options.methods.split(",")}]
    cases = make_cases(["weak"], options.prompts, options.seed, options.data)["weak"]
    questions = [case.question for case in cases]
    with ExitStack() as stack:
        policy = load_model(MODEL, "cpu")
        bench = Bench(policy, options.max_tokens, options.seed, options.optillm, stack)
        skipped = answer_all(bench, questions, asked, options)
    methods = [name for name in asked if name not in skipped]
    rows = read_all(bench, [row for row in rows_of(options) if row["question"] in questions])
    grouped, lines = group(rows, methods), {name: lines_needed(name) for name in methods}
    figures, ratios = summarize(grouped, lines), compare(grouped, lines, LEAD)
    about = {
        "prompts": len(grouped[LEAD]), "seed": options.seed, "threads": torch.get_num_threads(),
        "dtype": str(policy.model.dtype).removeprefix("torch."), "judge": "load_gate('safety')",
        "versions": {name: find_version(name) for name in methods}, "skipped": skipped,
    }  # fmt: skip
    text = f"{write_table(figures)}\n{write_ratios(ratios, LEAD)}\n{describe_time(rows)}"
    return {"methods": figures, "default_over": ratios, "about": about}, text


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of refinement after the draft; other tools get what both took"
    )
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--optillm", default="optillm", help="its program, in an environment of its own")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if unknown := set(options.methods.split(",")) - set(METHODS):
        parser.error(f"no method {', '.join(sorted(unknown))}: choose of {', '.join(METHODS)}")
    options.rows = options.json.with_suffix(".jsonl") if options.json else Path(f"peers-{options.seed}.jsonl")
    return options


def main() -> None:
    """Measure what is missing, then print the figures."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    figures, text = measure(options)
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
