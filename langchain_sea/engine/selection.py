"""The choice of the answer: texts are decoded, encoded again and scored, and the best is kept. Knows no sampler."""

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

_MAX_POSITIONS = 4096  # tokens scored in one forward pass, which limits the memory for its states
_MIN_SECONDS = 2.0  # for rewards that are functions, even if the budget's time is over


class Refinement(NamedTuple):
    """The result for one prompt.

    Attributes:
        text: the answer; the draft unless `accepted`.
        ids: of the answer, encoded again.
        draft: the text of the draft.
        before: the draft with its score; None if a reward failed.
        after: the answer with its score; None if a reward failed.
        accepted: whether the answer is another text than the draft.
        steps: of each chain.
        seconds: of wall-clock time.
        stop_reason: why the refinement ended.
        draft_tokens: tokens that the policy generated.
        refine_tokens: tokens in the chains, summed over all evaluations.
        evaluations: of the energy, of chains and of texts.
        rejected: texts with a better score than the best that were not accepted: their nats per token rose too far, a
            reward was below its `threshold`, or one fell by more than its `max_drop`.
        failure: the error that ended the refinement early, if any.
        trace: all steps.
        candidates: all texts that were scored, the draft first.
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
        """The lowest cosine between two rewards' gradients in any step; None if none was computed."""
        return min((c for step in self.trace for c in step.min_gradient_cosine if c is not None), default=None)


class BestSoFar:
    """The best text so far for one prompt. The first text offered is the draft; it wins ties.

    Attributes:
        energy: scores the texts; the drafts may fit its rewards and scales.
        prompt: the prompt.
        tracker: of the budget.
        draft: the first text that was scored.
        best: the best text that was accepted.
        rejected: the number of texts with a better score that were not accepted.
        reward_hacked: whether a better text was rejected because a watched reward fell by more than its `max_drop`.
    """

    def __init__(self, energy: Energy, prompt: Prompt, tracker: BudgetTracker) -> None:
        """Start without any text."""
        self.energy, self.prompt, self.tracker = energy, prompt, tracker
        self.draft: ScoredText | None = None
        self.best: ScoredText | None = None
        self.rejected = 0
        self.reward_hacked = False
        self._scored_texts: dict[str, ScoredText] = {}

    def offer(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score the texts, those scored before only once, and keep the best.

        Raises:
            RewardUnavailableError: a reward failed; the best text does not change.
        """
        new_texts = [text for text in dict.fromkeys(texts) if text not in self._scored_texts]
        for chunk in self._chunks(new_texts):
            yield from split_on_out_of_memory(self._score, chunk, self.tracker)
        return [self._scored_texts[text] for text in texts]

    def refinement(
        self, draft: str, *, failure: Exception | None = None, trace: Sequence[TraceStep] = ()
    ) -> Refinement:
        """Return the result so far.

        Args:
            draft: the text if none could be scored.
            failure: the error that ended the refinement; the answer is then the draft.
            trace: the steps.
        """
        before, after = self.draft, self.draft if failure else self.best
        draft = before.text if before else draft
        text = after.text if after else draft
        candidates = tuple(self._scored_texts.values())
        is_out_of_memory = self.tracker.is_out_of_memory
        stop_reason = StopReason.OUT_OF_MEMORY if is_out_of_memory else self.tracker.stop_reason
        return Refinement(
            text=text,
            ids=tuple(self.energy.policy.encode(text)),
            draft=draft,
            before=before,
            after=after,
            accepted=text != draft,
            steps=self.tracker.steps,
            seconds=round(self.tracker.seconds, 4),
            stop_reason=stop_reason,
            draft_tokens=self.tracker.draft_tokens,
            refine_tokens=self.tracker.refine_tokens,
            evaluations=self.tracker.evaluations,
            rejected=self.rejected,
            failure=failure,
            trace=Trace(trace, before=before, after=after, candidates=candidates),
            candidates=candidates,
        )

    def _update(self, scored: ScoredText) -> None:
        """Replace the best text by a better one, if it is accepted."""
        if self.draft is None or self.best is None:
            self.draft = self.best = scored
        elif math.isfinite(scored.score) and scored.score > self.best.score and scored.text.strip():
            if self._is_accepted(scored, self.draft):
                self.best = scored
            else:
                self.rejected += 1

    def _is_accepted(self, scored: ScoredText, draft: ScoredText) -> bool:
        """Return whether a text of a better score is fluent, meets all thresholds, and fools no reward."""
        max_rise = self.energy.max_nll_rise
        is_fluent = max_rise is None or scored.nll <= draft.nll + max_rise
        max_drops = [(t.name, t.max_drop) for t in self.energy.terms if t.max_drop is not None]
        drops = [(draft.rewards[name] - scored.rewards[name], max_drop) for name, max_drop in max_drops]
        is_hacked = any(drop > max_drop for drop, max_drop in drops)
        self.reward_hacked |= is_hacked and is_fluent
        return is_fluent and scored.meets_thresholds and not is_hacked

    def _chunks(self, texts: Sequence[str]) -> list[list[str]]:
        longest = max((len(self.energy.policy.encode(text)) for text in texts), default=1)
        size = max(1, _MAX_POSITIONS // max(1, longest))
        return [list(texts[start : start + size]) for start in range(0, len(texts), size)]

    def _score(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score new texts, and keep the best."""
        seconds = max(_MIN_SECONDS, self.tracker.remaining())
        op = ScoreTextsOp(self.energy, self.prompt, texts, seconds, is_draft=self.draft is None)
        self.energy, terms = yield op
        self.tracker.evaluations += len(texts)
        scored_texts = self._to_scored_texts(texts, terms)
        for scored in scored_texts:
            self._scored_texts[scored.text] = scored
            self._update(scored)
        return scored_texts

    def _to_scored_texts(self, texts: Sequence[str], terms: EnergyTerms) -> list[ScoredText]:
        names = [term.name for term in self.energy.terms]
        finite = terms.rewards.isfinite()
        if not bool(finite.all()):
            row, column = torch.nonzero(~finite)[0].tolist()
            raise RewardUnavailableError(
                f"the reward {names[column]!r} gave {terms.rewards[row, column].item()} for {texts[row]!r}; "
                f"a score must be finite. Fix or remove this reward."
            )
        numbers = (terms.energy, terms.nll, terms.rewards, self.energy.meets_thresholds(terms.rewards))
        return [
            ScoredText(text, -energy, nll, dict(zip(names, rewards, strict=True)), met)
            for text, energy, nll, rewards, met in zip(texts, *(n.tolist() for n in numbers), strict=True)
        ]
