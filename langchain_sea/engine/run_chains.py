"""The loop: chains step until a limit, and where memory is short, fewer of them. Keeps no best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from langchain_sea.budget import StopReason
from langchain_sea.engine.chains import Chains
from langchain_sea.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin

__all__ = ["run_chains"]


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
    share: float = 1.0,
) -> RequestSteps[None]:
    """Step chains from the first of the starts until a limit, `watch` after every evaluation.

    The tracker counts, and says in the end what the limit was; `share` is the part of its seconds that may be
    over then. Where memory is short, half of the chains go on.
    """
    starts = starts[: search_config.chains.num_chains]
    limit = search_config.chains.max_steps if tracker.budget.max_steps is None else tracker.budget.max_steps
    begun = tracker.steps
    tracker.stop_reason = tracker.exhausted_limit(share) or (StopReason.STEPS if starts else StopReason.EMPTY)
    if tracker.stop_reason != StopReason.STEPS or limit == 0:
        return
    tracker.count_evaluations(starts)
    try:
        make = partial(Chains, energy, prompt, langevin, search_config, generators=generators)
        chains = yield from _begun(make, starts, tracker)
        while len(chains):
            yield from watch(chains)
            tracker.stop_reason = tracker.exhausted_limit(share) or StopReason.STEPS
            if tracker.steps - begun >= limit or tracker.stop_reason != StopReason.STEPS:
                return
            tracker.steps += 1
            tracker.count_evaluations(chains.answers())
            try:
                yield from chains.step()
            except OutOfMemoryError:
                if len(chains) == 1:
                    raise
                chains.halve()
                tracker.is_out_of_memory = True
        tracker.stop_reason = StopReason.NOT_FINITE if chains.broken else StopReason.CONVERGED
    except OutOfMemoryError:
        tracker.is_out_of_memory = True


def _begun(
    make: Callable[..., Chains], starts: Sequence[Sequence[int]], tracker: BudgetTracker
) -> RequestSteps[Chains]:
    """Chains from as many of the starts, the first ones, as memory holds."""
    while True:
        chains = make(starts=starts)
        try:
            yield from chains.begin()
        except OutOfMemoryError:
            if len(starts) == 1:
                raise
            starts, tracker.is_out_of_memory = starts[: len(starts) // 2], True
        else:
            return chains
