"""Methods side by side on the same prompts at the same wall-clock; a run cut off goes on.

For every prompt the leading method answers first and sets the seconds; every other gets as many, in the same
process, one after another. What judges is told apart from what was optimised: see `_eval_figures`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
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
    from langchain_sea.evaluation.datasets import Case
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["METHODS", "SEARCHES", "Evaluation", "read_rows"]

LEAD = "default"
SEARCHES: dict[str, Search] = {
    "best_of_n": BestOfN(),
    "prefix_search": PrefixSearch(),
    "prefix_search_24": PrefixSearch(rows=24, kept=6, continuations=1),
    "chunk_beam": ChunkBeam(),
    "args": RewardGuided(),
    "qalign": QAlign(),
    "random_edits": RandomEdits(),
}
FIXED: dict[str, Search] = {"draft": BestOfN(count=1, rows=1), "bo64": BestOfN(count=64)}
CURVE = (0.125, 0.25, 0.5, 1.0)  # of best-of-64's seconds
METHODS = (LEAD, *FIXED, *SEARCHES, "paper", "reference", *(f"{LEAD}@{part}" for part in CURVE))
"""`default@0.5` has half of best-of-64's seconds; `draft` and `bo64` take what they take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is evaluated.

    Attributes:
        policy: writes.
        terms: the rewards that steer.
        presets: by name; those of `METHODS` that are no search.
        temperature: of everybody's drafting.
        tokens: of the longest answer.
        seed: of all that is drawn.
    """

    policy: CausalLMPolicy
    terms: tuple[RewardTerm, ...]
    presets: Mapping[str, Preset]
    temperature: float = 0.8
    tokens: int = 40
    seed: int = 0

    def run(
        self, cases: Sequence[Case], methods: Sequence[str], rows: Path, *, minutes: float = 1e9
    ) -> list[dict[str, Any]]:
        """The rows of all cases and methods; those that `rows` holds already are not made again.

        Args:
            cases: prompts.
            methods: of `METHODS`; the leading one is added.
            rows: a JSONL file.
            minutes: after which no answer is begun.
        """
        names = ("set", "tier", "question", "method")
        taken = {tuple(row[n] for n in names): row["seconds"] for row in read_rows(rows)}
        until = time.monotonic() + 60 * minutes
        ordered = [name for name in METHODS if name in {*methods, LEAD}]
        with tqdm(total=len(cases), desc="evaluating", unit="prompt", disable=None) as progress:
            for case in cases:
                where = (case.set, case.tier, case.question)
                for name in ordered:
                    if (*where, name) in taken:
                        continue
                    if time.monotonic() > until:
                        return read_rows(rows)
                    row = self.answer(case, name, self._seconds(name, where, taken))
                    taken[(*where, name)] = row["seconds"]
                    with rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                progress.update(1)
        return read_rows(rows)

    def _seconds(
        self, name: str, where: tuple[Any, ...], taken: Mapping[tuple[Any, ...], float]
    ) -> float | None:
        """What a method may take: the leading one's time, or a part of best-of-64's."""
        if name == LEAD or name in FIXED:
            return None
        _, at, part = name.partition("@")
        return float(part) * taken[(*where, "bo64")] if at else taken[(*where, LEAD)]

    def answer(self, case: Case, name: str, seconds: float | None) -> dict[str, Any]:
        """One method's answer, as a row."""
        began = time.monotonic()
        prompt = self._prompt(case)
        budget = Budget(max_time=seconds)
        found = self._searched(prompt, name, budget) or self._refined(prompt, name, budget)
        took = time.monotonic() - began
        assert found.before is not None
        assert found.after is not None
        row: dict[str, Any] = {"method": name, "set": case.set, "tier": case.tier, "question": case.question}
        row |= {"text": f"{case.opening}{found.text}", "gold": case.gold, "seconds": took}
        row |= {"nll": found.after.nll, "rewards": found.after.rewards, "score": found.after.score}
        row |= {"score_before": found.before.score, "steps": found.steps, "stop_reason": found.stop_reason}
        if name == "bo64":  # the first n of them are best-of-n
            row["drafts"] = [
                [f"{case.opening}{c.text}", c.score, c.nll] for c in found.candidates
            ]  # fmt: skip
        return row

    def _prompt(self, case: Case) -> PolicyPrompt:
        prompt = self.policy.prompt(case.messages, room=self.tokens)
        if not case.opening:
            return prompt
        ids = [*prompt.ids, *self.policy.encode(case.opening)]
        return self.policy.prompt_from_ids(ids, case.messages, self.tokens)

    def _searched(self, prompt: PolicyPrompt, name: str, budget: Budget) -> Refinement | None:
        method = FIXED.get(name) or SEARCHES.get(name)
        if method is None:
            return None
        method = replace(method, temperature=self.temperature)  # type: ignore[type-var]
        # a search has no weight on fluency but what a refinement has, and no draft that it must resemble
        energy = registry.make_energy(self.policy, self.terms, preset=self.presets[LEAD])
        limits = {"budget": budget, "max_new_tokens": self.tokens}
        return search([prompt], method, energy=energy, seed=self.seed, **limits)[0]

    def _refined(self, prompt: PolicyPrompt, name: str, budget: Budget) -> Refinement:
        preset = self.presets[name.partition("@")[0]]
        drafts = replace(preset.search_config.drafts, temperature=self.temperature)
        return refine(
            [prompt],
            energy=registry.make_energy(self.policy, self.terms, preset=preset),
            preset=replace(preset, search_config=replace(preset.search_config, drafts=drafts)),
            seed=self.seed,
            budget=budget,
            max_new_tokens=self.tokens,
        )[0]


def with_presets(
    policy: CausalLMPolicy, terms: tuple[RewardTerm, ...], *, seed: int = 0, tokens: int = 40
) -> Evaluation:
    """An evaluation of the shipped presets."""
    return Evaluation(policy=policy, terms=terms, presets=PRESETS, seed=seed, tokens=tokens)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows written so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
