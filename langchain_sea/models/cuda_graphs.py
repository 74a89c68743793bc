"""Functions of tensors of fixed shape that a GPU replays as one graph, instead of launching kernel after kernel.

A function is captured when it has been called often enough, and runs as usual before that, on a CPU, and where a
capture fails. All graphs share one pool of memory; the ones not used for the longest time are dropped.
"""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

__all__ = ["Capture", "GraphCache", "GraphedFunction"]

_log = logging.getLogger(__name__)

_NUM_WARM_UPS = 2  # before the first captures: libraries allocate their workspaces in the first calls
_NUM_FIRST = 8  # captures, after which one call is enough
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
        self._functions: OrderedDict[Hashable, GraphedFunction] = OrderedDict()
        self._pool: Any = None
        self._stream: Any = None
        self._num_failures = 0

    def get_or_create(self, key: Hashable, make: Callable[[], GraphedFunction]) -> GraphedFunction:
        """Return the function of a key; the one used longest ago is dropped where there are too many."""
        function = self._functions.pop(key, None) or make()
        self._functions[key] = function
        while len(self._functions) > self._max_graphs:
            self._functions.popitem(last=False)
        return function

    def clear(self) -> None:
        """Drop all functions and the memory of their graphs."""
        self._functions.clear()
        self._pool = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def capture(self, name: str, record: Callable[[_Recorder], None]) -> bool:
        """Capture what `record` asks for, and return whether that succeeded."""
        started, before = time.perf_counter(), torch.cuda.memory_reserved(self._device)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        try:
            with _on_stream(self._stream), _without_garbage_collection():
                record(_Recorder(self._pool))
        except torch.OutOfMemoryError:
            self.clear()  # the memory of graphs is better used by what runs without one
            return False
        except Exception as error:  # noqa: BLE001 - whatever cannot be captured can run as usual
            self._num_failures += 1
            self.is_enabled = self._num_failures < _MAX_FAILURES
            if self._num_failures == 1:
                warnings.warn(
                    f"{name} runs without a CUDA graph, which is slower: its capture failed ({error}).",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return False
        torch.cuda.empty_cache()  # of the warm-ups
        num_bytes = torch.cuda.memory_reserved(self._device) - before
        self.captures.append(Capture(name, time.perf_counter() - started, num_bytes))
        _log.debug("captured %s in %.2f s", name, self.captures[-1].seconds)
        return True


class _Recorder:
    """Records what is called as a graph."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - torch's own
        self._pool = pool

    def __call__(self, call: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
        """Return the graph of a call, and what the call returned."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            result = call()
        finally:
            graph.capture_end()
        return graph, result


class GraphedFunction:
    """A function of tensors of fixed shapes, differentiable in the inputs that need a gradient.

    Attributes:
        name: in messages.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], cache: GraphCache, name: str, *, num_eager_calls: int = 1
    ) -> None:
        """Hold the function.

        Args:
            function: reads nothing but its inputs and tensors that stay where they are. It never waits for the
                device.
            cache: captures it.
            name: in messages.
            num_eager_calls: before it is captured.
        """
        self.name = name
        self._function, self._cache, self._num_eager_left = function, cache, num_eager_calls
        self._captured: _Captured | None = None
        self._has_failed = False

    def capture(self, *inputs: Tensor) -> None:
        """Capture the function now, if it is not captured and the cache captures; this runs it on copies of inputs."""
        if self._captured is None and self._cache.is_enabled and not self._has_failed:
            self._captured = _Captured.make(self._function, self._cache, self.name, inputs)
            self._has_failed = self._captured is None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns, in new tensors."""
        if self._num_eager_left <= 0:
            self.capture(*inputs)
        self._num_eager_left -= 1
        if self._captured is None:
            return self._function(*inputs)
        return self._captured(*inputs)


class _Captured:
    """A captured function: its inputs and outputs lie in memory that stays where it is."""

    def __init__(self, inputs: Sequence[Tensor], *, is_differentiable: bool) -> None:
        self._inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in inputs]
        self._is_differentiable = is_differentiable
        self._outputs: tuple[Tensor, ...] = ()
        self._upstream: list[Tensor | None] = []
        self._gradients: Sequence[Tensor | None] = ()
        self._forward: torch.cuda.CUDAGraph | None = None
        self._backward: torch.cuda.CUDAGraph | None = None
        self._version = 0

    @classmethod
    def make(
        cls, function: Callable[..., tuple[Tensor, ...]], cache: GraphCache, name: str, inputs: Sequence[Tensor]
    ) -> _Captured | None:
        """Return the captured function, or None where the capture failed."""
        is_differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        captured = cls(inputs, is_differentiable=is_differentiable)
        num_warm_ups = _NUM_WARM_UPS if len(cache.captures) < _NUM_FIRST else 1

        def capture(record: _Recorder) -> None:
            captured._record(function, record, num_warm_ups)

        return captured if cache.capture(name, capture) else None

    def _record(self, function: Callable[..., tuple[Tensor, ...]], record: _Recorder, num_warm_ups: int) -> None:
        for _ in range(num_warm_ups):
            outputs = function(*self._inputs)
            if self._is_differentiable:
                self._differentiate(outputs, [torch.zeros_like(x) if x.requires_grad else None for x in outputs])
        del outputs
        self._forward, self._outputs = record(lambda: function(*self._inputs))
        if self._is_differentiable:
            self._upstream = [torch.zeros_like(x) if x.requires_grad else None for x in self._outputs]
            self._backward, self._gradients = record(lambda: self._differentiate(self._outputs, self._upstream))

    def _differentiate(self, outputs: Sequence[Tensor], upstream: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Return the gradient in each input that needs one."""
        pairs = [(x, up) for x, up in zip(outputs, upstream, strict=True) if up is not None]
        leaves = [x for x in self._inputs if x.requires_grad]
        # the graph is kept, so that no later capture takes the memory of what the backward pass reads
        gradients = torch.autograd.grad(
            [x for x, _ in pairs], leaves, [up for _, up in pairs], retain_graph=True, allow_unused=True
        )
        remaining = iter(gradients)
        return [next(remaining) if x.requires_grad else None for x in self._inputs]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._is_differentiable:
            outputs: tuple[Tensor, ...] = _Replay.apply(self, *inputs)  # type: ignore[no-untyped-call]
            return outputs
        self.replay(inputs)
        return tuple(x.clone() for x in self._outputs)

    def replay(self, inputs: Sequence[Tensor]) -> int:
        """Compute the outputs; return a number that a backward pass must give."""
        assert self._forward is not None
        for held, x in zip(self._inputs, inputs, strict=True):
            held.detach().copy_(x.detach())
        self._forward.replay()
        self._version += 1
        return self._version

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Of the last replay."""
        return self._outputs

    def replay_backward(
        self, version: int, inputs: Sequence[Tensor], upstream: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Return the gradient in each input."""
        assert self._backward is not None
        if version != self._version:  # other inputs have been read since
            self.replay(inputs)
        for held, up in zip(self._upstream, upstream, strict=True):
            if held is not None:
                held.zero_() if up is None else held.copy_(up)
        self._backward.replay()
        return [None if g is None else g.clone() for g in self._gradients]


class _Replay(torch.autograd.Function):
    """A captured function in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, captured: _Captured, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's own
        ctx.captured, ctx.version = captured, captured.replay(inputs)
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        outputs = tuple(x.detach().clone() for x in captured.outputs)
        ctx.mark_non_differentiable(
            *(copy for copy, x in zip(outputs, captured.outputs, strict=True) if not x.requires_grad)
        )
        return outputs

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's own
        return (None, *ctx.captured.replay_backward(ctx.version, ctx.saved_tensors, upstream))


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
