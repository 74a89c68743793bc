"""Functions of tensors of fixed shape that a GPU replays as one graph, instead of launching kernel after kernel.

A function is captured when it has been called often enough, and runs as usual before that, on a CPU, and where a
capture fails. All graphs share one pool of memory; the ones not used for the longest time are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.graph_cache import GraphCache, Recorder

__all__ = ["GraphedFunction"]

_NUM_WARM_UPS = 2  # before the first captures: libraries allocate their workspaces in the first calls
_NUM_FIRST = 8  # captures, after which one call is enough


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

    def capture(self, *inputs: Tensor) -> None:
        """Capture the function now, if it is not captured and the cache captures; this runs it on copies of inputs."""
        if self._captured is None and self._cache.may_capture(self.name):
            self._captured = _Captured.make(self._function, self._cache, self.name, inputs)

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

        def capture(record: Recorder) -> None:
            captured._record(function, record, num_warm_ups)

        return captured if cache.capture(name, capture) else None

    def _record(self, function: Callable[..., tuple[Tensor, ...]], record: Recorder, num_warm_ups: int) -> None:
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
