"""Keep best: which text leaves, and the record of how it was found. Knows no sampler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from langchain_sea.budget import StopReason
from langchain_sea.core.trace import ScoredText, Trace
from langchain_sea.engine.memory import split_on_out_of_memory
from langchain_sea.engine.ops import ScoreTextsOp
from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.ops import RequestSteps

_POSITIONS = 4096  # texts' tokens scored in one forward: bounds its states
_GRACE = 2.0  # seconds that rewards called as functions may take when the budget's are over


class Refinement(NamedTuple):
    """The result for one prompt.

    `before` is the draft's, `after` the answer's; both are None where a reward failed. `text` is the draft
    unless `accepted`. `rejected` counts texts of a better score that were not accepted: their nats per token
    rose too far, a reward missed its `threshold`, or an audited one fell. `min_gradient_cosine` is the lowest cosine
    between two rewards' gradients that any step met. `candidates` are all texts that were scored, the draft
    first.
    """

    text: str
    ids: tuple[int, ...]
    draft: str
    before: ScoredText | None
    after: ScoredText | None
    accepted: bool
    steps: int
    seconds: float
    stop_reason: StopReason
    draft_tokens: int
    refine_tokens: int
    evaluations: int
    rejected: int = 0
    failure: Exception | None = None
    trace: Trace = Trace()
    candidates: tuple[ScoredText, ...] = ()

    @property
    def min_gradient_cosine(self) -> float | None:
        """As above; None where no step compared any."""
        return min((c for step in self.trace for c in step.min_gradient_cosine if c is not None), default=None)


class BestSoFar:
    """The best text so far of one prompt. The first text offered is the draft; it wins ties."""

    def __init__(self, energy: Energy, prompt: Prompt, tracker: BudgetTracker) -> None:
        """Start with nothing."""
        self.energy, self.prompt, self.tracker = energy, prompt, tracker
        self.draft: ScoredText | None = None
        self.best: ScoredText | None = None
        self.rejected = 0
        self.reward_hacked = False  # whether a text had the best score and an audited reward fell for it
        self._seen: dict[str, ScoredText] = {}

    def offer(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score texts not yet seen, and keep the best.

        Raises:
            RewardUnavailableError: a reward failed; what was best before stays.
        """
        fresh = [text for text in dict.fromkeys(texts) if text not in self._seen]
        for chunk in self._chunks(fresh):
            yield from split_on_out_of_memory(self._score, chunk, self.tracker)
        return [self._seen[text] for text in texts]

    def refinement(
        self, draft: str, *, failure: Exception | None = None, trace: Sequence[TraceStep] = ()
    ) -> Refinement:
        """What was found so far; `draft` stands where no text could be scored, and after a failure."""
        before, after = self.draft, self.draft if failure else self.best
        draft = before.text if before else draft
        text = after.text if after else draft
        candidates = tuple(self._seen.values())
        return Refinement(
            text=text,
            ids=tuple(self.energy.policy.encode(text)),
            draft=draft,
            before=before,
            after=after,
            accepted=text != draft,
            steps=self.tracker.steps,
            seconds=round(self.tracker.seconds, 4),
            stop_reason=StopReason.OUT_OF_MEMORY if self.tracker.is_out_of_memory else self.tracker.stop_reason,
            draft_tokens=self.tracker.draft_tokens,
            refine_tokens=self.tracker.refine_tokens,
            evaluations=self.tracker.evaluations,
            rejected=self.rejected,
            failure=failure,
            trace=Trace(trace, before=before, after=after, candidates=candidates),
            candidates=candidates,
        )

    def _keep(self, scored: ScoredText) -> None:
        if self.draft is None or self.best is None:
            self.draft = self.best = scored
        elif math.isfinite(scored.score) and scored.score > self.best.score and scored.text.strip():
            if self._allowed(scored, self.draft):
                self.best = scored
            else:
                self.rejected += 1

    def _allowed(self, scored: ScoredText, draft: ScoredText) -> bool:
        """Whether a text of a better score is fluent, sure of what it must be, and fools no audit."""
        rise, terms = self.energy.max_nll_rise, self.energy.terms
        fluent = rise is None or scored.nll <= draft.nll + rise
        audited = [(t.name, t.max_drop) for t in terms if t.max_drop is not None]
        hacked = any(draft.rewards[name] - scored.rewards[name] > fall for name, fall in audited)
        self.reward_hacked |= hacked and fluent
        return fluent and scored.meets_thresholds and not hacked

    def _chunks(self, texts: Sequence[str]) -> list[list[str]]:
        longest = max((len(self.energy.policy.encode(text)) for text in texts), default=1)
        size = max(1, _POSITIONS // max(1, longest))
        return [list(texts[start : start + size]) for start in range(0, len(texts), size)]

    def _score(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score new texts, and keep the best."""
        seconds = max(_GRACE, self.tracker.remaining())
        op = ScoreTextsOp(self.energy, self.prompt, texts, seconds, is_draft=self.draft is None)
        self.energy, terms = yield op
        self.tracker.evaluations += len(texts)
        scored_texts = self._scored(texts, terms)
        for scored in scored_texts:
            self._seen[scored.text] = scored
            self._keep(scored)
        return scored_texts

    def _scored(self, texts: Sequence[str], terms: EnergyTerms) -> list[ScoredText]:
        names = [term.name for term in self.energy.terms]
        finite = terms.rewards.isfinite()
        if not bool(finite.all()):
            row, column = torch.nonzero(~finite)[0].tolist()
            raise RewardUnavailableError(
                f"the reward {names[column]!r} gave {terms.rewards[row, column].item()} for {texts[row]!r}; "
                f"a score must be finite. Fix the reward, or leave it out."
            )
        numbers = (terms.energy, terms.nll, terms.rewards, self.energy.meets_thresholds(terms.rewards))
        return [
            ScoredText(text, -energy, nll, dict(zip(names, rewards, strict=True)), met)
            for text, energy, nll, rewards, met in zip(texts, *(n.tolist() for n in numbers), strict=True)
        ]
