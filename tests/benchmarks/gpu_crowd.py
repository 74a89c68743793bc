"""Many answers at once on a GPU, and the memory of one."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu_answers import count_tokens, generate, make_model, one_sided
from gpu_steps import Bench
from speed_answers import QUESTIONS, ragged
from speed_clock import ratio
from speed_shapes import PRESET
from speed_step import most_held

from langchain_sea.models.loading.memory_estimate import estimate_memory
from langchain_sea.plans import find_plan


def batch_speedup(bench: Bench) -> dict[str, Any]:
    """All together, and some of them one after another; the rest is taken to last as long."""
    on, sizes = bench.subject("1b"), bench.sizes
    plan = sizes.plan or "medium"
    model = make_model(bench, on, sizes.short, plan=plan)
    requests = ragged(sizes.together, 0)
    model.batch(requests)  # so that graphs are captured
    for request in requests[: sizes.alone]:
        model.invoke(request)
    times: dict[str, list[float]] = {"one by one": [], "together": []}
    alone = [bench.plan.seconds(lambda request=request: model.invoke(request)) for request in requests[: sizes.alone]]
    times["one by one"].append(statistics.fmean(alone) * sizes.together)
    times["together"].append(bench.plan.seconds(lambda: model.batch(requests)))
    what = (
        f"{sizes.together} requests one after another (measured: {sizes.alone} of them, scaled to all) ÷ the same by "
        f"SEAChatModel.batch; {on.name}, {sizes.short} tokens, the plan {find_plan(plan).name}, so that both search as much"
    )
    return ratio(times, "one by one", "together", what, alone=[round(each, 4) for each in alone])


def tokens_per_second(bench: Bench) -> dict[str, Any]:
    """Of refined answers, many at once."""
    on, sizes = bench.subject("1b"), bench.sizes
    requests, kept = ragged(sizes.crowd, 1), []
    make_model(bench, on, min(16, sizes.long)).batch(requests[:8])
    model = make_model(bench, on, sizes.long)
    seconds = bench.plan.seconds(lambda: kept.extend(model.batch(requests)))
    count = sum(count_tokens(on, message, sizes.long) for message in kept)
    what = (
        f"tokens of {sizes.crowd} answers of {sizes.long} tokens by one SEAChatModel.batch with everything at its "
        f"default ÷ its seconds; {on.name}"
    )
    rate = count / seconds
    return one_sided(rate, [rate], what, {"batch": seconds}, digits=1, tokens=count)


def generate_tokens_per_second(bench: Bench) -> dict[str, Any]:
    """Of transformers, as many rows."""
    on, sizes = bench.subject("1b"), bench.sizes
    generate(on, QUESTIONS[0], min(8, sizes.long), sizes.crowd)
    counts: list[int] = []
    each = [
        bench.plan.seconds(lambda: counts.append(generate(on, QUESTIONS[0], sizes.long, sizes.crowd))) for _ in range(3)
    ]
    rates = [count / seconds for count, seconds in zip(counts, each, strict=True)]
    what = (
        f"tokens of {sizes.crowd} sampled rows of {sizes.long} tokens by transformers' generate, one prompt, dynamic "
        f"cache ÷ its seconds; {on.name}"
    )
    seconds = {"generate": statistics.median(each)}
    return one_sided(statistics.median(rates), rates, what, seconds, digits=1, tokens=counts[0])


def memory_plan_over_peak(bench: Bench) -> dict[str, Any]:
    """What is estimated from the configuration alone, and what a process that answers holds."""
    on, tokens = bench.subject("1b"), bench.sizes.answer["1b"]
    prompt = on.policy.prompt([{"role": "user", "content": QUESTIONS[0]}], room=tokens)
    with tempfile.TemporaryDirectory() as folder:
        on.policy.model.config.save_pretrained(folder)
        parts = estimate_memory(
            folder,
            [],
            PRESET.search_config,
            tokens=tokens,
            prompt_tokens=len(prompt.ids),
            dtype=str(on.dtype).removeprefix("torch."),
        )
    planned, peak = parts[-1].size, _measure_peak(bench)
    what = (
        f"bytes that `estimate_memory` gives for one answer of {tokens} tokens, from the configuration alone ÷ the "
        f"most bytes that a process of its own holds while it answers two questions, graphs included; {on.name}; "
        "nothing is timed"
    )
    value = planned / peak if peak else math.nan
    sizes = {"planned": planned, "peak": peak}
    return one_sided(value, [value], what, {}, bytes=sizes, planned={part.name: part.size for part in parts})


def _measure_peak(bench: Bench) -> int:
    """Return the most bytes held on the device; on a GPU in a process of its own, which has captured nothing yet."""
    if bench.device.type == "cpu":
        on = bench.subject("1b")
        model = make_model(bench, on, bench.sizes.answer["1b"])
        weights = sum(parameter.nbytes for parameter in on.policy.model.parameters())
        return weights + most_held(lambda: model.invoke(QUESTIONS[0]), bench.device)
    folder = Path(__file__).parent
    paths = [str(folder), str(folder.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", "import gpu_crowd; gpu_crowd.show_peak()"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def show_peak() -> None:
    """Print the most bytes that two answers of the 1 B shape hold on a GPU, each asked for twice."""
    bench = Bench(torch.device("cuda"))
    model = make_model(bench, bench.subject("1b"), bench.sizes.answer["1b"])
    for question in QUESTIONS[:2] * 2:
        model.invoke(question)
    sys.stdout.write(f"{torch.cuda.max_memory_allocated()}\n")
