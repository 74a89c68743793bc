"""The ops of many requests computed together: one forward pass for each policy, and one backward pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from langchain_sea.engine.gradients import gradients, min_gradient_cosine
from langchain_sea.engine.memory import to_package_error
from langchain_sea.engine.ops import ScoreTextsOp
from langchain_sea.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.engine.latent_gradient import LatentGradient, LatentGradientOp
    from langchain_sea.engine.ops import ForwardPassOp, GradientOp, ValueAndGrad
    from langchain_sea.engine.request import Request

__all__ = ["DeferredReward", "compute_forward", "compute_gradients", "compute_latent_gradients"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeferredReward:
    """The rest of a `ScoreTextsOp` whose rewards are plain functions, which may be slow.

    Attributes:
        call: returns the op's result, or an exception; it sees the request's context if that is set by the caller.
        seconds: how long to wait for it.
    """

    call: Callable[[], Any]
    seconds: float


def compute_forward(requests: Sequence[Request[Any]]) -> list[Any]:
    """Return the result of each op without a gradient, an exception, or a `DeferredReward`.

    Raises:
        OutOfMemoryError: memory did not suffice; it may suffice for fewer requests.
    """
    ops: list[ForwardPassOp] = [request.op for request in requests]  # type: ignore[misc]
    _run_forward([batch for op in ops for batch in op.batches()])
    results: list[Any] = []
    for request, op in zip(requests, ops, strict=True):
        if isinstance(op, ScoreTextsOp) and op.energy.has_function_rewards:
            error = _result_or_error(op.compute_log_probs)
            results.append(error or DeferredReward(partial(_result_or_error, op.finish), op.seconds))
        else:
            results.append(request.context.run(_result_or_error, op.finish))
    _raise_if_out_of_memory(results)
    return results


@torch.enable_grad()  # the caller may have switched gradients off
def compute_gradients(requests: Sequence[Request[Any]]) -> list[ValueAndGrad | Exception]:
    """Return the result of each `GradientOp`, or the exception that a reward raised.

    Raises:
        OutOfMemoryError: memory did not suffice; it may suffice for fewer requests.
    """
    ops: list[GradientOp] = [request.op for request in requests]  # type: ignore[misc]
    _run_forward([batch for op in ops for batch in op.batches()])
    terms_or_errors: list[EnergyTerms | Exception] = [
        request.context.run(_result_or_error, op.terms) for request, op in zip(requests, ops, strict=True)
    ]
    _raise_if_out_of_memory(terms_or_errors)
    pairs = [(op, terms) for op, terms in zip(ops, terms_or_errors, strict=True) if not isinstance(terms, Exception)]
    # a backward pass for each reward first, since the last one frees the graph
    cosines = iter(min_gradient_cosine(pairs))
    values = iter(gradients([(op.leaf, terms.energy) for op, terms in pairs]))
    results: list[ValueAndGrad | Exception] = []
    for op, terms in zip(ops, terms_or_errors, strict=True):
        if isinstance(terms, Exception):
            results.append(terms)
        else:
            all_terms = terms._replace(min_gradient_cosine=next(cosines))
            results.append(_result_or_error(partial(op.finish, all_terms, next(values))))
    return results


@torch.enable_grad()  # the caller may have switched gradients off
def compute_latent_gradients(requests: Sequence[Request[Any]]) -> list[LatentGradient]:
    """Return the result of each `LatentGradientOp`.

    Raises:
        OutOfMemoryError: memory did not suffice; it may suffice for fewer requests.
    """
    ops: list[LatentGradientOp] = [request.op for request in requests]  # type: ignore[misc]
    _run_forward([batch for op in ops for batch in op.batches()])
    values = gradients([(op.leaf, op.objective()) for op in ops])
    return [op.finish(value) for op, value in zip(ops, values, strict=True)]


def _run_forward(batches: Sequence[AnswerBatch]) -> None:
    """Set the outputs of the batches: one forward pass for each policy, and one for what needs no gradient."""
    groups: dict[tuple[int, bool], list[AnswerBatch]] = defaultdict(list)
    for batch in batches:
        if batch.output_spec and not batch.is_computed:
            groups[id(batch.policy), batch.needs_gradient].append(batch)
    for (_, needs_gradient), group in groups.items():
        with torch.set_grad_enabled(needs_gradient):
            outputs = group[0].policy.forward_all([batch.forward_request() for batch in group])
        for batch, output in zip(group, outputs, strict=True):
            batch.output = output


def _result_or_error(call: Callable[[], T]) -> T | Exception:
    """Return what `call` returns, or the exception that it raised, for `Request.resume`."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - it is raised again in the request's steps
        return to_package_error(error)


def _raise_if_out_of_memory(results: Sequence[object]) -> None:
    """Raise an error about memory, where fewer requests at a time may succeed."""
    for result in results:
        if len(results) > 1 and isinstance(result, OutOfMemoryError):
            raise result
