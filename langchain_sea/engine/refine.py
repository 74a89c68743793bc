"""The engine in one function: refine the answers to prompts. What one prompt goes through is in `refinement.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.engine.arguments import require_arguments
from langchain_sea.engine.engines import get_engine
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.presets import find_preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.presets import Preset, SearchConfig
    from langchain_sea.sampling.langevin import Langevin


def refine(
    prompts: Sequence[Prompt],
    *,
    energy: Energy,
    preset: str | Preset = "default",
    seed: int = 0,
    drafts: Sequence[Sequence[Answer]] | None = None,
    budget: Budget | None = None,
    max_new_tokens: int = 64,
    stop: Sequence[str] = (),
    langevin: Langevin | None = None,
    search_config: SearchConfig | None = None,
    generators: Sequence[Sequence[torch.Generator]] | None = None,
) -> list[Refinement]:
    """Refine the answer to every prompt. No answer is worse than its draft by the energy's own score.

    The prompts share their forward passes; each has its own clock. An answer does not depend on what else is refined.

    Args:
        prompts: from `policy.prompt(messages)`.
        energy: what is minimised; see `make_energy`.
        preset: the method, by name or as a `Preset`.
        seed: decides all random numbers, together with the prompt's own ids.
        drafts: for each prompt the ids of answers that were written elsewhere, the draft first. None, or an
            empty list for a prompt: the policy writes the draft.
        budget: limits of time, steps and evaluations; None takes the default ones.
        max_new_tokens: the length of the longest answer, in the policy's tokens.
        stop: an answer ends before the first of these strings.
        langevin: replaces the preset's sampler.
        search_config: replaces the preset's search settings.
        generators: replace those made from the seed: for each prompt at least `num_chains`.

    Raises:
        RefinementInterrupted: Ctrl-C was pressed; it holds the best answers so far.
        TypeError: an argument has another type.
    """
    require_arguments(prompts, energy, budget, drafts)
    chosen, limits = find_preset(preset), budget or Budget()
    config = search_config or chosen.search_config
    if generators is None:
        count = max(config.chains.num_chains, config.drafts.num_drafts)
        generators = [generators_for(seed, prompt.key, count, energy.policy.device) for prompt in prompts]
    if drafts is None:
        drafts = [[] for _ in prompts]
    requests = [
        RefinementRequest(
            prompt,
            list(answers),
            energy,
            langevin or chosen.langevin,
            config,
            own_generators,
            BudgetTracker(limits, max_new_tokens),
            tuple(stop),
        )
        for prompt, answers, own_generators in zip(prompts, drafts, generators, strict=True)
    ]
    return get_engine(energy.policy).refine(requests)
