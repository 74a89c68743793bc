"""The CUDA graphs of one model: their memory, what they cost, and which functions cannot be captured."""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from torch import Tensor

    TensorFunction = Callable[..., tuple[Tensor, ...]]

__all__ = ["Capture", "GraphCache", "Recorder"]

_log = logging.getLogger(__name__)

_MAX_GRAPHS = 48
_MAX_FAILURES = 3  # after which nothing is captured any more


class Capture(NamedTuple):
    """What one capture cost."""

    name: str
    seconds: float
    num_bytes: int


class GraphCache:
    """The captured functions of one model.

    Attributes:
        is_enabled: whether functions are captured; False after several captures have failed.
        captures: what each capture cost.
    """

    def __init__(self, device: torch.device, max_graphs: int = _MAX_GRAPHS) -> None:
        """Begin without a graph.

        Args:
            device: where the functions compute; only a CUDA device captures.
            max_graphs: that are kept.
        """
        self.is_enabled = device.type == "cuda"
        self.captures: list[Capture] = []
        self._device, self._max_graphs = device, max_graphs
        self._functions: OrderedDict[Hashable, TensorFunction] = OrderedDict()
        self._pool: Any = None
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()  # in the pool
        self._stream: Any = None
        self._num_failures = 0
        self._uncapturable: set[str] = set()  # names of functions, as long as the process runs
        self._too_large: set[str] = set()  # for the memory that is free, until the graphs are dropped
        self._has_warned_of_memory = False

    def get_or_create(self, key: Hashable, make: Callable[[], TensorFunction]) -> TensorFunction:
        """Return the function of a key; the one used longest ago is dropped where there are too many."""
        function = self._functions.pop(key, None) or make()
        self._functions[key] = function
        while len(self._functions) > self._max_graphs:
            self._functions.popitem(last=False)
        return function

    def clear(self) -> None:
        """Drop all functions and the memory of their graphs; where others hold graphs, these keep the old pool."""
        self._functions.clear()
        self._too_large.clear()
        self._graphs = WeakSet()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def may_capture(self, name: str) -> bool:
        """Whether a function of this name is captured; not where the capture of one has failed before.

        Functions of one name are about equally large.
        """
        return self.is_enabled and name not in self._uncapturable and name not in self._too_large

    def capture(self, name: str, record: Callable[[Recorder], None]) -> bool:
        """Capture what `record` asks for, and return whether that succeeded."""
        started, before = time.perf_counter(), torch.cuda.memory_reserved(self._device)
        is_captured = self._try_to_record(name, record)
        # of the warm-ups, or of an attempt that failed: only here, because its error holds what it allocated
        torch.cuda.empty_cache()
        if is_captured:
            num_bytes = torch.cuda.memory_reserved(self._device) - before
            self.captures.append(Capture(name, time.perf_counter() - started, num_bytes))
            _log.debug("captured %s in %.2f s", name, self.captures[-1].seconds)
        return is_captured

    def _try_to_record(self, name: str, record: Callable[[Recorder], None]) -> bool:
        """Return whether the capture succeeded; other graphs stay where it did not."""
        if not self._graphs:  # torch shares a pool only as long as one of its graphs is there
            self._pool = torch.cuda.graph_pool_handle()
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        try:
            with _on_stream(self._stream), _without_garbage_collection():
                record(Recorder(self._pool, self._graphs))
        except torch.OutOfMemoryError:
            self._note_lack_of_memory(name)
        except Exception as error:  # noqa: BLE001 - whatever cannot be captured can run as usual
            self._note_failure(name, error)
        else:
            return True
        return False

    def _note_lack_of_memory(self, name: str) -> None:
        self._too_large.add(name)
        if not self._has_warned_of_memory:
            self._has_warned_of_memory = True
            _warn(
                f"{name} runs without a CUDA graph, which is slower: memory does not suffice for the graph, nor "
                "perhaps for others. Choose a smaller plan, or another model."
            )

    def _note_failure(self, name: str, error: Exception) -> None:
        self._uncapturable.add(name)
        self._num_failures += 1
        self.is_enabled = self._num_failures < _MAX_FAILURES
        consequence = ""
        if not self.is_enabled:
            consequence = f" That is the {_MAX_FAILURES}rd failure, so that nothing more is captured."
        if self._num_failures == 1 or consequence:
            _warn(f"{name} runs without a CUDA graph, which is slower: its capture failed ({error}).{consequence}")


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=5)  # where `capture` was called


class Recorder:
    """Records what is called as a graph."""

    def __init__(self, pool: Any, graphs: WeakSet[torch.cuda.CUDAGraph]) -> None:  # noqa: ANN401 - torch's own
        """Record into a pool.

        Args:
            pool: the handle of the memory.
            graphs: that lie in it; those that are recorded are added.
        """
        self._pool, self._graphs = pool, graphs

    def __call__(self, call: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
        """Return the graph of a call, and what the call returned."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            result = call()
        finally:
            graph.capture_end()
        self._graphs.add(graph)
        return graph, result


@contextmanager
def _on_stream(side: Any) -> Iterator[None]:  # noqa: ANN401 - torch's own
    """Compute on another stream, as a capture must; work before and after it stays in order."""
    current = torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep the collector from freeing tensors of a GPU during a capture, which would end it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
