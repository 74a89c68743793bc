"""What one warm answer launches and waits for, by torch's profiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_answers import make_model
from speed_answers import QUESTIONS
from speed_clock import settle
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from gpu_steps import Bench

ROWS = 25
COUNTED = {
    "kernel launches": ("cudaLaunchKernel", "cuLaunchKernel"),
    "graph launches": ("cudaGraphLaunch",),
    "copies": ("cudaMemcpyAsync",),
    "cudaStreamSynchronize": ("cudaStreamSynchronize",),
    "cudaDeviceSynchronize": ("cudaDeviceSynchronize",),
    "cudaEventSynchronize": ("cudaEventSynchronize",),
    "aten::item": ("aten::item",),
    "aten::_local_scalar_dense": ("aten::_local_scalar_dense",),
}


def profile_answer(bench: Bench, shape: str, tokens: int) -> dict[str, Any]:
    """Print the tables and the counts; returns the counts and the name of the weights."""
    on = bench.subject(shape)
    model = make_model(bench, on, tokens)
    for question in QUESTIONS[:2]:
        model.invoke(question)
    activities = [ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, acc_events=True) as profiler:
        model.invoke(QUESTIONS[2])
        settle(bench.device)
    averages = profiler.key_averages()
    for key in ("self_device_time_total", "self_cpu_time_total"):
        print(averages.table(sort_by=key, row_limit=ROWS, max_name_column_width=70))
    counts = {name: sum(each.count for each in averages if each.key.startswith(keys)) for name, keys in COUNTED.items()}
    print(f"one answer of at most {tokens} tokens, {on.name}:")
    for name, count in counts.items():
        print(f"{count:>9}  {name}")
    return {"what": f"one warm answer of at most {tokens} tokens; {on.name}", "counts": counts}
