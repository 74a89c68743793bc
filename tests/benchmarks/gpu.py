"""How fast a GPU is used: `python tests/benchmarks/gpu.py --json FILE`.

Single passes against their own matrix products as one CUDA graph, whole answers, many answers at once, and memory.
`real` is smollm2-135m; `1b` and `8b` are Llamas of random weights in bfloat16, without a download. Prints one table,
and writes the file after every figure, so that a run that is cut keeps what it has; after nine minutes it ends. What
is measured goes to standard error as it comes. `--dry` runs every measurement once on tiny weights and a CPU, to see
that it works; `--profile` shows what one answer launches and waits for, and measures no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import torch
import transformers
from gpu_answers import answer_phases, answer_seconds, refine_over_draft
from gpu_crowd import batch_speedup, generate_tokens_per_second, memory_plan_over_peak, tokens_per_second
from gpu_profile import profile_answer
from gpu_steps import Bench, decode, graph_step, latent_step
from speed import measured
from speed_clock import note, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Measure = Callable[[], dict[str, Any]]

SECONDS = 420  # after which no figure begins
MOST_SECONDS = 540  # after which the process ends, whatever it measures
PROFILED = 32  # tokens
SHAPE_OF = {
    "graph_step_over_floor": "1b",
    "latent_step_over_floor": "1b",
    "decode_over_floor": "1b",
    "decode_over_floor_512": "1b",
    "graph_step_over_floor_8b": "8b",
    "answer_seconds": "real",
    "answer_phases": "real",
    "refine_over_draft": "real",
    "answer_seconds_1b": "1b",
    "refine_over_draft_1b": "1b",
    "answer_seconds_8b": "8b",
    "generate_tokens_per_second": "1b",
    "tokens_per_second": "1b",
    "batch_speedup": "1b",
    "memory_plan_over_peak": "1b",
}
"""Every figure and its weights, in the order in which they are measured."""


def measures(bench: Bench) -> dict[str, Measure]:
    """How each figure is measured."""
    sizes = bench.sizes
    ways: dict[str, Measure] = {
        "graph_step_over_floor": partial(graph_step, bench, "1b", sizes.chains),
        "graph_step_over_floor_8b": partial(graph_step, bench, "8b", sizes.many_chains),
        "latent_step_over_floor": partial(latent_step, bench),
        "decode_over_floor": partial(decode, bench, sizes.prompts[0]),
        "decode_over_floor_512": partial(decode, bench, sizes.prompts[1]),
        "answer_phases": partial(answer_phases, bench, "real"),
        "memory_plan_over_peak": partial(memory_plan_over_peak, bench),
        "generate_tokens_per_second": partial(generate_tokens_per_second, bench),
        "tokens_per_second": partial(tokens_per_second, bench),
        "batch_speedup": partial(batch_speedup, bench),
    }
    for shape, suffix in (("real", ""), ("1b", "_1b"), ("8b", "_8b")):
        ways[f"answer_seconds{suffix}"] = partial(answer_seconds, bench, shape)
        ways[f"refine_over_draft{suffix}"] = partial(refine_over_draft, bench, shape)
    return ways


def measure_in_time(key: str, measure: Measure, ends: float) -> dict[str, Any]:
    """The figure, or null with the reason."""
    if time.monotonic() > ends:
        return nothing(f"not measured: {key}", "the time was over before it began")
    return measured(key, lambda: {key: measure()})[key]


def describe_machine(bench: Bench) -> dict[str, Any]:
    """What figures depend on."""
    device = bench.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"device": name, **versions, "compiled": bench.compiles}


def table(figures: dict[str, dict[str, Any]], about: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{about['device']}, torch {about['torch']}, transformers {about['transformers']}, {about['seconds']:.0f} s.",
        "",
        *(["The layers of models are compiled.", ""] if about["compiled"] else []),
        "| key | value | spread | repeats | both sides | what |",
        "|---|---|---|---|---|---|",
    ]
    for key, figure in figures.items():
        value = "null" if figure["value"] is None else f"{figure['value']:.4g}"
        spread = " – ".join(f"{edge:.4g}" for edge in figure["spread"] or ())
        unit = "ms" if "milliseconds" in figure else "s"
        sides = ", ".join(f"{name} {n:.4g} {unit}" for name, n in (_sides(figure)).items())
        what = figure["what"] + (f" ({figure['reason']})" if "reason" in figure else "")
        lines.append(f"| `{key}` | {value} | {spread} | {figure['repeats']} | {sides} | {what} |")
    return "\n".join(lines) + "\n"


def _sides(figure: dict[str, Any]) -> dict[str, float]:
    return figure.get("milliseconds") or figure.get("seconds") or {}


def write(path: Path | None, content: dict[str, Any]) -> None:
    """As JSON, if there is a file."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def end_process_after(seconds: float) -> threading.Timer:
    """End the process then, unless the timer is cancelled: a figure that hangs would hold the GPU."""

    def end() -> None:
        note(f"{seconds:g} s are over: the figure in progress is left out, those before it are in the file")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a figure could not be measured."""
    options = parse(arguments)
    bench = Bench(torch.device(options.device), options.dry, options.compile_layers)
    about, began, figures = describe_machine(bench), time.monotonic(), {}
    if options.profile:
        profiles = {shape: profile_answer(bench, shape, options.profile) for shape in options.shapes}
        write(options.json, profiles | about)
        return 0
    timer = end_process_after(options.most_seconds)
    ways = measures(bench)
    for key, shape in SHAPE_OF.items():
        if key in options.only and shape in options.shapes:
            figures[key] = measure_in_time(key, ways[key], began + options.seconds)
            about["seconds"] = round(time.monotonic() - began, 1)
            write(options.json, figures | about)
    timer.cancel()
    if not figures:
        note("none of these figures belongs to these shapes")
        return 1
    sys.stdout.write(table(figures, about))
    return int(any(figure["value"] is None for figure in figures.values()))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SHAPE_OF), default=list(SHAPE_OF), metavar="KEY")
    parser.add_argument("--shapes", nargs="+", choices=("1b", "8b", "real"), default=["1b", "8b", "real"])
    parser.add_argument("--device", choices=("cuda", "cpu"), help="cuda, or with --dry the CPU")
    parser.add_argument("--compile-layers", action="store_true", help="of the models that answer")
    parser.add_argument("--dry", action="store_true", help="tiny weights on the CPU, to see that everything runs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which no figure begins")
    parser.add_argument("--most-seconds", type=float, default=MOST_SECONDS, help="after which the process ends")
    parser.add_argument(
        "--profile",
        type=int,
        nargs="?",
        const=PROFILED,
        metavar="TOKENS",
        help=f"profile one answer of each shape instead, by default of {PROFILED} tokens",
    )
    options = parser.parse_args(arguments)
    if options.dry:
        options.device = "cpu"
    elif options.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --dry sees that everything runs, --device cpu measures on a CPU")
    options.device = options.device or "cuda"
    return options


if __name__ == "__main__":
    sys.exit(main())
