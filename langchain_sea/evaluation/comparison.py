"""Methods on the same prompts with the same wall-clock time; an interrupted run continues from its rows.

For every prompt the leading method answers first and sets the time; every other method gets as much, in the same
process, one after another.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from langchain_sea.budget import Budget
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
from langchain_sea.presets import PRESETS, Preset
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from langchain_sea.core.terms import RewardTerm
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.evaluation.cases import Case
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["CURVE", "LEAD", "METHODS", "SEARCHES", "Evaluation", "read_rows"]

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
FIXED: dict[str, Search] = {"draft": BestOfN(count=1, rows=1), "bo64": BestOfN(count=64)}
"""Methods of a fixed number of drafts, whatever time they take."""
CURVE = (0.125, 0.25, 0.5, 1.0)
"""Fractions of best-of-64's time; `default@0.5` gets half of it."""
METHODS = (LEAD, *FIXED, *SEARCHES, "paper", "reference", *(f"{LEAD}@{part}" for part in CURVE))

Key = tuple[str, str, str, str]
"""Set, tier, question and method: what identifies a row."""


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
    """

    policy: CausalLMPolicy
    terms: tuple[RewardTerm, ...]
    presets: Mapping[str, Preset] = field(default_factory=lambda: PRESETS)
    temperature: float = 0.8
    max_tokens: int = 40
    seed: int = 0

    def run(
        self, cases: Sequence[Case], methods: Sequence[str], rows: Path, *, minutes: float = 1e9
    ) -> list[dict[str, Any]]:
        """Return the rows of all cases and methods; those that the file holds already are not computed again.

        Args:
            cases: prompts.
            methods: of `METHODS`; the leading one is added.
            rows: a JSONL file, which is extended.
            minutes: after this time no answer is begun.
        """
        seconds: dict[Key, float] = {_key_of(row): row["seconds"] for row in read_rows(rows)}
        deadline = time.monotonic() + 60 * minutes
        ordered = [name for name in METHODS if name in {*methods, LEAD}]
        with tqdm(total=len(cases), desc="evaluating", unit="prompt", disable=None) as progress:
            for case in cases:
                for name in ordered:
                    if (*case.key, name) in seconds:
                        continue
                    if time.monotonic() > deadline:
                        return read_rows(rows)
                    row = self.answer(case, name, self._time_limit(name, case, seconds))
                    seconds[*case.key, name] = row["seconds"]
                    with rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                progress.update(1)
        return read_rows(rows)

    def answer(self, case: Case, name: str, seconds: float | None) -> dict[str, Any]:
        """Answer one case with one method within the seconds, and return the row."""
        start = time.monotonic()
        prompt = self._make_prompt(case)
        budget = Budget(max_time=seconds)
        method = FIXED.get(name) or SEARCHES.get(name)
        result = self._search(prompt, method, budget) if method else self._refine(prompt, name, budget)
        elapsed = time.monotonic() - start
        assert result.before is not None
        assert result.after is not None
        row: dict[str, Any] = {"method": name, "set": case.set, "tier": case.tier, "question": case.question}
        row |= {"text": f"{case.opening}{result.text}", "gold": case.gold, "seconds": elapsed}
        row |= {"nll": result.after.nll, "rewards": result.after.rewards, "score": result.after.score}
        row |= {"score_before": result.before.score, "steps": result.steps, "stop_reason": result.stop_reason}
        if name == "bo64":  # its first n drafts are best-of-n
            row["drafts"] = [[f"{case.opening}{c.text}", c.score, c.nll] for c in result.candidates]
        return row

    def _time_limit(self, name: str, case: Case, seconds: Mapping[Key, float]) -> float | None:
        """The leading method's time, a fraction of best-of-64's, or none."""
        if name == LEAD or name in FIXED:
            return None
        _, has_fraction, fraction = name.partition("@")
        return float(fraction) * seconds[*case.key, "bo64"] if has_fraction else seconds[*case.key, LEAD]

    def _make_prompt(self, case: Case) -> PolicyPrompt:
        prompt = self.policy.prompt(case.messages, room=self.max_tokens)
        if not case.opening:
            return prompt
        ids = [*prompt.ids, *self.policy.encode(case.opening)]
        return self.policy.prompt_from_ids(ids, case.messages, self.max_tokens)

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
        preset = self.presets[name.partition("@")[0]]
        drafts = replace(preset.search_config.drafts, temperature=self.temperature)
        return refine(
            [prompt],
            energy=registry.make_energy(self.policy, self.terms, preset=preset),
            preset=replace(preset, search_config=replace(preset.search_config, drafts=drafts)),
            seed=self.seed,
            budget=budget,
            max_new_tokens=self.max_tokens,
        )[0]


def _key_of(row: Mapping[str, Any]) -> Key:
    return row["set"], row["tier"], row["question"], row["method"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows written so far; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
