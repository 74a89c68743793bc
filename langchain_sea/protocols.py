"""What the parts say to each other: tokens, readings, the protocols of policy and reward. No network.

Shapes: C chains of one prompt, T positions, K candidates, V vocabulary, D hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence


class Tokens(NamedTuple):
    """Answers to one prompt, relaxed or hard, on a support. Padding on the right has mask False."""

    soft: Tensor  # (C, T, K) rows that sum to one
    support: Tensor  # (C, T, K) vocabulary ids
    mask: Tensor  # (C, T) bool

    @classmethod
    def hard(cls, answers: Sequence[Sequence[int]], device: torch.device | None = None) -> Tokens:
        """Plain ids as one-hot tokens on a support of one; an empty answer is one masked position."""
        width = max(1, *(len(ids) for ids in answers))
        rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in answers], device=device)
        lengths = torch.tensor([len(ids) for ids in answers], device=device)
        mask = torch.arange(width, device=device) < lengths[:, None]
        return cls(torch.ones(*rows.shape, 1, device=device), rows[..., None], mask)

    @property
    def ids(self) -> Tensor:
        """(C, T) the most weighted candidate."""
        return self.support.gather(-1, self.soft.argmax(-1, keepdim=True)).squeeze(-1)

    def log_probs(self, policy_logits: Tensor) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T), from (C, T, V) logits of at least float32."""
        chosen = policy_logits.gather(-1, self.support)
        return (self.soft * chosen).sum(-1) - policy_logits.logsumexp(-1)

    def nll(self, policy_logits: Tensor) -> Tensor:
        """Nats per token, (C,): the mean over each answer's unmasked positions, 0 where there are none."""
        total = self.log_probs(policy_logits).masked_fill(~self.mask, 0).sum(-1)
        return -total / self.mask.sum(-1).clamp(min=1)


class Reading(NamedTuple):
    """What the policy computed while reading `Tokens` after a prompt."""

    logits: Tensor  # (C, T, V), at least float32: row t predicts the token at t
    hidden: tuple[Tensor, ...]  # per layer (0: the embeddings), (C, T, D): the state at the token of t


class Prompt(Protocol):
    """A prompt as its policy prepared it: opaque to the engine but for its identity."""

    @property
    def key(self) -> Hashable:
        """Equal for equal content: seeds the chains' generators."""

    @property
    def messages(self) -> Sequence[dict[str, Any]]:
        """The conversation, as template dicts."""


class Policy(Protocol):
    """The frozen model that writes the drafts. It never trains and knows no reward."""

    banned: Tensor  # (V,) bool: ids that never stand inside an answer
    device: torch.device

    def read(self, prompt: Any, tokens: Tokens) -> Reading:  # noqa: ANN401 - each policy's own Prompt type
        """One forward of the answers after the prompt's cached states; differentiable in `tokens.soft`."""

    def extend(
        self,
        prompt: Any,  # noqa: ANN401 - each policy's own Prompt type
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        go_on: Callable[[int], bool],
    ) -> list[list[int]]:
        """The new ids of each prefix, until it ends, `tokens` are written, or `go_on(rows)` is false."""

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids."""


class View:
    """Answers to one prompt with the policy's reading of them, computed once and only if asked for."""

    def __init__(self, policy: Policy, prompt: Prompt, tokens: Tokens) -> None:
        """Hold the parts; nothing is computed yet."""
        self.policy, self.prompt, self.tokens = policy, prompt, tokens
        self._reading: Reading | None = None

    @classmethod
    def hard(cls, policy: Policy, prompt: Prompt, answers: Sequence[Sequence[int]]) -> View:
        """Answers as plain ids."""
        return cls(policy, prompt, Tokens.hard(answers, policy.device))

    @property
    def nll(self) -> Tensor:
        """Nats per token under the policy, (C,)."""
        return self.tokens.nll(self.reading.logits)

    @property
    def reading(self) -> Reading:
        """The policy's logits and hidden states."""
        if self._reading is None:
            self._reading = self.policy.read(self.prompt, self.tokens)
        return self._reading


class Reward(Protocol):
    """Ranks and gates texts; higher is better."""

    def score(self, view: View, texts: Sequence[str]) -> Tensor:
        """(C,) float32. `view` holds the texts' own ids after decoding and encoding again."""


@runtime_checkable
class SoftReward(Reward, Protocol):
    """A reward that also steers: differentiable in `view.tokens.soft`."""

    def steer(self, view: View) -> Tensor:
        """(C,) float32."""
