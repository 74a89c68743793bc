"""The refinement of one answer by latents, window by window. Every candidate is a whole answer.

A window begins where the one before it ended. In it, beginnings are drawn under latents (`latent_search`), the best
are continued under a share of their latent and without it, and the best of those are written to their end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from langchain_sea.budget import StopReason
from langchain_sea.core.protocols import Steering
from langchain_sea.core.wording import count_of
from langchain_sea.engine.draw_scoring import DrawScorer
from langchain_sea.engine.early_ends import find_early_ends
from langchain_sea.engine.lateness import stop_when_late
from langchain_sea.engine.latent_search import LatentSearch
from langchain_sea.engine.ops import GenerationInput, PrefillOp, ScorePrefixesOp
from langchain_sea.engine.planning import Workload, choose_draws, round_costs, writing_seconds
from langchain_sea.engine.speed_model import get_speed
from langchain_sea.plans import PLANS, describe_no_plan, find_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.latent_search import Draw
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.selection import BestSoFar
    from langchain_sea.plans import SearchPlan
    from langchain_sea.presets import LatentConfig, SearchConfig

__all__ = ["LatentRefiner"]

_MIN_STEPS = 2  # of the latents before a search may end because nothing beats the draft
_BEGINNING_SHARE = 0.6  # of the gain that a whole text needs: a beginning shows only a part of it
_NUM_FINISHED = 2  # continued draws that are written to the end of a long answer
_LENGTH_MARGIN = 1.25  # by which a drawn answer may be longer than the draft


@dataclass
class LatentRefiner:
    """The search for a better answer than the draft.

    Attributes:
        prompt: the prompt.
        draft: the ids of the policy's own answer.
        best: scores texts and keeps the best.
        search_config: with a `LatentConfig`.
        drafter: draws, and holds the tracker of the budget.
        offer: takes the ids of answers and whether each was cut by the limit on its length; scores them and keeps
            the best.
        best_ids: returns the ids of the best answer so far.
        record: called after every round.
        report_plan: called with the plan of every window, and with None if the first has none.
        commit: called after every window with the ids that no later window changes; None: nobody asks.
        judges_texts: whether draws are judged as texts by all rewards, instead of as beginnings by those that can.
        plan_reason: the plan of the first window, and why it was chosen.
    """

    prompt: Prompt
    draft: Answer
    best: BestSoFar
    search_config: SearchConfig
    drafter: Drafter
    offer: Callable[[Sequence[Answer], Sequence[bool]], RequestSteps[None]]
    best_ids: Callable[[], Answer]
    record: Callable[[TraceStep], None]
    report_plan: Callable[[SearchPlan | None], None]
    commit: Callable[[Answer], None] | None = None
    judges_texts: bool = field(init=False)
    plan_reason: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.judges_texts = not self.best.energy.scores_prefixes
        self._speed = get_speed(self.best.energy.policy)

    @property
    def tracker(self) -> BudgetTracker:
        """The tracker of the budget."""
        return self.drafter.tracker

    @property
    def _config(self) -> LatentConfig:
        assert self.search_config.latent is not None
        return self.search_config.latent

    def steps(self) -> RequestSteps[None]:
        """Refine window after window, until one brings nothing, the time is over, or the answer ends."""
        yield from stop_when_late(self._search_windows(), self.tracker)

    def _search_windows(self) -> RequestSteps[None]:
        prompt, position, answer = self.prompt, 0, self.draft
        while True:
            self.tracker.stop_reason = self.tracker.exhausted_limit() or StopReason.STEPS
            plan = None if self.tracker.exhausted_limit() else self._choose_plan(position, answer)
            if plan is not None or position == 0:
                self.report_plan(plan)
            if plan is None:
                return
            is_better = yield from self._search_window(prompt, position, answer, plan)
            answer, end = self.best_ids(), position + self.search_config.continuation.stride
            if not is_better or end >= len(answer):
                return
            prompt = yield PrefillOp(self.best.energy, prompt, answer[position:end])
            position = end
            if self.commit is not None:
                self.best.is_committed = True
                self.commit(answer[:position])

    def _workload(self, position: int, draw_tokens: int | None) -> Workload:
        num_left = self.tracker.max_new_tokens - position
        written = min(num_left, self.search_config.continuation.stride)
        seconds = self.best.function_seconds
        continued = max(0, written - (draw_tokens or 0))
        return Workload(draw_tokens, continued, position + written, seconds * self.judges_texts, seconds)

    def _choose_plan(self, position: int, answer: Answer) -> SearchPlan | None:
        """Return what fits into the time; None if nothing does."""
        if self.search_config.plan is not None:
            plan, reason = find_plan(self.search_config.plan), "it was asked for"
            self._draw_tokens = self._longest_draw(position, answer) if self.judges_texts else plan.tokens
        else:
            chosen, reason = self._choose_by_speed(position, answer)
            if chosen is None:
                self.tracker.stop_reason = StopReason.SECONDS
                self.plan_reason = self.plan_reason or describe_no_plan(reason)
                return None
            plan = replace(chosen, rounds=PLANS[-1].rounds)  # more rounds follow where they take less than expected
        self._draw_tokens = min(self._draw_tokens, self.tracker.max_new_tokens - position)
        self.plan_reason = self.plan_reason or (
            f"{plan.name}: {count_of(plan.groups, 'group')} of {plan.rows} draws of {self._draw_tokens} tokens, up to "
            f"{count_of(plan.rounds, 'round')}, {plan.kept} continued; {reason}"
        )
        return plan

    def _longest_draw(self, position: int, answer: Answer) -> int:
        """Return the tokens of a draw that is a whole answer, if the draft says how long one is."""
        return max(8, math.ceil(_LENGTH_MARGIN * (len(answer) - position)))

    def _choose_by_speed(self, position: int, answer: Answer) -> tuple[SearchPlan | None, str]:
        whole = self._longest_draw(position, answer) if self.judges_texts else None
        chosen, reason, self._draw_tokens = choose_draws(
            self._speed, self.tracker.remaining(), whole, lambda tokens: self._workload(position, tokens)
        )
        return chosen, reason

    def _search_window(self, prompt: Prompt, position: int, answer: Answer, plan: SearchPlan) -> RequestSteps[bool]:
        """Offer the candidates of one window; return whether one was better than the answer so far."""
        reference = yield from self._score_beginning(prompt, answer[position : position + self._draw_tokens])
        search = LatentSearch(
            prompt=prompt,
            best=self.best,
            config=self._config,
            plan=plan,
            drafter=self.drafter,
            draw_tokens=self._draw_tokens,
            scorer=DrawScorer(prompt, self.best, self.judges_texts, max(1, len(answer) - position)),
            may_go_on=lambda number, lowest: self._may_go_on(number, reference - lowest, plan, position),
            record=self.record,
        )
        draws = yield from search.steps()
        if self.best.spread is None:
            self.best.spread = search.spread
        if not draws:
            self.tracker.stop_reason = self.tracker.exhausted_limit() or StopReason.EMPTY
            return False
        if self._is_noise(reference - draws[0].energy):
            self.tracker.stop_reason = self.tracker.exhausted_limit() or StopReason.DRAFT_IS_GOOD
            return False
        before = self.best.best
        yield from self._write_to_end(prompt, draws, search.layer, plan.kept)
        self.tracker.stop_reason = self.tracker.exhausted_limit() or self.tracker.stop_reason
        return self.best.best is not before

    def _score_beginning(self, prompt: Prompt, ids: Answer) -> RequestSteps[float]:
        """Return the energy of the draft's tokens in this window, as the draws are judged."""
        beginning = [*prompt.answer, *ids]
        if not ids:
            return math.inf
        if self.judges_texts:
            text = self.best.energy.policy.decode(beginning)
            return -(yield from self.best.score([text]))[0].score
        self.best.energy, terms = yield ScorePrefixesOp(self.best.energy, prompt, [beginning])
        return float(terms.energy[0])

    def _is_noise(self, gain: float) -> bool:
        """Return whether a gain over a good draft is no larger than the rewards' own noise."""
        if self.best.energy.limits is None or not self.best.is_draft_good:
            return False
        return gain < (1.0 if self.judges_texts else _BEGINNING_SHARE) * self.best.min_gain

    def _may_go_on(self, number: int, gain: float, plan: SearchPlan, position: int) -> bool:
        """Return whether another round can begin: it must be allowed, promising, and end in time."""
        max_steps = self.tracker.budget.max_steps
        if self.tracker.exhausted_limit() is not None or (max_steps is not None and number > max_steps):
            return False
        if number >= _MIN_STEPS and self._is_noise(gain):
            return False
        work = self._workload(position, self._draw_tokens)
        needed = sum(round_costs(plan, self._speed, work)) + writing_seconds(plan.kept, self._speed, work)
        if needed > self.tracker.remaining():
            self.tracker.stop_reason = StopReason.SECONDS
            return False
        return True

    def _write_to_end(self, prompt: Prompt, draws: list[Draw], layer: int, kept: int) -> RequestSteps[None]:
        """Continue the draws to the end of the window, and the best of them to their own end; offer those."""
        prefix = list(prompt.answer)
        ended = [list(draw.ids) for draw in draws if draw.has_ended]
        yield from self.offer([[*prefix, *ids] for ids in ended], [False] * len(ended))
        going_on = [draw for draw in draws if not draw.has_ended]
        has_latents = any(draw.latent is not None for draw in going_on)
        shares = self._config.continuation_shares if has_latents else (0.0,)
        going_on = going_on[: max(1, kept // len(shares))]
        unfinished = [list(draw.ids) for _ in shares for draw in going_on]
        steering = _continuation_steering(going_on, layer, shares)
        num_left = self.tracker.max_new_tokens - len(prefix)
        stride = min(num_left, self.search_config.continuation.stride)
        unfinished = yield from self._continue(prompt, unfinished, stride, num_left, steering, is_first=True)
        if unfinished and stride < num_left and self._has_time_to_finish(prompt, unfinished):
            ranked = yield from self._rank(prompt, unfinished)
            yield from self._continue(prompt, ranked[:_NUM_FINISHED], num_left, num_left, None, is_first=False)

    def _continue(
        self,
        prompt: Prompt,
        beginnings: list[Answer],
        length: int,
        longest: int,
        steering: Steering | None,
        *,
        is_first: bool,
    ) -> RequestSteps[list[Answer]]:
        """Write beginnings to so many tokens, and offer what is whole; return those that go on.

        What is whole: answers that have ended, shorter ones that could have ended, and those of the largest length.
        """
        prefix = list(prompt.answer)
        if not beginnings:
            return []
        scale = self.search_config.continuation.temperature_scale
        inputs = [GenerationInput.steered(prompt, beginnings, steering, scale)]
        num_new = length - min(map(len, beginnings))
        (written,), (goes_on,), is_cut = yield from self.drafter.write(inputs, num_new)
        answers = [[*a, *b] for a, b in zip(beginnings, written, strict=True)]
        whole = [ids for ids, more in zip(answers, goes_on, strict=True) if not more]
        unfinished = [ids for ids, more in zip(answers, goes_on, strict=True) if more]
        cut = unfinished if length >= longest and not is_cut else []
        start = len(prefix) if is_first else len(prefix) + min(map(len, beginnings))
        texts = [[*prefix, *ids] for ids in answers]
        policy = self.best.energy.policy
        shorter = yield from find_early_ends(policy, prompt, texts, start=start, count=len(texts), tracker=self.tracker)
        offered = [*shorter, *([*prefix, *ids] for ids in whole + cut)]
        yield from self.offer(offered, [False] * (len(shorter) + len(whole)) + [True] * len(cut))
        return [] if is_cut or cut else unfinished

    def _has_time_to_finish(self, prompt: Prompt, unfinished: list[Answer]) -> bool:
        """Return whether answers as long as the draft can be written in the time that is left."""
        written = len(prompt.answer) + min(map(len, unfinished))
        answer_tokens, seconds = max(len(self.draft), written), self.best.function_seconds
        work = Workload(None, max(1, len(self.draft) - written), answer_tokens, answer_seconds=seconds)
        return writing_seconds(min(_NUM_FINISHED, len(unfinished)), self._speed, work) <= self.tracker.remaining()

    def _rank(self, prompt: Prompt, answers: list[Answer]) -> RequestSteps[list[Answer]]:
        """Return unfinished answers, the one of the lowest energy first."""
        whole = [[*prompt.answer, *ids] for ids in answers]
        if self.judges_texts:
            scored = yield from self.best.score([self.best.energy.policy.decode(ids) for ids in whole])
            energies = [-text.score for text in scored]
        else:
            self.best.energy, terms = yield ScorePrefixesOp(self.best.energy, prompt, whole)
            energies = terms.energy.nan_to_num(nan=math.inf).tolist()
        return [ids for _, ids in sorted(zip(energies, answers, strict=True), key=lambda pair: pair[0])]


def _continuation_steering(draws: list[Draw], layer: int, shares: Sequence[float]) -> Steering | None:
    """Return each share of the draws' own latents, (shares × C, D); zeros for a draw of the policy alone."""
    known = next((draw.latent for draw in draws if draw.latent is not None), None)
    if known is None or not any(shares):
        return None
    latents = torch.stack([torch.zeros_like(known) if draw.latent is None else draw.latent for draw in draws])
    return Steering(layer, torch.cat([share * latents for share in shares]))
