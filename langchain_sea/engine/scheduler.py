"""Requests side by side: each step computes one op of every request, in as few forward passes as memory allows.

Requests can be added and cancelled between steps. If a group fails it is split until the failing request is
alone, and only that request gets the error. Knows no text and no reward.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.timeouts import LateError, run_in_daemon_thread
from langchain_sea.engine.batching import DeferredReward, compute_forward, compute_gradients, compute_latent_gradients
from langchain_sea.engine.latent_gradient import LatentGradientOp
from langchain_sea.engine.memory import SizeLimit, capture_error
from langchain_sea.engine.ops import GenerateOp, GradientOp, R, ScorePrefixesOp, ScoreTextsOp
from langchain_sea.engine.request import PendingReward, Request
from langchain_sea.engine.speed_model import get_speed
from langchain_sea.errors import OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.budget import StopReason
    from langchain_sea.core.protocols import Policy
    from langchain_sea.engine.ops import Op, RequestSteps

__all__ = ["Scheduler", "run_to_completion"]


class Scheduler:
    """All requests in progress.

    Attributes:
        requests: in the order in which they came.
        has_news: set by another thread to end the wait of `step`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without requests.

        Args:
            clock: returns seconds that never decrease, by which passes are measured.
        """
        self.requests: list[Request[Any]] = []
        self.has_news = threading.Event()
        self._clock = clock
        self._limits: dict[type, SizeLimit] = defaultdict(SizeLimit)  # on the requests that are computed together

    def add_requests(self, requests: Sequence[Request[Any]]) -> None:
        """Start requests: run each to its first op, when it is known how many there are."""
        self.requests += requests
        for policy in {request.policy for request in requests if request.policy is not None}:
            get_speed(policy).num_requests = len(self.requests)
        for request in requests:
            self._resume(request, None)

    def cancel_request(self, request: Request[Any], reason: StopReason) -> None:
        """End a request with its result so far."""
        request.cancel(reason)
        self._remove_if_finished(request)

    def fail_requests(self, error: Exception) -> None:
        """End all requests with an error."""
        while self.requests:
            self.requests.pop().fail(error)

    def step(self, *, max_wait: float = math.inf) -> None:
        """Compute the current op of every request.

        Args:
            max_wait: seconds to wait where all requests wait for rewards that are plain functions.
        """
        by_kind: dict[type, list[Request[Any]]] = defaultdict(list)
        for request in self.requests:
            if request.pending is None:
                by_kind[type(request.op)].append(request)
        for kind, requests in by_kind.items():
            compute = {
                GradientOp: self._compute_gradients,
                LatentGradientOp: self._compute_latent_gradients,
                GenerateOp: self._generate,
            }.get(kind, self._compute_forward)
            self._compute_in_groups(self._limits[kind], requests, compute)
        if not by_kind and self.requests:
            self._wait_for_rewards(max_wait)
        self._collect_rewards()

    def _compute_in_groups(
        self, limit: SizeLimit, requests: list[Request[Any]], compute: Callable[[list[Request[Any]]], None]
    ) -> None:
        """Compute as many together as memory allows."""
        while requests:
            group, requests = requests[: limit.size], requests[limit.size :]
            ops = [request.op for request in group]
            error = capture_error(partial(compute, group))
            if error is None:
                limit.count_success(len(group))
                continue
            unanswered = [
                request for request, op in zip(group, ops, strict=True) if request.op is op and request.pending is None
            ]
            if len(group) == 1:
                for request in unanswered:
                    self._resume(request, error)
            elif isinstance(error, OutOfMemoryError):
                limit.count_failure(len(group))
                requests = unanswered + requests
            else:
                for request in unanswered:  # alone, to find the one that fails
                    self._compute_in_groups(limit, [request], compute)

    def _compute_forward(self, requests: list[Request[Any]]) -> None:
        """Compute ops that need no gradient; rewards that are plain functions go on in a thread of their own."""
        started = self._clock()
        results = compute_forward(requests)
        _record_forward([request.op for request in requests], self._clock, started)
        for request, result in zip(requests, results, strict=True):
            if not isinstance(result, DeferredReward):
                self._resume(request, result)
                continue
            started = self._clock()
            future = run_in_daemon_thread(result.call, context=request.context.copy(), on_done=self.has_news.set)
            request.pending = PendingReward(future, started, result.seconds)

    def _compute_gradients(self, requests: list[Request[Any]]) -> None:
        for request, result in zip(requests, compute_gradients(requests), strict=True):
            self._resume(request, result)

    def _compute_latent_gradients(self, requests: list[Request[Any]]) -> None:
        started = self._clock()
        results = compute_latent_gradients(requests)
        ops = [request.op for request in requests if isinstance(request.op, LatentGradientOp)]
        tokens = sum(len(ids) for op in ops for ids in op.answers)
        get_speed(ops[0].policy).record_gradient(tokens, _seconds_since(self._clock, started, ops[0].policy))
        for request, result in zip(requests, results, strict=True):
            self._resume(request, result)

    def _generate(self, requests: list[Request[Any]]) -> None:
        """Generate one token for every unfinished answer: one forward pass for each policy."""
        by_policy: dict[int, tuple[Policy, list[Request[Any]]]] = {}
        for request in requests:
            op = request.op
            assert isinstance(op, GenerateOp)
            if request.generations is None:
                request.generations = op.start()
            num_unfinished = _num_unfinished(request)
            if num_unfinished and op.should_continue(num_unfinished):
                by_policy.setdefault(id(op.policy), (op.policy, []))[1].append(request)
            else:
                self._finish_generation(request)
        for policy, group in by_policy.values():
            started, rows = self._clock(), sum(map(_num_unfinished, group))
            policy.generate_step([state for request in group for state in request.generations or ()])
            speed = get_speed(policy)
            speed.num_requests = len(self.requests)
            speed.record_decode(rows, self._clock() - started)
            for request in group:
                if not _num_unfinished(request):
                    self._finish_generation(request)

    def _finish_generation(self, request: Request[Any]) -> None:
        self._resume(request, [state.written for state in request.generations or ()])

    def _wait_for_rewards(self, max_wait: float) -> None:
        """Wait until a function returns, a deadline is over, or another thread has news."""
        deadline = min(request.pending.deadline for request in self.requests if request.pending)
        seconds = min(max_wait, deadline - self._clock(), threading.TIMEOUT_MAX)
        self.has_news.wait(max(0.0, seconds))
        self.has_news.clear()

    def _collect_rewards(self) -> None:
        """Resume the requests whose functions have returned or are too late."""
        for request in [request for request in self.requests if request.pending]:
            assert request.pending is not None
            pending, now = request.pending, self._clock()
            if pending.future.done():
                if isinstance(request.op, ScoreTextsOp):
                    request.op.function_seconds = now - pending.started
                self._resume(request, pending.future.result())
            elif now >= pending.deadline:
                self._resume(request, _late_error(now - pending.started))

    def _resume(self, request: Request[Any], result: object) -> None:
        try:
            request.resume(result)
        finally:
            self._remove_if_finished(request)

    def _remove_if_finished(self, request: Request[Any]) -> None:
        if request.future.done() and request in self.requests:
            self.requests.remove(request)


@dataclass(eq=False)
class _Steps(Request[R]):
    """Steps that nobody cancels."""

    generator: RequestSteps[R]

    def steps(self) -> RequestSteps[R]:
        return self.generator

    def partial_result(self, reason: StopReason) -> R:
        raise RuntimeError(f"these steps have no result yet; they were cancelled: {reason}.")


def run_to_completion(steps: RequestSteps[R]) -> R:
    """Run steps by themselves, in this thread, and return their result."""
    scheduler, request = Scheduler(), _Steps(steps)
    scheduler.add_requests([request])
    while scheduler.requests:
        scheduler.step()
    return request.future.result()


def _record_forward(ops: Sequence[Op | None], clock: Callable[[], float], started: float) -> None:
    """Note the seconds of reading and scoring answers, if that is all that was done."""
    scored = [op for op in ops if isinstance(op, (ScorePrefixesOp, ScoreTextsOp))]
    if len(scored) == len(ops):
        policy = scored[0].energy.policy
        tokens = sum(
            int(op.batch.tokens.mask.sum()) - len(op.batch.tokens.mask) * len(op.prompt.answer) for op in scored
        )
        get_speed(policy).record_forward(tokens, _seconds_since(clock, started, policy))


def _seconds_since(clock: Callable[[], float], started: float, policy: Policy) -> float:
    """Return the seconds until the device has done what it was asked for; the results are read next anyhow."""
    if policy.device.type == "cuda":
        torch.cuda.synchronize(policy.device)
    return clock() - started


def _late_error(seconds: float) -> RewardUnavailableError:
    error = RewardUnavailableError(
        f"a reward was still running after {seconds:.3g} s, when the time limit was over; make it faster, or raise "
        "max_time."
    )
    error.__cause__ = LateError()
    return error


def _num_unfinished(request: Request[Any]) -> int:
    states = request.generations or ()
    if states and isinstance(request.op, GenerateOp) and request.op.ends_with_first and not states[0].num_unfinished:
        return 0
    return sum(state.num_unfinished for state in states)
