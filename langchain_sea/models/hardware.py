"""Measures the CPU: which precision of weights is the faster one, and how many threads may run. Knows no model.

Shapes: O rows and I columns of a weight.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

__all__ = [
    "DtypeChoice",
    "LayerShapes",
    "choose_dtype",
    "choose_num_threads",
    "count_cpus",
    "find_quota",
    "limit_threads",
    "measure_dtype",
    "measure_products",
]

_log = logging.getLogger(__name__)

LayerShapes = tuple[tuple[int, int], ...]
"""(O, I) of each linear layer of one decoder layer."""
Seconds = tuple[float, float]
"""Of the products in float32 and in bfloat16."""

_NUM_ROWS = (4, 64)  # one answer that is written (its rows are padded to 4), and a short prompt or a gradient
_MAX_RELATIVE_TIME = 0.8
_MIN_WEIGHTS = 2**20  # of a layer: below, calls take longer than products
_MAX_WEIGHTS = 2**22  # that are multiplied: 16 MB in float32, so that a measurement takes about 0.1 s
_MIN_ROWS = 64  # of a weight that is cut, because kernels treat narrow ones differently
_REPEATS = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ROOT = Path("/")


class DtypeChoice(NamedTuple):
    """Which precision the weights get on a CPU, and why.

    Attributes:
        dtype: float32 or bfloat16.
        relative_times: seconds in bfloat16 ÷ seconds in float32, by the number of rows; empty if not measured.
    """

    dtype: torch.dtype
    relative_times: dict[int, float]

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        if not self.relative_times:
            return f"{name} (the layers are too small to be faster in bfloat16)"
        times = ", ".join(f"{time:.2f} with {rows} rows" for rows, time in self.relative_times.items())
        return f"{name} (bfloat16 takes {times} of float32's time)"


@cache
def measure_dtype(shapes: LayerShapes) -> DtypeChoice:
    """Measure which precision is faster on this CPU, once per process for each shape of layer.

    Args:
        shapes: of the linear layers of one decoder layer of the model.
    """
    choice = choose_dtype(shapes, measure_products)
    _log.debug("weights on this CPU get %s; measured on a layer with weights of %s", choice, shapes)
    return choice


def choose_dtype(shapes: LayerShapes, measure: Callable[[LayerShapes, int], Seconds]) -> DtypeChoice:
    """Choose bfloat16 if the products of a layer take at most 0.8 of their time in float32, on average.

    float32 is exact, so bfloat16 has to gain more than a measurement is wrong by, which is about a tenth. An answer
    needs products of few rows (its tokens are written one by one) and of many (prompts and gradients), and both
    ratios count the same. Where bfloat16 is emulated it takes several times as long with many rows: that outweighs
    whatever it saves with few.

    Args:
        shapes: of the linear layers of one decoder layer. With fewer than 2²⁰ weights in all nothing is measured:
            calls take longer than products, and the result is float32.
        measure: returns the seconds in float32 and in bfloat16 for a number of rows.
    """
    if sum(outs * ins for outs, ins in shapes) < _MIN_WEIGHTS:
        return DtypeChoice(torch.float32, {})
    relative_times = {}
    for num_rows in _NUM_ROWS:
        exact, narrow = measure(shapes, num_rows)
        relative_times[num_rows] = narrow / exact
    is_faster = statistics.fmean(relative_times.values()) <= _MAX_RELATIVE_TIME
    return DtypeChoice(torch.bfloat16 if is_faster else torch.float32, relative_times)


@torch.inference_mode()
def measure_products(shapes: LayerShapes, num_rows: int, clock: Callable[[], float] = time.perf_counter) -> Seconds:
    """Time the products of one layer in both precisions, in turns, and return the least of each.

    It is the least, because other processes only add time. One thread multiplies, because several wait for each
    other where other processes are busy: with two of them on two busy cores, the ratio of two medians varied from
    0.1 to 2.5, and the ratio of two least times of one thread from 0.45 to 0.7.

    The weights are constant, because the time of a product does not depend on its numbers. Of a large layer only the
    first 2²² weights are multiplied. One layer may stay in the CPU's cache, which a whole model does not: this and
    the single thread favour float32, which has more bytes to read.

    Args:
        shapes: (O, I) of each weight.
        num_rows: of the states that each weight is multiplied by.
        clock: in seconds.
    """
    cut = list(_cut(shapes))
    layers = {
        dtype: [(torch.full((num_rows, i), 0.01, dtype=dtype), torch.full((o, i), 0.01, dtype=dtype)) for o, i in cut]
        for dtype in (torch.float32, torch.bfloat16)
    }
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in layers}
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(1 + _REPEATS):  # the first of each prepares the kernels
            for dtype, layer in layers.items():
                start = clock()
                for states, weight in layer:
                    linear(states, weight)
                times[dtype].append(clock() - start)
    finally:
        torch.set_num_threads(num_threads)
    exact, narrow = (min(seconds[1:]) for seconds in times.values())
    return exact, narrow


def _cut(shapes: LayerShapes) -> Iterator[tuple[int, int]]:
    """Yield the first weights of a layer, at most `_MAX_WEIGHTS` numbers unless one row is longer."""
    num_left = _MAX_WEIGHTS
    for outs, ins in shapes:
        num_rows = min(outs, max(num_left // ins, _MIN_ROWS))
        yield num_rows, ins
        num_left -= num_rows * ins
        if num_left < _MIN_ROWS * ins:
            return


@cache
def limit_threads() -> int:
    """Lower torch's number of threads to the CPUs that this process may use, once per process; return the number.

    torch counts the machine's cores, also in a container that may use two of them, and its threads then wait for each
    other. The number is only lowered, and left alone if the user has chosen it: see `choose_num_threads`.
    """
    num_threads, num_cpus, quota = torch.get_num_threads(), count_cpus(), find_quota()
    defaults = {os.cpu_count() or 1, num_cpus, _count_cores(_affinity())}
    chosen = choose_num_threads(num_threads, num_cpus, quota, defaults=defaults, environ=os.environ)
    if chosen != num_threads:
        torch.set_num_threads(chosen)
    _log.debug("%s threads of torch, before %s: %s CPUs, quota %s", chosen, num_threads, num_cpus, quota)
    return chosen


def choose_num_threads(
    num_threads: int, num_cpus: int, quota: float | None, *, defaults: Collection[int], environ: Mapping[str, str]
) -> int:
    """Return the number of threads that torch should have.

    It is `num_threads` if the user chose that: if `OMP_NUM_THREADS` or `MKL_NUM_THREADS` is set, or if the number is
    none of those that torch takes by itself. A user who calls `torch.set_num_threads` with just such a number cannot
    be told from torch; a call after the first load is never undone.

    Args:
        num_threads: torch's now.
        num_cpus: that the process may run on.
        quota: CPUs' worth of time that the container gets, rounded up because two threads use up a quota of 1.5 and
            one does not; None without a limit.
        defaults: the numbers that torch takes by itself.
        environ: the environment variables.
    """
    if num_threads not in defaults or any(environ.get(name) for name in _THREAD_VARIABLES):
        return num_threads
    num_allowed = num_cpus if quota is None else min(num_cpus, ceil(quota))
    return max(1, min(num_threads, num_allowed))


def find_quota(root: Path = _ROOT) -> float | None:
    """Return the CPUs' worth of time that the process's control groups allow; None if they set no limit.

    A group is bound by those above it, too, so the result is the least limit of all. Both versions of control groups
    are read, from `/proc/self/cgroup` and `/sys/fs/cgroup`. A container may not see its own path there: then the root
    of what it sees is its own group.

    Args:
        root: of the file system.
    """
    quotas = []
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders = [f for mount in (mounts, mounts / "unified") for f in _upwards(mount, path)]
            quotas += [_ratio(*_read(folder / "cpu.max").split()) for folder in folders]
        elif "cpu" in controllers.split(","):
            folders = [f for mount in (mounts / controllers, mounts / "cpu") for f in _upwards(mount, path)]
            quotas += [_ratio(*(_read(f / f"cpu.cfs_{name}_us") for name in ("quota", "period"))) for f in folders]
    return min((quota for quota in quotas if quota is not None), default=None)


def count_cpus() -> int:
    """Count the CPUs that the process may run on; from Python 3.13 on, `PYTHON_CPU_COUNT` is heeded."""
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", lambda: None)
    return count() or len(_affinity())


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a group and all above it, up to the mount."""
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _ratio(quota: str = "", period: str = "") -> float | None:
    """Return quota ÷ period; None if they set no limit: the file is missing, or says `max` or −1."""
    try:
        ratio = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return ratio if ratio > 0 else None


def _read(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _affinity() -> Collection[int]:
    """Return the numbers of the CPUs that the process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _count_cores(cpus: Collection[int], root: Path = _ROOT) -> int:
    """Count the cores of some CPUs: two threads of a core are two CPUs, and MKL counts them as one."""
    folder = root / "sys/devices/system/cpu"
    return len({_read(folder / f"cpu{number}/topology/thread_siblings_list") or str(number) for number in cpus})
