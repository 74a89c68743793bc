"""The tables of the SEA paper (arXiv 2505.20081) with models that are to be had: `--json FILE --rows ROWS.jsonl`.

AdvBench, the prefix attack, TruthfulQA, GSM8K and MATH-500, with the presets `paper`, `reference` and `default` and the searches at
equal seconds. Rows are kept, and a run that was cut off goes on from them: `--minutes 0` only computes the figures. On Ctrl-C or
SIGTERM it prints the figures of what it has. `--pack OUT.jsonl.gz`
writes the rows without texts, and `--rows OUT.jsonl.gz --minutes 0` reads them again. `--markdown` prints the tables of `docs/paper.md`.
What the figures mean and how they differ from the paper's is on that page.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import paper_rows
import public_data
import torch
from interruption import go_on_when_interrupted
from paper_cases import MAX_TOKENS, POLICIES, TABLES, fit_to_case, make_cases, make_evaluation
from paper_figures import compute_figures, describe, describe_machines, write_markdown
from paper_readings import add_readings, check_nearness
from quality_cases import interleave

from langchain_sea.evaluation import LEAD, METHODS, Case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.evaluation import Evaluation

Row = dict[str, Any]

USUAL = (LEAD, "draft", "bo64", "best_of_n", "prefix_search", "chunk_beam", "args", "random_walk", "paper", "reference")
"""The presets, the paper's baselines (`bo64`, `args`, `chunk_beam`), and what is strongest here beside them."""


def name_device(device: torch.device) -> str:
    """The name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe_run(evaluation: Evaluation) -> dict[str, Any]:
    """The machine and the settings, for the rows."""
    policy = evaluation.policy
    return {
        "device": name_device(policy.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(next(policy.model.parameters()).dtype).removeprefix("torch."),
        "seed": evaluation.seed,
        "max_time": evaluation.max_time,
    }


def answer_all(options: argparse.Namespace, methods: Sequence[str]) -> None:
    """Answer what the rows lack, tables and policies in turn, until the time is over."""
    until = time.monotonic() + 60 * options.minutes
    folder = public_data.find_folder(options.data)
    asked = {
        f"{table} {policy}": make_cases(table, policy, options.prompts, options.seed, folder)
        for table in options.tables
        for policy in options.policies
    }
    answered = {paper_rows.key_of(row) for row in paper_rows.read(options.rows)}
    missing = [
        case for _, case in interleave(asked) if any((*case.key[:3], method) not in answered for method in methods)
    ]
    evaluations: dict[str, Evaluation] = {}
    for policy in dict.fromkeys(case.tier for case in missing):
        evaluations[policy] = make_evaluation(policy, {"device": options.device, "seed": options.seed, "max_time": options.seconds})  # fmt: skip
        evaluations[policy].answer(Case(set="", question="Hello"), "draft", None)  # the first call pays for set-up
    abouts = {policy: describe_run(evaluation) for policy, evaluation in evaluations.items()}
    for case in missing:
        minutes = (until - time.monotonic()) / 60
        if minutes <= 0:
            return
        evaluation = fit_to_case(evaluations[case.tier], case, abouts[case.tier], options.max_tokens)
        evaluation.run([case], methods, options.rows, minutes=minutes)


def select(rows: Sequence[Row], options: argparse.Namespace, methods: Sequence[str]) -> list[Row]:
    """The rows of the tables, policies and methods that are asked for."""
    wanted = set(options.tables), set(options.policies), set(methods)
    return [r for r in rows if r["set"] in wanted[0] and r["tier"] in wanted[1] and r["method"] in wanted[2]]


def require_same_settings(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Refuse to mix answers of different settings in one file."""
    shared: Mapping[str, Any] = {"seed": options.seed, "max_time": options.seconds}
    abouts = {table: {**shared, "max_tokens": options.max_tokens or MAX_TOKENS[table]} for table in options.tables}
    if conflict := paper_rows.find_conflict(rows, abouts):
        raise SystemExit(f"{options.rows}: {conflict}; take another file of rows, or pass --minutes 0.")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=Path, default=Path("paper.jsonl"), help="a packed .jsonl.gz is only read")
    parser.add_argument("--tables", type=_names, default=TABLES, help=", ".join(TABLES))
    parser.add_argument("--policies", type=_names, default=POLICIES, help="names as for load_model, or gemma-3-270m")
    parser.add_argument("--methods", type=_names, default=USUAL, help=", ".join(METHODS))
    parser.add_argument("--prompts", type=int, default=100, help="of each table")
    parser.add_argument("--seconds", type=float, default=10.0, help="of refinement, preset default")
    parser.add_argument("--max-tokens", type=int, help="of every answer; by default 50, and 200 in maths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no answer after so many")
    parser.add_argument("--device")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pack", type=Path, help="write the rows without texts to this .jsonl.gz")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/paper.md, not JSON")
    parser.add_argument("--check-judge", type=int, default=0, help="try TruthfulQA's judgement on so many questions")
    options = parser.parse_args(arguments)
    for names, known in ((options.tables, TABLES), (options.methods, METHODS)):
        if unknown := set(names) - set(known):
            parser.error(f"no {', '.join(sorted(unknown))}: choose {', '.join(known)}.")
    if options.minutes and options.rows.suffix == ".gz":
        parser.error(f"{options.rows} is compressed: pass --minutes 0, or a .jsonl file that new answers can extend.")
    return options


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> None:
    """Measure what is missing, then print the figures."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    methods = [name for name in METHODS if name in {LEAD, *options.methods}]
    if options.minutes:
        require_same_settings(options, paper_rows.read(options.rows))
        with go_on_when_interrupted():
            answer_all(options, methods)
    rows = select(paper_rows.read(options.rows), options, methods)
    rows = add_readings(rows, options.rows, options.data, options.device)
    figures = compute_figures(rows)
    if options.pack:
        print(f"{options.pack}: {paper_rows.pack(rows, options.pack)} bytes", file=sys.stderr)
    printed: dict[str, Any] = {"figures": figures, "machines": describe_machines(rows)}
    if options.check_judge:
        printed["truthfulqa_judge"] = check_nearness(public_data.find_folder(options.data), options.check_judge)
    text = json.dumps(printed, indent=2, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.stderr.write(describe(figures))
    if options.markdown:
        sys.stdout.write(write_markdown(figures, rows, options.tables, options.policies, methods))
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
