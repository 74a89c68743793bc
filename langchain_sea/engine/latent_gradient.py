"""The op for the gradient in the latents: what a request asks for, and how it is computed.

    ∇_z E_{y~π(·|x,z)}[−E(x, y)] = E_y[A(y) · ∇_z log π(y | x, z)]

Shapes: G groups, n draws of each, T positions, D width of the hidden states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.protocols import LOGITS, AnswerBatch, LayerInput, Policy, Prompt, Steering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LatentGradient", "LatentGradientOp"]


class LatentGradient(NamedTuple):
    """The result of a `LatentGradientOp`."""

    gradient: Tensor  # (G, D) mean over a group's draws of A · ∇_z log π(y | x, z)
    divergence: Tensor  # (G,) mean of (log π(y | x, z) − log π(y | x)) per token: an estimate of the KL per token


@dataclass(slots=True, eq=False)
class LatentGradientOp:
    """Compute the gradient in the latents of the expected energy of what is drawn under them.

    It needs the energies of the draws and no gradient of a reward. The result is a `LatentGradient`.

    Attributes:
        answers: G × n draws, those of one group one after another.
        num_known: the first tokens of each answer that were not drawn; they say nothing about the latent.
        latents: (G, D), under which they were drawn.
        layer: to whose input the latents are added.
        temperature: at which they were drawn.
        energies: (G × n,) of the draws.
        nll: (G × n,) nats per token of the draws under the policy without a latent, at temperature 1.
        divergence_weight: β ≥ 0; β times a draw's log π(y | x, z) − log π(y | x) per token is added to its energy.
        advantages: (G, n) energies → (G, n) weights A.
        start: what the layer has read of the draws, without a latent; the layers below need not be run again.
        leaf: the tensor in which the gradient is taken.
    """

    policy: Policy
    prompt: Prompt
    answers: Sequence[Sequence[int]]
    num_known: int
    latents: Tensor
    layer: int
    temperature: float
    energies: Tensor
    nll: Tensor
    divergence_weight: float
    advantages: Callable[[Tensor], Tensor]
    start: LayerInput | None = None
    leaf: Tensor = field(init=False)
    _batch: AnswerBatch = field(init=False)
    _divergence: Tensor = field(init=False)

    def batches(self) -> list[AnswerBatch]:
        """Return the answers that need a forward pass before `objective`, with a graph back to `leaf`."""
        with torch.enable_grad():
            self.leaf = self.latents.detach().requires_grad_()
            rows = self.leaf.repeat_interleave(len(self.answers) // len(self.leaf), 0)
        self._batch = AnswerBatch.from_ids(self.policy, self.prompt, self.answers, LOGITS)
        self._batch.steering, self._batch.temperature = Steering(self.layer, rows), self.temperature
        self._batch.start = self.start
        return [self._batch]

    def objective(self) -> Tensor:
        """Return the mean over each group of A · log π(y | x, z), (G,), with its graph, after the forward pass."""
        with torch.enable_grad():
            mask = self._batch.tokens.mask
            drawn = slice(self.num_known, None)
            log_probs = (self._batch.token_log_probs * mask)[:, drawn].sum(1)
            num_groups = len(self.leaf)
            per_token = log_probs.detach() / mask[:, drawn].sum(1).clamp(min=1) + self.nll
            self._divergence = per_token.view(num_groups, -1).mean(1)
            costs = (self.energies + self.divergence_weight * per_token).view(num_groups, -1)
            weights = self.advantages(costs).to(log_probs)
            return (weights * log_probs.view(num_groups, -1)).mean(1)

    def finish(self, gradient: Tensor) -> LatentGradient:
        """Return the result, after the backward pass."""
        return LatentGradient(gradient, self._divergence)
