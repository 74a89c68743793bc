"""The chains of one prompt: from drafts to steps until a limit. Knows no text and keeps no best answer.

Shapes: C chains, T positions, K candidates, V vocabulary.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from langchain_sea.budget import StopReason
from langchain_sea.core.protocols import Tokens
from langchain_sea.engine.chain_evaluator import ChainEvaluator
from langchain_sea.engine.chain_state import ChainState, trace_step
from langchain_sea.errors import OutOfMemoryError
from langchain_sea.sampling import langevin as kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin

__all__ = ["Chains", "run_chains"]


class Chains:
    """The running chains of one prompt. Chains that end are dropped from the state.

    Attributes:
        state: the chains that run; set by `begin`.
        seconds: that the last evaluation took.
        has_diverged: whether a chain ended because its energy or gradient was not finite.
    """

    state: ChainState

    def __init__(
        self,
        energy: Energy,
        prompt: Prompt,
        langevin: Langevin,
        search_config: SearchConfig,
        *,
        starts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
    ) -> None:
        """Hold the parts; call `begin` next.

        Args:
            energy: what is minimised.
            prompt: the prompt.
            langevin: how the chains move.
            search_config: how they start and when they end.
            starts: C non-empty lists of ids.
            generators: at least one for each chain.
        """
        config = search_config.chains
        if config.refresh_every is not None and langevin.kernel == "mala":
            raise ValueError(
                f"refresh_every={config.refresh_every} changes the candidates, but mala needs a fixed set of "
                "them: leave it None."
            )
        self.evaluator, self.langevin, self.config = ChainEvaluator(energy, prompt, config), langevin, config
        self.starts, self.generators = starts, tuple(generators)[: len(starts)]
        self.seconds = 0.0
        self.has_diverged = False

    def __len__(self) -> int:
        """Return the number of chains that run."""
        return len(self.state.numbers)

    def begin(self) -> RequestSteps[None]:
        """Read the starts, choose the candidates and evaluate the energy once."""
        started = time.monotonic()
        tokens = Tokens.from_ids(self.starts, self.evaluator.energy.policy.device)
        space, logits = yield from self.evaluator.choose_candidates(tokens.ids, tokens.mask)
        proposal = kernels.propose_initial(logits, self.langevin, self.generators)
        result = yield from self.evaluator.evaluate(space, proposal.point, None)
        self.state = ChainState(
            numbers=tuple(range(len(self.starts))),
            generators=self.generators,
            space=space,
            sampler=kernels.with_energy(proposal, result.terms.energy, result.gradient),
            terms=result.terms,
            ids=self.evaluator.decode(space, proposal.point, result.policy_logits),
            steps_unchanged=torch.zeros(len(self.starts), dtype=torch.long, device=logits.device),
            cached_grad=result.cached_grad,
        )
        is_finite = kernels.is_finite(result.terms.energy, result.gradient)
        self._drop_ended(is_finite, is_finite)
        self.seconds = time.monotonic() - started

    def step(self) -> RequestSteps[None]:
        """Move every chain once. Drop those that are not finite, or unchanged for `patience` steps."""
        started = time.monotonic()
        every, number = self.config.refresh_every, self.state.sampler.step
        if every is not None and number and number % every == 0:
            self.state = yield from self.evaluator.refresh_candidates(self.state)
        old, is_mala = self.state, self.langevin.kernel == "mala"
        proposal = kernels.propose(old.sampler, self.langevin, old.generators)
        result = yield from self.evaluator.evaluate(old.space, proposal.point, old.cached_grad)
        sampler, info = kernels.accept(
            old.sampler,
            proposal,
            result.terms.energy,
            result.gradient,
            langevin=self.langevin,
            generators=old.generators,
        )
        terms = result.terms
        if is_mala:  # the evaluation was of proposals, and a rejected chain stays where it was
            terms = terms.map(partial(kernels.where, info.is_accepted), old.terms)
        ids = self.evaluator.decode(old.space, sampler.position + sampler.offset, result.policy_logits)
        steps_unchanged, is_moving = self._count_unchanged(old, ids)
        self.state = old._replace(
            sampler=sampler, terms=terms, ids=ids, steps_unchanged=steps_unchanged, cached_grad=result.cached_grad
        )
        is_finite = info.is_finite | is_mala  # mala rejects a proposal that is not finite
        self._drop_ended(is_finite & is_moving, is_finite)
        self.seconds = time.monotonic() - started

    def halve(self) -> None:
        """Go on with the first half of the chains, because memory is short."""
        self.state = self.state.select(torch.arange(max(1, len(self) // 2), device=self.state.ids.device))

    def trace(self, gaps: Sequence[float | None]) -> TraceStep:
        """Return the record of the last evaluation; see `trace_step`."""
        return trace_step(self.state, gaps, self.seconds)

    def _count_unchanged(self, old: ChainState, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return each chain's steps without a changed token, and whether it may go on, (C,) each."""
        is_changed, patience = (ids != old.ids).any(1), self.config.patience
        if patience is None:
            return old.steps_unchanged, torch.ones_like(is_changed)
        steps_unchanged = (old.steps_unchanged + 1).masked_fill(is_changed, 0)
        return steps_unchanged, steps_unchanged < patience

    def _drop_ended(self, is_running: Tensor, is_finite: Tensor) -> None:
        """Keep the chains that are running, (C,) bool."""
        if not bool(is_running.all()):
            self.has_diverged = self.has_diverged or not bool(is_finite.all())
            self.state = self.state.select(is_running.nonzero().flatten())


def run_chains(
    energy: Energy,
    prompt: Prompt,
    langevin: Langevin,
    search_config: SearchConfig,
    *,
    starts: Sequence[Sequence[int]],
    generators: Sequence[torch.Generator],
    tracker: BudgetTracker,
    watch: Callable[[Chains], RequestSteps[None]],
    fraction: float = 1.0,
) -> RequestSteps[None]:
    """Move chains from the first of the starts until a limit, or until all have ended.

    If memory is short, half of the chains go on, at the least one.

    Args:
        energy: what is minimised.
        prompt: the prompt.
        langevin: how the chains move.
        search_config: how many chains there are, how they start and when they end.
        starts: lists of ids; the best ones first.
        generators: at least one for each chain.
        tracker: counts evaluations, and is told why the chains ended.
        watch: called after every evaluation.
        fraction: part of the budget's time after which no step begins.
    """
    starts = starts[: search_config.chains.num_chains]
    limit = search_config.chains.max_steps if tracker.budget.max_steps is None else tracker.budget.max_steps
    last_step = tracker.steps + limit
    tracker.stop_reason = tracker.exhausted_limit(fraction) or (StopReason.STEPS if starts else StopReason.EMPTY)
    if tracker.stop_reason != StopReason.STEPS or limit == 0:
        return
    tracker.count_evaluations(starts)
    make_chains = partial(Chains, energy, prompt, langevin, search_config, generators=generators)
    try:
        chains = yield from _begin_in_memory(make_chains, starts, tracker)
        while len(chains):
            yield from watch(chains)
            tracker.stop_reason = tracker.exhausted_limit(fraction) or StopReason.STEPS
            if tracker.steps >= last_step or tracker.stop_reason != StopReason.STEPS:
                return
            tracker.steps += 1
            tracker.count_evaluations(chains.state.answers())
            yield from _step_in_memory(chains, tracker)
        tracker.stop_reason = StopReason.NOT_FINITE if chains.has_diverged else StopReason.CONVERGED
    except OutOfMemoryError:
        tracker.is_out_of_memory = True


def _begin_in_memory(
    make_chains: Callable[..., Chains], starts: Sequence[Sequence[int]], tracker: BudgetTracker
) -> RequestSteps[Chains]:
    """Return chains from as many of the starts, the first ones, as memory holds."""
    while True:
        chains = make_chains(starts=starts)
        try:
            yield from chains.begin()
        except OutOfMemoryError:
            if len(starts) == 1:
                raise
            starts, tracker.is_out_of_memory = starts[: len(starts) // 2], True
        else:
            return chains


def _step_in_memory(chains: Chains, tracker: BudgetTracker) -> RequestSteps[None]:
    """Step the chains; if memory does not hold them, drop half of them instead."""
    try:
        yield from chains.step()
    except OutOfMemoryError:
        if len(chains) == 1:
            raise
        chains.halve()
        tracker.is_out_of_memory = True
