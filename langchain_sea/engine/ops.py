"""What a refinement asks for, a piece at a time, and nothing of how it is answered: see `rounds.py`.

A refinement is a generator: it yields a piece of work and is sent what came of it. Many refinements' pieces
then share a forward without knowing of each other. Shapes: C chains, T positions, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from langchain_sea.core.protocols import (
    LOGITS,
    AnswerBatch,
    GenerationState,
    ModelOutput,
    Policy,
    Prompt,
    Steering,
    Tokens,
)

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy, EnergyInputs
    from langchain_sea.core.terms import EnergyTerms

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class ForwardOp:
    """The policy's reading of answers, as ids; the result is a `ModelOutput`."""

    policy: Policy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    view: AnswerBatch = field(init=False)

    def views(self) -> list[AnswerBatch]:
        """What must be read first."""
        self.view = AnswerBatch.from_ids(self.policy, self.prompt, self.answers, LOGITS)
        return [self.view]

    def finish(self) -> ModelOutput:
        """The result, once all is read."""
        return self.view.output


@dataclass(slots=True, eq=False)
class ScorePrefixesOp:
    """The steering energy of beginnings, as ids; the result is (C,)."""

    energy: Energy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    view: AnswerBatch = field(init=False)

    def views(self) -> list[AnswerBatch]:
        """As in `ForwardOp`."""
        self.view = self.energy.prepare_prefixes(self.prompt, self.answers)
        return self.view.all_batches()

    def finish(self) -> Tensor:
        """As in `ForwardOp`; `energy` is then the one whose scales they settled."""
        self.energy, energies = self.energy.score_prefixes(self.view)
        return energies


@dataclass(slots=True, eq=False)
class ScoreTextsOp:
    """The energy of texts; the result is `EnergyTerms`.

    Attributes:
        seconds: after which nobody waits any longer for rewards that are called as functions.
        first: whether the texts are the prompt's drafts, by which rewards may be standardised.
    """

    energy: Energy
    prompt: Prompt
    texts: Sequence[str]
    seconds: float
    first: bool = False
    view: AnswerBatch = field(init=False)

    def views(self) -> list[AnswerBatch]:
        """As in `ForwardOp`."""
        self.view = self.energy.prepare_texts(self.prompt, self.texts)
        return self.view.all_batches()

    def finish(self) -> EnergyTerms:
        """As in `ForwardOp`; after the first texts `energy` is the one that they settled."""
        if not self.first:
            return self.energy.score_texts(self.view, self.texts)
        self.energy, terms = self.energy.fit_and_score_texts(self.view, self.texts)
        return terms


class ValueAndGrad(NamedTuple):
    """What came of `GradientOp`."""

    terms: EnergyTerms  # detached
    gradient: Tensor  # (C, T, K) in the tokens if the energy is `hard`, else in the logits
    logits: Tensor | None  # (C, T, V) the policy's, where they were asked for


@dataclass(slots=True, eq=False)
class GradientOp:
    """The energy at relaxed tokens with its gradient; the result is a `ValueAndGrad`.

    Attributes:
        point: (C, T, K) logits, −∞ for what must not be said.
        support: (C, T, K) ids.
        mask: (C, T) False for padding.
        logits: whether the policy's logits are wanted.
        leaf: what the gradient is taken in.
    """

    energy: Energy
    prompt: Prompt
    point: Tensor
    support: Tensor
    mask: Tensor
    logits: bool = False
    leaf: Tensor = field(init=False)
    _views: EnergyInputs = field(init=False)

    def views(self) -> list[AnswerBatch]:
        """As in `ForwardOp`; with a graph back to `leaf`."""
        energy, point = self.energy, self.point.detach()
        with torch.enable_grad():
            if energy.is_straight_through:
                self.leaf = energy.policy_relaxation(point).requires_grad_()
                tokens = Tokens(self.leaf, self.support, self.mask).after(self.prompt.answer)
                self._views = energy.prepare_soft(self.prompt, tokens)
            else:
                self.leaf = point.requires_grad_()
                self._views = energy.prepare_logits(self.prompt, self.leaf, self.support, self.mask)
        fluency, steering = self._views
        if self.logits:
            fluency.output_spec |= LOGITS
        return fluency.all_batches() if fluency is steering else [*fluency.all_batches(), *steering.all_batches()]

    def terms(self) -> EnergyTerms:
        """The energy, once all is read, with its graph."""
        with torch.enable_grad():
            return self.energy.evaluate(self._views, self.leaf)

    def finish(self, terms: EnergyTerms, gradient: Tensor) -> ValueAndGrad:
        """The result, from both halves."""
        logits = self._views.fluency.output.logits.detach() if self.logits else None
        return ValueAndGrad(terms.map(Tensor.detach), gradient, logits)


@dataclass(slots=True, eq=False)
class PrefillOp:
    """The prompt with more of the answer behind it; the result is a `Prompt`."""

    energy: Energy
    prompt: Prompt
    ids: Sequence[int]

    def views(self) -> list[AnswerBatch]:
        """None: the policy reads what it keeps."""
        return []

    def finish(self) -> Prompt:
        """As in `ForwardOp`."""
        output_spec = self.energy.prepare_prefixes(self.prompt, [[*self.prompt.answer, *self.ids]]).output_spec
        found: Prompt = self.energy.policy.prefill(self.prompt, self.ids, output_spec)
        return found


class GenerationRows(NamedTuple):
    """Rows that go on after the same prompt."""

    prompt: Prompt
    prefixes: Sequence[Sequence[int]]
    generators: Sequence[torch.Generator]
    steering: Steering | None = None
    cooling: float = 1.0  # of the temperature

    def each(self) -> list[GenerationRows]:
        """Its rows apart."""
        pushes = [
            self.steering and Steering(self.steering.layer, self.steering.vectors[[i]])
            for i in range(len(self.prefixes))
        ]
        rows = zip(self.prefixes, self.generators, pushes, strict=True)
        return [
            GenerationRows(self.prompt, [ids], [rng], steering, self.cooling) for ids, rng, steering in rows
        ]


@dataclass(slots=True, eq=False)
class GenerateOp:
    """What the policy writes after prefixes; the result is the new ids of each, a list for every part."""

    policy: Policy
    parts: Sequence[GenerationRows]
    tokens: int
    temperature: float
    go_on: Callable[[int], bool]

    def writings(self) -> list[GenerationState]:
        """What is to be written, as the policy begins it."""
        return [
            self.policy.start_generation(
                part.prompt,
                part.prefixes,
                tokens=self.tokens,
                temperature=self.temperature * part.cooling,
                generators=part.generators,
                steering=part.steering,
            )
            for part in self.parts
        ]


Op = ForwardOp | ScorePrefixesOp | ScoreTextsOp | GradientOp | PrefillOp | GenerateOp
RequestSteps = Generator[Op, Any, R]
"""A refinement, or a part of one, that ends with an R."""
