"""Methods on the same prompts with the same wall-clock time; an interrupted run continues from its rows.

For every prompt the leading method answers first and sets the time; every other method gets as much, in the same
process, one after another. A search gets the whole time of the leading method. A preset or a control writes a draft
first, which its budget does not count, and so gets the time without the draft's.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from langchain_sea.budget import Budget
from langchain_sea.core.suggestions import require_name
from langchain_sea.engine.baselines import (
    BestOfN,
    ChunkBeam,
    PrefixSearch,
    QAlign,
    RandomEdits,
    RewardGuided,
    Search,
    search,
)
from langchain_sea.engine.refine import refine
from langchain_sea.errors import OutOfMemoryError, PromptTooLongError, RewardUnavailableError
from langchain_sea.evaluation.rows import (
    Row,
    describe_preset,
    describe_term,
    drop_unfinished_row,
    read_rows,
    require_settings,
    select_rows,
)
from langchain_sea.presets import PRESETS, Preset
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_sea.core.terms import RewardTerm
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.evaluation.cases import Case
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["CONTROLS", "CURVE", "LEAD", "METHODS", "SEARCHES", "Evaluation", "make_control", "require_methods"]

_log = logging.getLogger("langchain_sea")

Update = Literal["gradient", "random", "aisp", "none"]
LEAD = "default"
"""The method that answers first and sets the time of the others."""
SEARCHES: dict[str, Search] = {
    "best_of_n": BestOfN(),
    "prefix_search": PrefixSearch(),
    "prefix_search_24": PrefixSearch(rows=24, num_kept=6, continuations=1),
    "chunk_beam": ChunkBeam(),
    "args": RewardGuided(),
    "qalign": QAlign(),
    "random_edits": RandomEdits(),
}
CONTROLS: dict[str, Update] = {"random_walk": "random", "aisp": "aisp", "axis_grid": "none"}
"""The leading preset with another update of its latents: what the gradient must beat. Random directions with steps of
the same length, weights in place of the gradient (AISP, arXiv 2510.26219), and latents that stay where they start."""
FIXED: dict[str, Search] = {"draft": BestOfN(count=1, rows=1), "bo64": BestOfN(count=64)}
"""Methods of a fixed number of drafts, whatever time they take."""
CURVE = (0.125, 0.25, 0.5, 1.0)
"""Fractions of best-of-64's time; `default@0.5` gets half of it."""
METHODS = (LEAD, *FIXED, *SEARCHES, *CONTROLS, "paper", "reference", *(f"{LEAD}@{part}" for part in CURVE))
_SHORTEST = 1e-3
"""Seconds of a preset whose time its draft has used up: a budget must be positive."""

Key = tuple[str, str, str, str | None, str, str]
"""The case's key and the method: what identifies a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A policy and rewards, on which methods are compared.

    Attributes:
        policy: writes all answers.
        terms: the rewards that steer.
        presets: by name, those that `METHODS` names.
        temperature: of the drafts of every method.
        max_tokens: the length of the longest answer.
        seed: decides all random numbers.
        max_time: seconds of refinement after the draft that the leading method gets; None: no limit.
    """

    policy: CausalLMPolicy
    terms: tuple[RewardTerm, ...]
    presets: Mapping[str, Preset] = field(default_factory=lambda: PRESETS)
    temperature: float = 0.8
    max_tokens: int = 40
    seed: int = 0
    max_time: float | None = 30.0

    def run(
        self,
        cases: Sequence[Case],
        methods: Sequence[str],
        rows: Path,
        *,
        minutes: float = 1e9,
        report: Callable[[str], None] | None = None,
    ) -> list[Row]:
        """Return the rows of all cases; those that the file holds already are not computed again.

        An answer that could not be scored is left out with a warning, and tried again by the next run. So is a question
        that is longer than the model's context.

        Args:
            cases: prompts.
            methods: of `METHODS`; the leading one is added, and `bo64` where a fraction of its time is asked for.
            rows: a JSONL file, which is extended.
            minutes: after this time no answer is begun.
            report: gets a line on each answer; without it a terminal is shown a bar.

        Raises:
            ValueError: there is no method of a name.
            FileError: the file has rows of these sets and tiers that were made with other settings.
        """
        require_methods(methods)
        drop_unfinished_row(rows)
        written = read_rows(rows)
        needed = {*methods, LEAD, *("bo64" for name in methods if "@" in name)}
        ordered = [name for name in METHODS if name in needed]
        settings = self.describe_settings(ordered)
        require_settings(rows, written, cases, settings)
        answered: dict[Key, Row] = {
            (row["set"], row["tier"], row["question"], row["system"], row["opening"], row["method"]): row
            for row in select_rows(written, cases)
        }
        deadline = time.monotonic() + 60 * minutes
        with tqdm(total=len(cases), desc="evaluating", unit="prompt", disable=True if report else None) as progress:
            for number, case in enumerate(cases, start=1):
                for name in ordered:
                    if (*case.key, name) in answered or ("@" in name and (*case.key, "bo64") not in answered):
                        continue
                    if time.monotonic() > deadline:
                        return list(answered.values())
                    row = self._answer_or_warn(case, name, self.time_limit(name, case, answered))
                    if row is None:
                        if name == LEAD:  # whose seconds the others get
                            break
                        continue
                    row |= {"system": case.system, "opening": case.opening, "settings": settings[name]}
                    answered[*case.key, name] = row
                    with rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    if report is not None:
                        report(f"question {number} of {len(cases)}, {name}: {row['seconds']:.1f} s")
                progress.update(1)
        return list(answered.values())

    def describe_settings(self, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return by method what decides its answers; rows hold it, so that a file takes those of one run alone."""
        shared = {name: getattr(self, name) for name in ("temperature", "max_tokens", "seed", "max_time")}
        shared["model"] = self.policy.name or self.policy.model.name_or_path
        shared["rewards"] = [describe_term(term) for term in self.terms]
        presets = {name: self.presets.get(name.partition("@")[0], self.presets[LEAD]) for name in methods}
        return {name: shared | {"preset": describe_preset(preset)} for name, preset in presets.items()}

    def _answer_or_warn(self, case: Case, name: str, seconds: float | None) -> Row | None:
        """Return the row of an answer; None, with a warning, if it could not be scored."""
        try:
            return self.answer(case, name, seconds)
        except (RewardUnavailableError, OutOfMemoryError, PromptTooLongError) as error:
            _log.warning("%s is left out for the question %.80r: %s", name, case.question, error)
            return None

    def answer(self, case: Case, name: str, seconds: float | None) -> Row:
        """Answer one case with one method, and return the row.

        Args:
            case: the question.
            name: of the method, one of `METHODS`.
            seconds: the budget's time; None: no limit.

        Raises:
            RewardUnavailableError: a reward failed.
            OutOfMemoryError: memory did not suffice.
            PromptTooLongError: the question leaves no room for an answer.
        """
        start = time.monotonic()
        prompt = self.make_prompt(case)
        budget = Budget(max_time=seconds)
        method = FIXED.get(name) or SEARCHES.get(name)
        result = self._search(prompt, method, budget) if method else self._refine(prompt, name, budget)
        if result.failure is not None:  # its answer is the draft, which would be reported as the method's own
            raise result.failure
        row = _make_row(case, name, result, time.monotonic() - start)
        if name == "bo64":  # distinct ones: the best of the first n is at least as good as best-of-n
            row["drafts"] = [[f"{case.opening}{c.text}", c.score, c.nll] for c in result.candidates]
        return row

    def time_limit(self, name: str, case: Case, answered: Mapping[Key, Row]) -> float | None:
        """Return the budget's seconds of a method: those of the leading method, a fraction of best-of-64's, or none.

        Args:
            name: of the method.
            case: the question.
            answered: the rows so far, of which those of the leading method and of best-of-64 decide.
        """
        if name == LEAD or name in FIXED:
            return self.max_time if name == LEAD else None
        lead = answered[*case.key, LEAD]
        _, has_fraction, fraction = name.partition("@")
        seconds: float = float(fraction) * answered[*case.key, "bo64"]["seconds"] if has_fraction else lead["seconds"]
        draft_seconds: float = lead["draft_seconds"]
        return seconds if name in SEARCHES else max(_SHORTEST, seconds - draft_seconds)

    def make_prompt(self, case: Case) -> PolicyPrompt:
        """Return the case as the policy reads it, with its opening."""
        prompt = self.policy.prompt(case.messages, room=self.max_tokens)
        return self.policy.open_answer(prompt, case.opening, self.max_tokens)

    def _search(self, prompt: PolicyPrompt, method: Search, budget: Budget) -> Refinement:
        # the energy of the leading preset: a search weighs fluency as a refinement does
        return search(
            [prompt],
            replace(method, temperature=self.temperature),  # type: ignore[type-var]
            energy=registry.make_energy(self.policy, self.terms, preset=self.presets[LEAD]),
            seed=self.seed,
            budget=budget,
            max_new_tokens=self.max_tokens,
        )[0]

    def _refine(self, prompt: PolicyPrompt, name: str, budget: Budget) -> Refinement:
        base = name.partition("@")[0]
        preset = make_control(base, self.presets[LEAD]) if base in CONTROLS else self.presets[base]
        drafts = replace(preset.search_config.drafts, temperature=self.temperature)
        return refine(
            [prompt],
            energy=registry.make_energy(self.policy, self.terms, preset=preset),
            preset=replace(preset, search_config=replace(preset.search_config, drafts=drafts)),
            seed=self.seed,
            budget=budget,
            max_new_tokens=self.max_tokens,
        )[0]


def make_control(name: str, lead: Preset) -> Preset:
    """Return the leading preset with the update of its latents that a control has.

    Args:
        name: one of `CONTROLS`.
        lead: the leading preset.

    Raises:
        ValueError: the preset has no latents.
    """
    config = lead.search_config
    if config.latent is None:
        raise ValueError(
            f"the control {name!r} changes how latents are updated, but the preset {lead.name!r} has none: "
            "pass a preset whose search_config.latent is set, or leave the controls out of the methods."
        )
    latent = replace(config.latent, update=CONTROLS[name])
    return replace(lead, name=name, search_config=replace(config, latent=latent))


def _make_row(case: Case, name: str, result: Refinement, seconds: float) -> Row:
    """Return what is saved of an answer."""
    assert result.before is not None
    assert result.after is not None
    plan = getattr(result, "plan", None)
    draws = [candidate.rewards for candidate in result.candidates]
    row: Row = {"method": name, "set": case.set, "tier": case.tier, "question": case.question}
    row |= {"text": f"{case.opening}{result.text}", "draft": f"{case.opening}{result.draft}", "gold": case.gold}
    row |= {"seconds": seconds, "draft_seconds": getattr(result, "draft_seconds", 0.0)}
    row |= {"nll": result.after.nll, "rewards": result.after.rewards, "score": result.after.score}
    row |= {"nll_before": result.before.nll, "score_before": result.before.score}
    row |= {"plan": None if plan is None else str(plan), "candidates": len(draws)}
    row["spread"] = {term: statistics.pstdev(draw[term] for draw in draws) for term in draws[0]} if draws else {}
    return row | {"steps": result.steps, "stop_reason": result.stop_reason}


def require_methods(names: Sequence[str]) -> None:
    """Check that every name is one of `METHODS`.

    Raises:
        ValueError: one is not; the message suggests the nearest one.
    """
    for name in names:
        require_name(name, METHODS, "method")
