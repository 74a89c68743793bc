"""What a request may ask the scheduler to compute. How it is computed is in `scheduler.py`.

A request is a generator: it yields an op and is sent the result, so that the ops of many requests can share a
forward pass. Shapes: C chains or answers, T positions, K candidates, V vocabulary.
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
    OutputSpec,
    Policy,
    Prompt,
    Steering,
    Tokens,
)
from langchain_sea.engine.latent_gradient import LatentGradientOp

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy, EnergyInputs
    from langchain_sea.core.terms import EnergyTerms

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class ForwardOp:
    """Run the policy on answers. The result is a `ModelOutput`.

    Attributes:
        output_spec: what of it will be looked at.
    """

    policy: Policy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    output_spec: OutputSpec = LOGITS
    batch: AnswerBatch = field(init=False)

    def batches(self) -> list[AnswerBatch]:
        """Return the answers that need a forward pass before `finish`."""
        self.batch = AnswerBatch.from_ids(self.policy, self.prompt, self.answers, self.output_spec)
        return [self.batch]

    def finish(self) -> ModelOutput:
        """Return the result, after the forward pass."""
        return self.batch.output


@dataclass(slots=True, eq=False)
class ScorePrefixesOp:
    """Score answer prefixes by the differentiable rewards.

    The result is `(energy, terms)`: the energy with scales fitted to these prefixes where that was still to be
    done, and `EnergyTerms`.

    Attributes:
        layer: whose input is kept, for `batch.layer_input`.
    """

    energy: Energy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    layer: int | None = None
    batch: AnswerBatch = field(init=False)

    def batches(self) -> list[AnswerBatch]:
        """Return the answers that need a forward pass before `finish`."""
        self.batch = self.energy.prepare_prefixes(self.prompt, self.answers)
        if self.layer is not None:
            self.batch.output_spec |= OutputSpec(frozenset({self.layer}), logits=False)
        return self.batch.all_batches()

    def finish(self) -> tuple[Energy, EnergyTerms]:
        """Return the result, after the forward pass."""
        return self.energy.score_prefixes(self.batch)


@dataclass(slots=True, eq=False)
class ScoreTextsOp:
    """Score texts by all rewards.

    The result is `(energy, terms)`: the energy, with scales fitted to these texts if they are the drafts, and
    `EnergyTerms`.

    Attributes:
        seconds: how long to wait for rewards that are plain functions.
        is_draft: whether the texts are the prompt's drafts, to which rewards may be fitted.
        function_seconds: how long rewards that are plain functions took.
    """

    energy: Energy
    prompt: Prompt
    texts: Sequence[str]
    seconds: float
    is_draft: bool = False
    function_seconds: float = field(init=False, default=0.0)
    batch: AnswerBatch = field(init=False)

    def batches(self) -> list[AnswerBatch]:
        """Return the answers that need a forward pass before `finish`."""
        self.batch = self.energy.prepare_texts(self.prompt, self.texts)
        return self.batch.all_batches()

    @torch.no_grad()
    def compute_log_probs(self) -> None:
        """Compute the policy's part of the result, after the forward pass: it is no function's time."""
        _ = self.batch.token_log_probs

    def finish(self) -> tuple[Energy, EnergyTerms]:
        """Return the result, after the forward pass."""
        if self.is_draft:
            return self.energy.fit_and_score_texts(self.batch, self.texts)
        return self.energy, self.energy.score_texts(self.batch, self.texts)


class ValueAndGrad(NamedTuple):
    """The result of a `GradientOp`."""

    terms: EnergyTerms  # detached
    gradient: Tensor  # (C, T, K) in the tokens if the energy is straight-through, else in the logits
    logits: Tensor | None  # (C, T, V) the policy's, if `return_logits`


@dataclass(slots=True, eq=False)
class GradientOp:
    """Compute the energy of relaxed answers and its gradient. The result is a `ValueAndGrad`.

    Attributes:
        point: (C, T, K) logits, −∞ for tokens that are not allowed.
        support: (C, T, K) ids of the candidates.
        mask: (C, T) False for padding.
        return_logits: whether the result holds the policy's logits.
        leaf: the tensor in which the gradient is taken.
    """

    energy: Energy
    prompt: Prompt
    point: Tensor
    support: Tensor
    mask: Tensor
    return_logits: bool = False
    leaf: Tensor = field(init=False)
    _inputs: EnergyInputs = field(init=False)

    def batches(self) -> list[AnswerBatch]:
        """Return the answers that need a forward pass before `terms`, with a graph back to `leaf`."""
        energy, point = self.energy, self.point.detach()
        with torch.enable_grad():
            if energy.is_straight_through:
                self.leaf = energy.policy_relaxation(point).requires_grad_()
                tokens = Tokens(self.leaf, self.support, self.mask).after(self.prompt.answer)
                self._inputs = energy.prepare_soft(self.prompt, tokens)
            else:
                self.leaf = point.requires_grad_()
                self._inputs = energy.prepare_logits(self.prompt, self.leaf, self.support, self.mask)
        fluency, steering = self._inputs
        if self.return_logits:
            fluency.output_spec |= LOGITS
        batches = fluency.all_batches()
        return batches if fluency is steering else [*batches, *steering.all_batches()]

    def terms(self) -> EnergyTerms:
        """Return the energy with its graph, after the forward pass."""
        with torch.enable_grad():
            return self.energy.evaluate(self._inputs, self.leaf)

    def finish(self, terms: EnergyTerms, gradient: Tensor) -> ValueAndGrad:
        """Return the result, after the backward pass."""
        logits = self._inputs.fluency.output.logits.detach() if self.return_logits else None
        return ValueAndGrad(terms.map(Tensor.detach), gradient, logits)


@dataclass(slots=True, eq=False)
class PrefillOp:
    """Add ids to the prompt's answer and run the policy on them once. The result is the new `Prompt`."""

    energy: Energy
    prompt: Prompt
    ids: Sequence[int]

    def batches(self) -> list[AnswerBatch]:
        """Return nothing: the policy runs its own forward pass."""
        return []

    def finish(self) -> Prompt:
        """Return the result."""
        answer = [*self.prompt.answer, *self.ids]
        output_spec = self.energy.prepare_prefixes(self.prompt, [answer]).output_spec
        prompt: Prompt = self.energy.policy.prefill(self.prompt, self.ids, output_spec)
        return prompt


def split_off_opening(prompt: Prompt) -> tuple[Prompt, Sequence[int]]:
    """Return the prompt before the words that were put before its answer, and their ids.

    The prompt itself and no ids, if there are none or if a part of the answer behind them has been read already.
    """
    if prompt.before_opening is None or prompt.answer:
        return prompt, ()
    return prompt.before_opening, prompt.opening


class GenerationInput(NamedTuple):
    """Answers to one prompt that are to be continued.

    `prefixes` are C answers so far. `temperature_scale` multiplies the sampling temperature. `generators` are C,
    one for each answer; `Drafter` fills them in. `max_new_tokens` is a limit of these answers alone.
    """

    prompt: Prompt
    prefixes: Sequence[Sequence[int]]
    steering: Steering | None = None
    temperature_scale: float = 1.0
    generators: Sequence[torch.Generator] = ()
    max_new_tokens: int | None = None

    @classmethod
    def steered(
        cls,
        prompt: Prompt,
        prefixes: Sequence[Sequence[int]],
        steering: Steering | None,
        temperature_scale: float = 1.0,
        generators: Sequence[torch.Generator] = (),
    ) -> GenerationInput:
        """Return answers under steering, which acts on an opening of the answer as well.

        Words that were put before the answer are then read again under it: a policy whose states are moved only
        behind "Sure, here is" rarely takes that back.
        """
        if steering is None:
            return cls(prompt, prefixes, None, temperature_scale, generators)
        before, opening = split_off_opening(prompt)
        return cls(before, [[*opening, *ids] for ids in prefixes], steering, temperature_scale, generators)

    def select_rows(self, rows: Sequence[int]) -> GenerationInput:
        """Return some of the answers, by their numbers."""
        return self._replace(
            prefixes=[self.prefixes[row] for row in rows],
            generators=[self.generators[row] for row in rows],
            steering=self.steering and Steering(self.steering.layer, self.steering.vectors[list(rows)]),
        )


@dataclass(slots=True, eq=False)
class GenerateOp:
    """Let the policy continue answers. The result is the list of the new ids of each answer, for every input.

    Attributes:
        tokens: the largest number of new ids of each answer.
        temperature: of sampling.
        should_continue: called before each token with the number of unfinished answers; False ends all of them.
        ends_with_first: whether the others end when those of the first input have.
    """

    policy: Policy
    inputs: Sequence[GenerationInput]
    tokens: int
    temperature: float
    should_continue: Callable[[int], bool]
    ends_with_first: bool = False

    def start(self) -> list[GenerationState]:
        """Return the state of every input before the first token."""
        return [
            self.policy.start_generation(
                each.prompt,
                each.prefixes,
                tokens=self.tokens if each.max_new_tokens is None else min(self.tokens, each.max_new_tokens),
                temperature=self.temperature * each.temperature_scale,
                generators=each.generators,
                steering=each.steering,
            )
            for each in self.inputs
        ]


ForwardPassOp = ForwardOp | ScorePrefixesOp | ScoreTextsOp | PrefillOp
"""Ops that need one forward pass without a gradient."""
Op = ForwardPassOp | GradientOp | LatentGradientOp | GenerateOp
RequestSteps = Generator[Op, Any, R]
"""The steps of a request, or of a part of one, that return an R."""
