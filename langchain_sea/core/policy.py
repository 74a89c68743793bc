"""What the engine asks of a policy, the language model that writes: protocols and the values they exchange.

Shapes: C chains of one prompt, T positions, K candidates, V vocabulary, D hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from langchain_sea.core.tokens import ALL, OutputSpec, Tokens
from langchain_sea.sampling.relaxation import top_support

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

__all__ = [
    "DenseModelOutput",
    "ForwardRequest",
    "GenerationState",
    "Grammar",
    "GrammarMatcher",
    "KeepsLayerInputs",
    "LayerInput",
    "ModelOutput",
    "Policy",
    "Prompt",
    "Steering",
    "SteeringVector",
]

OwnPrompt: TypeAlias = Any
"""A `Prompt` that the same policy has made; a policy does not accept those of another one."""


class ModelOutput(Protocol):
    """What the policy computed for `Tokens` after a prompt: row t of the logits predicts the token at t.

    Logits and candidates are those of the tokens after the prompt's own `answer`; all else is of all tokens.
    """

    @property
    def logits(self) -> Tensor:
        """(C, T, V), at least float32."""

    @property
    def hidden(self) -> Mapping[int, Tensor] | Sequence[Tensor]:
        """(C, T, D) for each layer (0: the embeddings), at least float32: the state at the token of t."""

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Return Σₖ softₖ · log π(k), (C, T); differentiable in `tokens.soft`."""

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest ids at each position and their log π, (C, T, K) each.

        Args:
            ids: (C, T) the ids that come first, whatever their probability.
            size: K.
            banned: (V,) bool: ids that come last.
        """


class DenseModelOutput(NamedTuple):
    """A `ModelOutput` that holds all its logits."""

    all_logits: Tensor  # (C, T, V) of all tokens
    hidden: tuple[Tensor, ...] = ()  # (C, T, D) for each layer
    num_prefilled: int = 0  # tokens of the prompt's own answer

    @property
    def logits(self) -> Tensor:
        """(C, T, V) of the tokens after the prompt's answer."""
        return self.all_logits[:, self.num_prefilled :]

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Return Σₖ softₖ · log π(k), (C, T)."""
        return tokens.log_probs(self.all_logits)

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest ids at each position and their log π; see `ModelOutput.candidates`."""
        log_pi = self.logits.log_softmax(-1)
        support = top_support(log_pi.masked_fill(banned, -torch.finfo(log_pi.dtype).max), ids, size)
        return support, log_pi.gather(-1, support)


class GrammarMatcher(Protocol):
    """The state of one answer in a grammar, as in llguidance's `LLMatcher`."""

    def allowed_mask(self) -> Tensor:
        """Return (V,) bool: the tokens that may come next, an end token where the answer may end."""

    def constrain(self, logits: Tensor) -> Tensor:
        """Return the logits, (V,), with −∞ for tokens that may not come next; others may gain their weight."""

    def consume_token(self, token: int) -> None:
        """Advance by an allowed token."""


class Grammar(Protocol):
    """The set of answers that are allowed."""

    def matcher(self, prefix: Sequence[int] = ()) -> GrammarMatcher:
        """Return the state of an answer that begins with `prefix`."""

    def is_complete(self, ids: Sequence[int]) -> bool:
        """Return whether the ids are a complete answer."""

    def allowed_candidates(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """Return which candidates may replace a token of a complete answer, one at a time.

        Args:
            ids: T ids of a complete answer.
            support: (T, K) candidate ids at each position.

        Returns:
            (T, K) bool.
        """

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """Return a short completion of `ids`, these included; None if it needs more than `max_new_tokens`."""


class Prompt(Protocol):
    """A prompt as its policy prepared it; the engine does not look inside."""

    @property
    def key(self) -> Hashable:
        """Equal for equal content; it seeds the chains' generators."""

    @property
    def messages(self) -> Sequence[dict[str, Any]]:
        """The conversation, as template dicts."""

    @property
    def answer(self) -> Sequence[int]:
        """The ids of the answer that the policy has read already; see `Policy.prefill`."""

    @property
    def before_opening(self) -> Prompt | None:
        """The prompt without the words that were put before the answer; None if there are none."""

    @property
    def opening(self) -> Sequence[int]:
        """The ids of the words that were put before the answer, such as "Sure, here is"."""

    @property
    def has_grammar(self) -> bool:
        """Whether a grammar limits the answer. Then whole answers are drawn, and no step leaves the grammar."""

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """Return a complete answer that begins with `ids`; see `Grammar.complete`."""

    def allowed_candidates(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """Return which candidates may replace a token of a complete answer; see `Grammar`."""


class SteeringVector(NamedTuple):
    """The direction in which a policy's hidden states differ between good answers and bad ones.

    The sign is not fixed: either end may be the good one.
    """

    layer: int  # as in `ModelOutput.hidden`
    direction: Tensor  # (D,), about as long as the states there


class Steering(NamedTuple):
    """What is added to the hidden states of answers, at the last token of the prompt and at every token after it."""

    layer: int
    vectors: Tensor  # (C, D)


class LayerInput(NamedTuple):
    """What a layer has read of answers, so that a later forward pass over them can begin there."""

    layer: int
    states: Tensor  # (C, 1 + T, D) of the token before the answers and of their tokens


@runtime_checkable
class KeepsLayerInputs(Protocol):
    """A `ModelOutput` that can give what its layers have read."""

    def layer_input(self, layer: int) -> LayerInput:
        """Return what a requested layer has read."""


class ForwardRequest(NamedTuple):
    """Answers to read in a forward pass, and what will be looked at.

    `steering` is added to the states of the answers. `temperature` divides the logits of every log-probability.
    `start` is what a layer has read of them before; the pass then begins there.
    """

    prompt: OwnPrompt
    tokens: Tokens
    output_spec: OutputSpec = ALL
    steering: Steering | None = None
    temperature: float = 1.0
    start: LayerInput | None = None


class GenerationState(Protocol):
    """Answers to one prompt while they are generated."""

    written: list[list[int]]  # the new ids of each answer

    @property
    def num_unfinished(self) -> int:
        """How many answers go on."""


class Policy(Protocol):
    """The frozen model that writes the drafts. It is never trained, and it knows no reward.

    It reads and writes for many prompts at once. Each gets what it would get alone.
    """

    banned: Tensor  # (V,) bool: ids that an answer must not contain
    device: torch.device
    end_ids: frozenset[int]  # each ends an answer

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""

    @property
    def replays_graphs(self) -> bool:
        """Whether a GPU replays its passes as graphs, beside which the rewards run."""

    def forward_all(self, asks: Sequence[ForwardRequest]) -> list[ModelOutput]:
        """Run one forward pass over all answers, each after its prompt.

        It is differentiable in `tokens.soft` and in `steering.vectors`.
        """

    def start_generation(
        self,
        prompt: OwnPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        steering: Steering | None = None,
    ) -> GenerationState:
        """Prepare answers that begin with the prefixes, each until it ends or has `tokens` new ids."""

    def generate_step(self, writings: Sequence[Any]) -> None:
        """Add one token to every unfinished answer of each state."""

    def prefill(self, prompt: OwnPrompt, ids: Sequence[int], output_spec: OutputSpec) -> OwnPrompt:
        """Return the prompt with `ids` added to its answer, read once.

        `output_spec` says which outputs of these ids will be looked at later.
        """

    def room_after(self, prompt: OwnPrompt) -> int | None:
        """Return how many ids of an answer it can read after this prompt; None: there is no limit."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of an answer's text: special tokens as plain text, no begin or end tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids."""
