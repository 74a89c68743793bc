"""The judgement of draws: as beginnings, by the rewards that can judge those, or as texts, by all of them.

Shapes: N draws of one round, R rewards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.trace import ScoredText
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import ScorePrefixesOp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import LayerInput, Prompt
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.selection import BestSoFar

__all__ = ["DrawScorer", "Round"]

_MIN_SPREAD = 1e-6  # of rewards; a smaller one says nothing about their scale


class Round(NamedTuple):
    """The draws of one round, those of one group one after another, and their numbers."""

    answers: list[Answer]
    energies: Tensor  # (N,), infinite where there is no text
    costs: Tensor  # (N,) the energies in the search's scale, plus the nats by which a draw breaks a limit on fluency
    nll: Tensor  # (N,) nats per token
    rewards: Tensor  # (N, R) standardised
    layer_input: LayerInput | None  # what the layer of the latents has read of them, if that was kept


@dataclass
class DrawScorer:
    """Judges the draws of one window.

    Attributes:
        prompt: it holds the ids of the answer before the window.
        best: scores texts, and holds the energy and the draft.
        judges_texts: whether draws are judged as texts; else as beginnings.
        answer_length: tokens that an answer probably has from this window on.
    """

    prompt: Prompt
    best: BestSoFar
    judges_texts: bool
    answer_length: int
    _layer_input: LayerInput | None = field(init=False, default=None)
    _reward_scale: float | None = field(init=False, default=None)

    def score(self, answers: list[Answer], layer: int) -> RequestSteps[Round]:
        """Return a round with its numbers.

        Args:
            answers: N draws, after the prompt's own answer.
            layer: whose input is kept, where draws are judged as beginnings.
        """
        self._layer_input = None
        if self.judges_texts:
            decode = self.best.energy.policy.decode
            scored = yield from self.best.score([decode([*self.prompt.answer, *ids]) for ids in answers])
        else:

            def score_beginnings(some: Sequence[Answer]) -> RequestSteps[list[ScoredText]]:
                return (yield from self._score_beginnings(some, layer, is_whole=len(some) == len(answers)))

            limit = get_size_limit(self.best.energy.policy, ScorePrefixesOp)
            scored = yield from split_on_out_of_memory(score_beginnings, answers, self.best.tracker, limit)
        return self._to_round(answers, scored)

    def _to_round(self, answers: list[Answer], scored: list[ScoredText]) -> Round:
        device = self.best.energy.policy.device
        energies = torch.tensor([-text.score for text in scored], device=device)
        nll = torch.tensor([text.nll for text in scored], device=device)
        is_empty = torch.tensor([not ids for ids in answers], device=device)
        energies = energies.masked_fill(is_empty | energies.isnan(), torch.inf)
        # what breaks the limits on fluency can never be accepted, so that the latents should leave it, too
        shares = [1.0 if self.judges_texts else min(1.0, len(ids) / self.answer_length) for ids in answers]
        excesses = [self.best.excess(text, share) for text, share in zip(scored, shares, strict=True)]
        excess = torch.tensor(excesses, device=device)
        rewards = torch.tensor([list(text.rewards.values()) for text in scored], device=device)
        return Round(answers, energies, self._rescale(energies, nll) + excess, nll, rewards, self._layer_input)

    def _rescale(self, energies: Tensor, nll: Tensor) -> Tensor:
        """Return the energies with the rewards' part in units of its spread in the first round, (N,).

        A function may return numbers of any size; one nat of fluency must not outweigh all of them, nor be nothing
        beside them. Rewards whose own noise is known have a scale already.
        """
        if self.best.energy.min_gain is not None:
            return energies
        fluency = self.best.energy.policy_weight * nll
        rewards = energies - fluency
        if self._reward_scale is None:
            finite = rewards[rewards.isfinite()]
            spread = float(finite.std()) if len(finite) > 1 else 0.0
            self._reward_scale = spread if spread > _MIN_SPREAD else None
        return rewards / (self._reward_scale or 1.0) + fluency

    def _score_beginnings(
        self, answers: Sequence[Answer], layer: int, *, is_whole: bool
    ) -> RequestSteps[list[ScoredText]]:
        prefix, energy = self.prompt.answer, self.best.energy
        op = ScorePrefixesOp(energy, self.prompt, [[*prefix, *ids] for ids in answers], layer)
        self.best.energy, terms = yield op
        if is_whole:
            self._layer_input = op.batch.layer_input(layer)
        self.best.tracker.evaluations += len(answers)
        names = [term.name for term in energy.terms]
        numbers = zip(*(part.tolist() for part in terms[:3]), op.batch.compute_surprises(len(prefix)), strict=True)
        return [
            ScoredText(
                text=energy.policy.decode(ids),
                score=-value,
                nll=nll,
                rewards=dict(zip(names, rewards, strict=True)),
                max_surprise=highest,
                first_surprise=0.0 if prefix else first,
            )
            for ids, (value, nll, rewards, (highest, first)) in zip(answers, numbers, strict=True)
        ]
