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

from langchain_sea.protocols import LOGITS, Policy, Prompt, Reading, View

if TYPE_CHECKING:
    from langchain_sea.energy import Energy, Views
    from langchain_sea.terms import EnergyTerms

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
        """As in `Look`."""
        return self.energy.ranked(self.view)


@dataclass(slots=True, eq=False)
class Score:
    """The energy of texts; the result is `EnergyTerms`.

    Attributes:
        seconds: after which nobody waits any longer for rewards that are called as functions.
    """

    energy: Energy
    prompt: Prompt
    texts: Sequence[str]
    seconds: float
    view: View = field(init=False)

    def views(self) -> list[View]:
        """As in `Look`."""
        self.view = self.energy.written(self.prompt, self.texts)
        return self.view.all()

    def finish(self) -> EnergyTerms:
        """As in `Look`."""
        return self.energy.scored(self.view, self.texts)


class Slope(NamedTuple):
    """What came of `Climb`."""

    terms: EnergyTerms  # detached
    gradient: Tensor  # (C, T, K)
    logits: Tensor | None  # (C, T, V) the policy's, where they were asked for


@dataclass(slots=True, eq=False)
class Climb:
    """The energy at relaxed tokens with its gradient; the result is a `Slope`.

    Attributes:
        point: (C, T, K) logits.
        support: (C, T, K) ids.
        mask: (C, T) False for padding.
        barred: (C, T, K) True for what must not be said.
        logits: whether the policy's logits are wanted.
    """

    energy: Energy
    prompt: Prompt
    point: Tensor
    support: Tensor
    mask: Tensor
    barred: Tensor
    logits: bool = False
    _relaxed: Tensor = field(init=False)
    _views: Views = field(init=False)

    def views(self) -> list[View]:
        """As in `Look`; with a graph back to `point`."""
        with torch.enable_grad():
            self.point = self.point.detach().requires_grad_()
            self._relaxed = self.point.masked_fill(self.barred, -torch.inf)
            self._views = self.energy.views(self.prompt, self._relaxed, self.support, self.mask)
        fluency, steering = self._views
        if self.logits:
            fluency.wants |= LOGITS
        return fluency.all() if fluency is steering else [*fluency.all(), *steering.all()]

    def terms(self) -> EnergyTerms:
        """The energy, once all is read, with its graph."""
        with torch.enable_grad():
            return self.energy.at(self._views, self._relaxed)

    def finish(self, terms: EnergyTerms, gradient: Tensor) -> Slope:
        """The result, from both halves."""
        logits = self._views.fluency.reading.logits.detach() if self.logits else None
        return Slope(terms.map(Tensor.detach), gradient, logits)


@dataclass(slots=True, eq=False)
class Extend:
    """What the policy writes after prefixes; the result is the new ids of each."""

    policy: Policy
    prompt: Prompt
    prefixes: Sequence[Sequence[int]]
    tokens: int
    temperature: float
    generators: Sequence[torch.Generator]
    go_on: Callable[[int], bool]

    def options(self) -> dict[str, Any]:
        """As keywords."""
        return {"tokens": self.tokens, "temperature": self.temperature, "generators": self.generators}


Work = Look | Rank | Score | Climb | Extend
Task = Generator[Work, Any, R]
"""A refinement, or a part of one, that ends with an R."""
