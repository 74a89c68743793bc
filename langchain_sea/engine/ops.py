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

from langchain_sea.core.protocols import LOGITS, Policy, Prompt, Push, Reading, Tokens, View, Writing

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy, Views
    from langchain_sea.core.terms import EnergyTerms

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Look:
    """The policy's reading of answers, as ids; the result is a `Reading`."""

    policy: Policy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    view: View = field(init=False)

    def views(self) -> list[View]:
        """What must be read first."""
        self.view = View.hard(self.policy, self.prompt, self.answers, LOGITS)
        return [self.view]

    def finish(self) -> Reading:
        """The result, once all is read."""
        return self.view.reading


@dataclass(slots=True, eq=False)
class Rank:
    """The steering energy of beginnings, as ids; the result is (C,)."""

    energy: Energy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    view: View = field(init=False)

    def views(self) -> list[View]:
        """As in `Look`."""
        self.view = self.energy.beginnings(self.prompt, self.answers)
        return self.view.all()

    def finish(self) -> Tensor:
        """As in `Look`; `energy` is then the one whose scales they settled."""
        self.energy, energies = self.energy.ranked(self.view)
        return energies


@dataclass(slots=True, eq=False)
class Score:
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
    view: View = field(init=False)

    def views(self) -> list[View]:
        """As in `Look`."""
        self.view = self.energy.written(self.prompt, self.texts)
        return self.view.all()

    def finish(self) -> EnergyTerms:
        """As in `Look`; after the first texts `energy` is the one that they settled."""
        if not self.first:
            return self.energy.scored(self.view, self.texts)
        self.energy, terms = self.energy.scored_first(self.view, self.texts)
        return terms


class Slope(NamedTuple):
    """What came of `Climb`."""

    terms: EnergyTerms  # detached
    gradient: Tensor  # (C, T, K) in the tokens if the energy is `hard`, else in the logits
    logits: Tensor | None  # (C, T, V) the policy's, where they were asked for


@dataclass(slots=True, eq=False)
class Climb:
    """The energy at relaxed tokens with its gradient; the result is a `Slope`.

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
    _views: Views = field(init=False)

    def views(self) -> list[View]:
        """As in `Look`; with a graph back to `leaf`."""
        energy, point = self.energy, self.point.detach()
        with torch.enable_grad():
            if energy.hard:
                self.leaf = energy.policy_relaxation(point).requires_grad_()
                tokens = Tokens(self.leaf, self.support, self.mask).after(self.prompt.answer)
                self._views = energy.seen(self.prompt, tokens)
            else:
                self.leaf = point.requires_grad_()
                self._views = energy.views(self.prompt, self.leaf, self.support, self.mask)
        fluency, steering = self._views
        if self.logits:
            fluency.wants |= LOGITS
        return fluency.all() if fluency is steering else [*fluency.all(), *steering.all()]

    def terms(self) -> EnergyTerms:
        """The energy, once all is read, with its graph."""
        with torch.enable_grad():
            return self.energy.at(self._views, self.leaf)

    def finish(self, terms: EnergyTerms, gradient: Tensor) -> Slope:
        """The result, from both halves."""
        logits = self._views.fluency.reading.logits.detach() if self.logits else None
        return Slope(terms.map(Tensor.detach), gradient, logits)


@dataclass(slots=True, eq=False)
class Continue:
    """The prompt with more of the answer behind it; the result is a `Prompt`."""

    energy: Energy
    prompt: Prompt
    ids: Sequence[int]

    def views(self) -> list[View]:
        """None: the policy reads what it keeps."""
        return []

    def finish(self) -> Prompt:
        """As in `Look`."""
        wants = self.energy.beginnings(self.prompt, [[*self.prompt.answer, *self.ids]]).wants
        found: Prompt = self.energy.policy.continued(self.prompt, self.ids, wants)
        return found


class Part(NamedTuple):
    """Rows that go on after the same prompt."""

    prompt: Prompt
    prefixes: Sequence[Sequence[int]]
    generators: Sequence[torch.Generator]
    push: Push | None = None
    cooling: float = 1.0  # of the temperature

    def each(self) -> list[Part]:
        """Its rows apart."""
        pushes = [self.push and Push(self.push.layer, self.push.rows[[i]]) for i in range(len(self.prefixes))]
        rows = zip(self.prefixes, self.generators, pushes, strict=True)
        return [Part(self.prompt, [ids], [rng], push, self.cooling) for ids, rng, push in rows]


@dataclass(slots=True, eq=False)
class Extend:
    """What the policy writes after prefixes; the result is the new ids of each, a list for every part."""

    policy: Policy
    parts: Sequence[Part]
    tokens: int
    temperature: float
    go_on: Callable[[int], bool]

    def writings(self) -> list[Writing]:
        """What is to be written, as the policy begins it."""
        return [
            self.policy.writing(
                part.prompt,
                part.prefixes,
                tokens=self.tokens,
                temperature=self.temperature * part.cooling,
                generators=part.generators,
                push=part.push,
            )
            for part in self.parts
        ]


Work = Look | Rank | Score | Climb | Continue | Extend
Task = Generator[Work, Any, R]
"""A refinement, or a part of one, that ends with an R."""
