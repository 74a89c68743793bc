"""The choice of the answer: texts are decoded, encoded again and scored, and the best is kept. Knows no sampler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from langchain_sea.budget import ENDED_FROM_OUTSIDE, StopReason
from langchain_sea.core.trace import ScoredText, Trace
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import ScoreTextsOp
from langchain_sea.errors import RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.ops import RequestSteps

_MAX_POSITIONS = 4096  # tokens scored in one forward pass, which limits the memory for its states
_BAD_DRAFT_SHARE = 0.4  # of the gain that a good draft asks for
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
        steps: of each chain, or of the latents.
        seconds: of wall-clock time, those of the draft included.
        stop_reason: why the refinement ended.
        draft_tokens: tokens that the policy generated.
        refine_tokens: tokens in the chains, summed over all evaluations.
        evaluations: of the energy, of chains and of texts.
        rejected: texts with a better score than the best that were not accepted: they gained less than the rewards'
            noise, their nats per token rose too far, they broke a limit of `TextLimits`, a reward was below its
            `threshold`, or one fell by more than its `max_drop`.
        failure: the error that ended the refinement early, if any.
        trace: all steps.
        candidates: all answers that were scored, the draft first.
        draft_seconds: of wall-clock time until the draft was written.
        is_complete: whether the answer ended by itself; False if a limit on its length, or the limit of the call,
            cut it.
        is_draft_complete: whether the draft ended by itself.
        plan: how much was drawn, and why; None if nothing was planned.
        reasoning: the policy's reasoning before the answer, with its tags, where it is no part of the text; else None.
        reasoning_tokens: of that.
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
    draft_seconds: float = 0.0
    is_complete: bool = True
    is_draft_complete: bool = True
    plan: str | None = None
    reasoning: str | None = None
    reasoning_tokens: int = 0

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
        spread: the standard deviation of the energies of plain drafts, if it is known.
        is_committed: whether the beginning of the best text is final, because a caller has it: it then stays the
            answer where a reward fails.
        reward_hacked: whether a better text was rejected because a watched reward fell by more than its `max_drop`.
        function_seconds: that rewards which are plain functions took for a text, when they were last called.
    """

    def __init__(self, energy: Energy, prompt: Prompt, tracker: BudgetTracker) -> None:
        """Start without any text."""
        self.energy, self.prompt, self.tracker = energy, prompt, tracker
        self.draft: ScoredText | None = None
        self.best: ScoredText | None = None
        self.rejected = 0
        self.spread: float | None = None
        self.is_committed = False
        self.reward_hacked = False
        self.function_seconds = 0.0
        self._scored_texts: dict[str, ScoredText] = {}
        self._offered: dict[str, None] = {}

    @property
    def min_gain(self) -> float:
        """By how much a score must exceed the draft's to be accepted: less is the rewards' own noise.

        A draft that the rewards find bad gives way more easily: even a doubtful gain is more likely right than wrong.
        """
        limits = self.energy.limits
        if limits is None:
            return 0.0
        known = self.energy.min_gain
        if known is None:
            return limits.min_gain_spreads * (self.spread or 0.0)
        return known if self.is_draft_good else _BAD_DRAFT_SHARE * known

    @property
    def is_draft_good(self) -> bool:
        """Whether the rewards find the draft at least as good as an average answer, if they know what that is."""
        if self.draft is None or self.energy.min_gain is None:
            return True
        return self.draft.score + self.energy.policy_weight * self.draft.nll >= 0

    @property
    def highest_gain(self) -> float:
        """By how much the highest score of all offered texts exceeds the draft's."""
        highest = max((self._scored_texts[text].score for text in self._offered), default=-math.inf)
        return -math.inf if self.draft is None else highest - self.draft.score

    def offer(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score answers, those scored before only once, and keep the best.

        Raises:
            RewardUnavailableError: a reward failed; the best text does not change.
        """
        for chunk in self._chunks([text for text in dict.fromkeys(texts) if text not in self._offered]):
            yield from self.score(chunk)
            for text in chunk:
                self._add_candidate(self._scored_texts[text])
        return [self._scored_texts[text] for text in texts]

    def score(self, texts: Sequence[str]) -> RequestSteps[list[ScoredText]]:
        """Score texts, which are not offered as answers; those scored before only once.

        Raises:
            RewardUnavailableError: a reward failed.
        """
        new_texts = [text for text in dict.fromkeys(texts) if text not in self._scored_texts]
        for chunk in self._chunks(new_texts):
            limit = get_size_limit(self.energy.policy, ScoreTextsOp)
            yield from split_on_out_of_memory(self._score, chunk, self.tracker, limit)
        return [self._scored_texts[text] for text in texts]

    def refinement(
        self,
        draft: str,
        *,
        failure: Exception | None = None,
        trace: Sequence[TraceStep] = (),
        plan: str | None = None,
        cut_texts: Collection[str] = (),
    ) -> Refinement:
        """Return the result so far.

        Args:
            draft: the text if none could be scored.
            failure: the error that ended the refinement; the answer is then the draft, unless a caller has the
                beginning of another one.
            trace: the steps.
            plan: how much was drawn, and why.
            cut_texts: the answers that a limit cut.
        """
        before, after = self.draft, self.draft if failure and not self.is_committed else self.best
        draft = before.text if before else draft
        text = after.text if after else draft
        candidates = tuple(self._scored_texts[text] for text in self._offered)
        names = [term.name for term in self.energy.terms] if self.energy.policy.replays_graphs else []
        stop_reason = self.tracker.stop_reason
        if self.tracker.is_out_of_memory and stop_reason not in ENDED_FROM_OUTSIDE:
            stop_reason = StopReason.OUT_OF_MEMORY
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
            trace=Trace(trace, before=before, after=after, candidates=candidates, eager_rewards=names),
            candidates=candidates,
            draft_seconds=round(self.tracker.draft_seconds, 4),
            is_complete=text not in cut_texts,
            is_draft_complete=draft not in cut_texts,
            plan=plan,
        )

    def _add_candidate(self, scored: ScoredText) -> None:
        """Replace the best text by a better one, if it is accepted."""
        self._offered[scored.text] = None
        if self.draft is None or self.best is None:
            self.draft = self.best = scored
        elif math.isfinite(scored.score) and scored.score > self.best.score and scored.text.strip():
            if self._is_accepted(scored, self.draft):
                self.best = scored
            else:
                self.rejected += 1

    def excess(self, text: ScoredText, share: float = 1.0) -> float:
        """Return by how much a text breaks the limits on fluency that the draft sets, in nats.

        Args:
            text: a whole answer, or its beginning.
            share: of a whole answer that it is: the rest of the answer may make up for rare words in the beginning.
        """
        draft, max_rise, limits = self.draft, self.energy.max_nll_rise, self.energy.limits
        if draft is None:
            return 0.0
        rise = 0.0 if max_rise is None else max(0.0, text.nll - (draft.nll + max_rise))
        return share * rise + (0.0 if limits is None else limits.excess(text, draft))

    def _is_accepted(self, scored: ScoredText, draft: ScoredText) -> bool:
        """Return whether a text of a better score is fluent, meets all thresholds, and fools no reward."""
        is_fluent = self.excess(scored) == 0
        if scored.score < draft.score + self.min_gain and draft.meets_thresholds:
            return False
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
        """Score new texts."""
        seconds = max(_MIN_SECONDS, self.tracker.remaining())
        op = ScoreTextsOp(self.energy, self.prompt, texts, seconds, is_draft=not self._scored_texts)
        self.energy, terms = yield op
        self.function_seconds = op.function_seconds / len(texts)
        self.tracker.evaluations += len(texts)
        scored_texts = self._to_scored_texts(texts, terms, op.batch.compute_surprises())
        for scored in scored_texts:
            self._scored_texts[scored.text] = scored
        return scored_texts

    def _to_scored_texts(
        self, texts: Sequence[str], terms: EnergyTerms, surprises: list[tuple[float, float]]
    ) -> list[ScoredText]:
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
            ScoredText(text, -energy, nll, dict(zip(names, rewards, strict=True)), met, *surprise)
            for text, energy, nll, rewards, met, surprise in zip(
                texts, *(n.tolist() for n in numbers), surprises, strict=True
            )
        ]
