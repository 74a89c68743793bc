"""How fast the loop is: `python tests/benchmarks/speed.py --json FILE --shape real`.

Prints JSON, or with `--markdown` a table. Every figure is a ratio of two things timed in the same run, in turns, the
median of `--repeats` with the spread of the repeats' own ratios (fewer where one takes longer than a minute);
`what` says what was divided by what. `real` is smollm2-135m; `random` a Llama of 88 M random weights, `1b` one of
1.2 G in bfloat16, both without a download. What is measured goes to standard error as it comes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import torch
from speed_answers import batch_equal, batch_speedup, refine_over_draft, window_ratio
from speed_clock import Plan, note, nothing
from speed_peers import naive_over_ours, reference_over_ours
from speed_shapes import SHAPES, Subject, subject
from speed_step import memory_v_ratio, outside_fraction, step_over_floor

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS = {
    "step_over_floor": "≤ 1.5",
    "reference_over_ours": "≥ 10",
    "naive_over_ours": "≥ 25",
    "memory_v_ratio": "≤ 1.1",
    "batch_speedup": "≥ 4",
    "refine_over_draft": "≤ 1.0",
    "window_ratio": "≤ 4.4",
    "batch_equal": "1.0",
    "outside_fraction": "≤ 0.15",
}
DTYPES = (torch.float32, torch.bfloat16)

Figures = dict[str, dict[str, Any]]


def floors(on: Subject, options: argparse.Namespace, plan: Plan) -> Figures:
    """The step in both dtypes; the one that is loaded by default stands first."""
    found: Figures = {}
    for dtype in sorted(DTYPES, key=lambda dtype: dtype != on.dtype):
        name = f"step_over_floor_{str(dtype).removeprefix('torch.')}"
        found[name] = step_over_floor(subject(on.shape, options.device, dtype), plan)
        found.setdefault("step_over_floor", found[name])
    return found


def measures(options: argparse.Namespace, plan: Plan) -> dict[str, Callable[[], Figures]]:
    """Each figure's way of being measured, in the order of the table."""
    seed, device = options.seed, options.device

    def on() -> Subject:
        return subject(options.shape, device)

    def one(name: str, measure: Callable[[], dict[str, Any]]) -> Callable[[], Figures]:
        return lambda: {name: measure()}

    alone: dict[str, Callable[[], dict[str, Any]]] = {
        "reference_over_ours": lambda: reference_over_ours(on(), plan),
        "naive_over_ours": lambda: naive_over_ours(on(), plan),
        "memory_v_ratio": partial(memory_v_ratio, plan),
        "batch_speedup": lambda: batch_speedup(on(), plan, seed),
        "window_ratio": partial(window_ratio, plan, device, seed),
        "batch_equal": lambda: batch_equal(on(), device, seed),
        "outside_fraction": lambda: outside_fraction(on(), plan),
    }
    several: dict[str, Callable[[], Figures]] = {
        "step_over_floor": lambda: floors(on(), options, plan),
        "refine_over_draft": lambda: refine_over_draft(on(), plan, seed),
    }
    every = several | {name: one(name, measure) for name, measure in alone.items()}
    return {name: every[name] for name in TARGETS if name in options.only}


def table(figures: Figures, about: dict[str, Any]) -> str:
    """Markdown."""
    how = f"weights in {about['dtype']} on {about['device']}, {about['threads']} threads"
    lines = [
        f"{about['shape']}, {how}, torch {about['torch']}, {about['seconds']:.0f} s.",
        "",
        "| key | value | spread | repeats | target | what is divided by what |",
        "|---|---|---|---|---|---|",
    ]
    for name, figure in figures.items():
        value = "null" if figure["value"] is None else f"{figure['value']:.3g}"
        spread = "" if figure["spread"] is None else " – ".join(f"{edge:.3g}" for edge in figure["spread"])
        what = figure["what"] + (f" ({figure['reason']})" if "reason" in figure else "")
        target = TARGETS.get(name, "")
        lines.append(f"| `{name}` | {value} | {spread} | {figure['repeats']} | {target} | {what} |")
    return "\n".join(lines) + "\n"


def measured(name: str, measure: Callable[[], Figures]) -> Figures:
    """The figures, or null with the reason; one that fails keeps none from the others."""
    note(f"{name} …")
    began = time.perf_counter()
    try:
        found = measure()
    except Exception as error:  # noqa: BLE001 - written down as the figure's reason
        traceback.print_exc()
        found = {name: nothing(f"not measured: {name}", f"{type(error).__name__}: {error}")}
    for key, figure in found.items():
        note(f"{key} = {figure['value']} {figure['spread']} ({time.perf_counter() - began:.0f} s)")
    return found


def main() -> None:
    """Measure, print, and write the files that are named, after every figure."""
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    on = subject(options.shape, options.device)
    plan, began, figures = Plan(options.repeats, on.policy.device), time.perf_counter(), {}
    for name, measure in measures(options, plan).items():
        figures |= measured(name, measure)
        about = {
            "shape": options.shape,
            "dtype": str(on.dtype).removeprefix("torch."),
            "device": str(on.policy.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "seconds": round(time.perf_counter() - began, 1),
        }
        texts = {
            options.json: json.dumps(figures | about, indent=2, ensure_ascii=False) + "\n",
            options.markdown: table(figures, about),
        }
        for path, text in texts.items():
            if path and path != Path("-"):
                path.write_text(text, encoding="utf-8")
    sys.stdout.write(texts[options.markdown if options.markdown == Path("-") else options.json])
    sys.exit(any(key in TARGETS and "not measured" in figure["what"] for key, figure in figures.items()))


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="a file, or - for standard output instead of JSON")
    parser.add_argument("--shape", choices=("real", *SHAPES), default="real")
    parser.add_argument("--device", help="cuda where there is one, else cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="KEY")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="as many as torch takes by itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()
