"""The loop: chains step until a limit, and where memory is short, fewer of them. Keeps no best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

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
    meter: BudgetTracker,
    watch: Callable[[Chains], RequestSteps[None]],
    share: float = 1.0,
) -> RequestSteps[None]:
    """Step chains from the first of the starts until a limit, `watch` after every evaluation.

    The meter counts, and says in the end what the limit was; `share` is the part of its seconds that may be
    over then. Where memory is short, half of the chains go on.
    """
    starts = starts[: search_config.chains.num_chains]
    limit = search_config.chains.max_steps if meter.budget.max_steps is None else meter.budget.max_steps
    begun = meter.steps
    meter.stop_reason = meter.over(share) or ("steps" if starts else "empty")
    if meter.stop_reason != "steps" or limit == 0:
        return
    meter.count(starts)
    try:
        make = partial(Chains, energy, prompt, langevin, search_config, generators=generators)
        chains = yield from _begun(make, starts, meter)
        while len(chains):
            yield from watch(chains)
            meter.stop_reason = meter.over(share) or "steps"
            if meter.steps - begun >= limit or meter.stop_reason != "steps":
                return
            meter.steps += 1
            meter.count(chains.answers())
            try:
                yield from chains.step()
            except OutOfMemoryError:
                if len(chains) == 1:
                    raise
                chains.halve()
                meter.short = True
        meter.stop_reason = "not_finite" if chains.broken else "converged"
    except OutOfMemoryError:
        meter.short = True


def _begun(
    make: Callable[..., Chains], starts: Sequence[Sequence[int]], meter: BudgetTracker
) -> RequestSteps[Chains]:
    """Chains from as many of the starts, the first ones, as memory holds."""
    while True:
        chains = make(starts=starts)
        try:
            yield from chains.begin()
        except OutOfMemoryError:
            if len(starts) == 1:
                raise
            starts, meter.short = starts[: len(starts) // 2], True
        else:
            return chains
