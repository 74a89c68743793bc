"""Answers as the rewards see them, and the protocols of rewards. The policy's protocols can be imported here, too.

Shapes: C chains of one prompt, T positions, D hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from langchain_sea.core.policy import (
    DenseModelOutput,
    ForwardRequest,
    GenerationState,
    Grammar,
    GrammarMatcher,
    KeepsLayerInputs,
    LayerInput,
    ModelOutput,
    Policy,
    Prompt,
    Steering,
    SteeringVector,
)
from langchain_sea.core.tokens import ALL, LOGITS, NOTHING, OutputSpec, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = [
    "ALL",
    "LOGITS",
    "NOTHING",
    "AnswerBatch",
    "DeclaresOutputs",
    "DenseModelOutput",
    "DifferentiableReward",
    "DraftDependent",
    "ForwardRequest",
    "GenerationState",
    "Grammar",
    "GrammarMatcher",
    "HasSteeringVector",
    "KeepsLayerInputs",
    "LayerInput",
    "ModelOutput",
    "OutputSpec",
    "Policy",
    "Prompt",
    "Reward",
    "ScoresPrefixes",
    "Steering",
    "SteeringVector",
    "TokenAdditive",
    "Tokens",
]


class AnswerBatch:
    """Answers to one prompt and what the policy computes for them, at most once and only if it is needed.

    Attributes:
        policy: the policy that reads the answers.
        prompt: the prompt that they answer.
        tokens: the answers, relaxed or as ids, those that the prompt holds already included.
        output_spec: what of the policy's output will be looked at; callers may widen it before the forward pass.
        steering: added to the answers' states. None: nothing.
        temperature: divides the policy's logits.
        start: what a layer has read of the answers before. None: nothing.
    """

    def __init__(self, policy: Policy, prompt: Prompt, tokens: Tokens, output_spec: OutputSpec = ALL) -> None:
        """Hold the parts; nothing is computed yet."""
        self.policy, self.prompt, self.tokens, self.output_spec = policy, prompt, tokens, output_spec
        self.steering: Steering | None = None
        self.temperature = 1.0
        self.start: LayerInput | None = None
        self._output: ModelOutput | None = None
        self._token_log_probs: Tensor | None = None
        self._other_readers: dict[int, AnswerBatch] = {}

    @classmethod
    def from_ids(
        cls, policy: Policy, prompt: Prompt, answers: Sequence[Sequence[int]], output_spec: OutputSpec = ALL
    ) -> AnswerBatch:
        """Return a batch of answers that are given as ids."""
        return cls(policy, prompt, Tokens.from_ids(answers, policy.device), output_spec)

    @property
    def nll(self) -> Tensor:
        """Nats per token under the policy, (C,)."""
        return -self.tokens.mean(self.token_log_probs)

    @property
    def token_log_probs(self) -> Tensor:
        """Log π of each token, (C, T); values at padding have no meaning."""
        if self._token_log_probs is None:
            self._token_log_probs = self.output.log_probs(self.tokens)
        return self._token_log_probs

    @torch.no_grad()
    def compute_surprises(self, start: int = 0) -> list[tuple[float, float]]:
        """Return for each answer −log π of its most surprising token and of its first one, in nats; 0 without tokens.

        Args:
            start: tokens before this one do not count.
        """
        surprise = -self.token_log_probs.masked_fill(~self.tokens.mask, 0)[:, start:]
        if not surprise.shape[1]:
            return [(0.0, 0.0)] * len(surprise)
        return list(zip(surprise.amax(1).tolist(), surprise[:, 0].tolist(), strict=True))

    @property
    def needs_gradient(self) -> bool:
        """Whether a gradient is taken in the tokens or in the steering vectors."""
        steering = self.steering
        return self.tokens.soft.requires_grad or (steering is not None and steering.vectors.requires_grad)

    def forward_request(self) -> ForwardRequest:
        """Return what the policy is asked for."""
        return ForwardRequest(self.prompt, self.tokens, self.output_spec, self.steering, self.temperature, self.start)

    def layer_input(self, layer: int) -> LayerInput | None:
        """Return what a requested layer has read; None if the policy does not keep that."""
        return self.output.layer_input(layer) if isinstance(self.output, KeepsLayerInputs) else None

    @property
    def is_computed(self) -> bool:
        """Whether `output` has been computed."""
        return self._output is not None

    @property
    def output(self) -> ModelOutput:
        """The policy's output. If nobody has set it, a forward pass computes all of it."""
        if self._output is None:
            self._output = self._forward(ALL)
        return self._output

    @output.setter
    def output(self, output: ModelOutput) -> None:
        self._output = output

    def hidden(self, layer: int) -> Tensor:
        """Return the policy's states of a layer, (C, T, D); a layer outside `output_spec` costs a forward pass."""
        states = self.output.hidden
        if layer not in (states if isinstance(states, dict) else range(len(states))):
            states = self._forward(OutputSpec(frozenset({layer}), logits=False)).hidden
        return states[layer]

    def _forward(self, output_spec: OutputSpec) -> ModelOutput:
        return self.policy.forward_all([ForwardRequest(self.prompt, self.tokens, output_spec)])[0]

    def read_by(
        self, policy: Policy, make_prompt: Callable[[], Prompt], output_spec: OutputSpec = LOGITS
    ) -> AnswerBatch:
        """Return the same tokens as a batch of another policy; it is made at the first call and kept.

        Args:
            policy: the other policy, which must have the same vocabulary.
            make_prompt: called once for the other policy's prompt.
            output_spec: what of its output will be looked at.
        """
        if policy is self.policy:
            return self
        key = id(policy)
        if key not in self._other_readers:
            tokens = Tokens(*(part.to(policy.device) for part in self.tokens))
            self._other_readers[key] = AnswerBatch(policy, make_prompt(), tokens, output_spec)
        return self._other_readers[key]

    def all_batches(self) -> list[AnswerBatch]:
        """Return this batch and those of other policies that `read_by` has made."""
        return [self, *self._other_readers.values()]


@runtime_checkable
class Reward(Protocol):
    """Scores texts; higher is better."""

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,) float32. `view` holds the ids of the texts, decoded and encoded again."""


@runtime_checkable
class DifferentiableReward(Reward, Protocol):
    """A reward that can also guide the chains: its soft score is differentiable in `view.tokens.soft`."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores of relaxed answers, (C,) float32."""


@runtime_checkable
class HasSteeringVector(Protocol):
    """A reward that knows in which direction the policy's states differ between good and bad answers."""

    steering_vector: SteeringVector | None


@runtime_checkable
class TokenAdditive(Protocol):
    """A reward that is a sum, or a mean, of one value for each token given those before it."""

    is_token_additive: bool


@runtime_checkable
class ScoresPrefixes(Protocol):
    """A reward with a gradient whose value of an answer's first tokens says something about the whole answer."""

    scores_prefixes: bool


@runtime_checkable
class DraftDependent(Protocol):
    """A reward that depends on the drafts of the prompt, for example on what most of them agree on."""

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> Reward:
        """Return the reward for this prompt: `texts` are its drafts, and `view` holds their ids."""


@runtime_checkable
class DeclaresOutputs(Protocol):
    """A reward that declares which outputs it reads, so that one forward pass serves all rewards."""

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return what it reads of `view.output`. Other policies are requested here by `view.read_by`."""
