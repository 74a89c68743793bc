"""The package in one function: prompts and drafts to refinements. What each goes through is in `run.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.engine.request import Request
from langchain_sea.engine.scheduler import Scheduler, Seat
from langchain_sea.errors import RefinementInterrupted
from langchain_sea.presets import SearchConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.sampling.langevin import Langevin


def refine(
    prompts: Sequence[Prompt],
    drafts: Sequence[Sequence[Answer]],
    *,
    energy: Energy,
    langevin: Langevin,
    budget: Budget,
    generators: Sequence[Sequence[torch.Generator]],
    search_config: SearchConfig | None = None,
    stop: Sequence[str] = (),
) -> list[Refinement]:
    """Refine every prompt's draft, side by side under one clock.

    `drafts` holds for each prompt the ids of answers already written, the draft first; where it holds none,
    the policy drafts. `generators` holds for each at least `search_config.chains.num_chains`. Prompts share their forwards, and
    an answer does not depend on what else is refined. No refinement is worse than its draft by the energy's
    own score. An answer ends before the first of the `stop` strings.

    Raises:
        RefinementInterrupted: at Ctrl-C, with the best answers so far.
    """
    problem = (energy, langevin, search_config or SearchConfig())
    runs = [
        Request(prompt, list(given), *problem, rngs, BudgetTracker(budget), tuple(stop))
        for prompt, given, rngs in zip(prompts, drafts, generators, strict=True)
    ]
    rounds = Scheduler()
    try:
        for run in runs:
            rounds.join(Seat(run.task(), run.ended))
        while rounds.seats:
            rounds.round()
    except KeyboardInterrupt:
        for run in runs:
            run.interrupt()
        raise RefinementInterrupted([run.result() for run in runs]) from None
    return [run.result() for run in runs]
