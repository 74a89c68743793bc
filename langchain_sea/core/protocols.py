"""What the parts say to each other: readings, the protocols of policy and reward. No network.

Shapes: C chains of one prompt, T positions, K candidates, V vocabulary, D hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from langchain_sea.core.tokens import ALL, LOGITS, NOTHING, OutputSpec, Tokens
from langchain_sea.sampling.relaxation import top_support

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence


__all__ = [
    "ALL",
    "LOGITS",
    "NOTHING",
    "ForwardRequest",
    "DeclaresOutputs",
    "DenseModelOutput",
    "Policy",
    "Prompt",
    "ModelOutput",
    "DraftDependent",
    "Reward",
    "DifferentiableReward",
    "Tokens",
    "AnswerBatch",
    "OutputSpec",
    "GenerationState",
]


class ModelOutput(Protocol):
    """What the policy computed of `Tokens` after a prompt: row t of the logits predicts the token at t.

    Logits and candidates are those of the tokens after the prompt's own `answer`, all else is of all tokens.
    """

    @property
    def logits(self) -> Tensor:
        """(C, T, V), at least float32."""

    @property
    def hidden(self) -> Mapping[int, Tensor] | Sequence[Tensor]:
        """Per layer (0: the embeddings), (C, T, D), at least float32: the state at the token of t."""

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T); differentiable in `tokens.soft`."""

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest ids a position and their log π, (C, T, K): `ids`, (C, T), first, banned last."""


class DenseModelOutput(NamedTuple):
    """A reading that holds all its logits."""

    all_logits: Tensor  # (C, T, V) of all tokens
    hidden: tuple[Tensor, ...] = ()  # (C, T, D) each
    num_prefilled: int = 0  # tokens of the prompt's own answer

    @property
    def logits(self) -> Tensor:
        """(C, T, V) of the tokens after the prompt's answer."""
        return self.all_logits[:, self.num_prefilled :]

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T)."""
        return tokens.log_probs(self.all_logits)

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """As the protocol says."""
        log_pi = self.logits.log_softmax(-1)
        support = top_support(log_pi.masked_fill(banned, -torch.finfo(log_pi.dtype).max), ids, size)
        return support, log_pi.gather(-1, support)


class Prompt(Protocol):
    """A prompt as its policy prepared it: opaque to the engine but for its identity."""

    @property
    def key(self) -> Hashable:
        """Equal for equal content: seeds the chains' generators."""

    @property
    def messages(self) -> Sequence[dict[str, Any]]:
        """The conversation, as template dicts."""

    @property
    def answer(self) -> Sequence[int]:
        """What of the answer stands already, and need not be read again: see `Policy.prefill`."""

    @property
    def has_grammar(self) -> bool:
        """Whether a grammar bounds the answer; then it is drawn whole, and no step leaves the grammar."""

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """A whole answer of these and at most so many more; None where there is none."""

    def allowed_candidates(self, ids: Sequence[int], support: Tensor) -> Tensor:
        """(T, K) bool: which candidates may take the place of one of a whole answer's T ids."""


class ForwardRequest(NamedTuple):
    """A reading that is wanted."""

    prompt: Any  # the policy's own Prompt type
    tokens: Tokens
    output_spec: OutputSpec = ALL


class SteeringVector(NamedTuple):
    """Along what a policy's states differ between good answers and bad ones; which end is good depends."""

    layer: int  # as in `ModelOutput.hidden`
    direction: Tensor  # (D,), about as long as the states there


class Steering(NamedTuple):
    """What is added to the states of answers while they are written."""

    layer: int
    vectors: Tensor  # (C, D)


class GenerationState(Protocol):
    """Answers to one prompt that are being written."""

    written: list[list[int]]

    @property
    def num_unfinished(self) -> int:
        """How many still go on; none when all are done."""


class Policy(Protocol):
    """The frozen model that writes the drafts. It never trains and knows no reward.

    It reads and writes for many prompts at once, for each as it would alone.
    """

    banned: Tensor  # (V,) bool: ids that never stand inside an answer
    device: torch.device

    def forward_all(self, asks: Sequence[ForwardRequest]) -> list[ModelOutput]:
        """One forward of all answers, each after its prompt's states; differentiable in `tokens.soft`."""

    def start_generation(
        self,
        prompt: Any,  # noqa: ANN401 - each policy's own Prompt type
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        steering: Steering | None = None,
    ) -> GenerationState:
        """Answers begun with these prefixes, to be written until they end or have `tokens` new ids."""

    def generate_step(self, writings: Sequence[Any]) -> None:
        """One token more in every row of each."""

    def prefill(self, prompt: Any, ids: Sequence[int], output_spec: OutputSpec) -> Any:  # noqa: ANN401 - as above
        """The prompt with more of the answer behind it, read once; `output_spec` is what will be looked at."""

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids."""


class AnswerBatch:
    """Answers to one prompt with the policy's reading of them, computed once and only if asked for."""

    def __init__(self, policy: Policy, prompt: Prompt, tokens: Tokens, output_spec: OutputSpec = ALL) -> None:
        """Hold the parts; nothing is computed yet."""
        self.policy, self.prompt, self.tokens, self.output_spec = policy, prompt, tokens, output_spec
        self._output: ModelOutput | None = None
        self._readers: dict[int, AnswerBatch] = {}

    @classmethod
    def from_ids(
        cls, policy: Policy, prompt: Prompt, answers: Sequence[Sequence[int]], output_spec: OutputSpec = ALL
    ) -> AnswerBatch:
        """Answers as plain ids."""
        return cls(policy, prompt, Tokens.from_ids(answers, policy.device), output_spec)

    @property
    def nll(self) -> Tensor:
        """Nats per token under the policy, (C,)."""
        return -self.tokens.mean(self.output.log_probs(self.tokens))

    @property
    def is_computed(self) -> bool:
        """Whether the reading is there."""
        return self._output is not None

    @property
    def output(self) -> ModelOutput:
        """What the policy computed: what was foreseen in `output_spec`, else all of it."""
        if self._output is None:
            self._output = self._read(ALL)
        return self._output

    @output.setter
    def output(self, output: ModelOutput) -> None:
        self._output = output

    def hidden(self, layer: int) -> Tensor:
        """(C, T, D) the policy's states of a layer, read anew if nobody foresaw that it is wanted."""
        found = self.output.hidden
        if layer not in (found if isinstance(found, dict) else range(len(found))):
            found = self._read(OutputSpec(frozenset({layer}), logits=False)).hidden
        return found[layer]

    def _read(self, output_spec: OutputSpec) -> ModelOutput:
        return self.policy.forward_all([ForwardRequest(self.prompt, self.tokens, output_spec)])[0]

    def read_by(
        self, policy: Policy, prompt: Callable[[], Prompt], output_spec: OutputSpec = LOGITS
    ) -> AnswerBatch:
        """The same tokens as another policy reads them, after the prompt that is made at the first asking."""
        if policy is self.policy:
            return self
        key = id(policy)
        if key not in self._readers:
            tokens = Tokens(*(part.to(policy.device) for part in self.tokens))
            self._readers[key] = AnswerBatch(policy, prompt(), tokens, output_spec)
        return self._readers[key]

    def all_batches(self) -> list[AnswerBatch]:
        """Itself and all through which its tokens are read."""
        return [self, *self._readers.values()]


class Reward(Protocol):
    """Ranks and gates texts; higher is better."""

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) float32. `view` holds the texts' own ids after decoding and encoding again."""


@runtime_checkable
class DifferentiableReward(Reward, Protocol):
    """A reward that also steers: differentiable in `view.tokens.soft`."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) float32."""


@runtime_checkable
class HasSteeringVector(Protocol):
    """A reward that knows along what the policy's states differ between good answers and bad ones."""

    steering_vector: SteeringVector | None


@runtime_checkable
class TokenAdditive(Protocol):
    """A reward that is a sum, or a mean, of what each token brings given those before it."""

    is_token_additive: bool


@runtime_checkable
class DraftDependent(Protocol):
    """A reward that depends on the drafts of the prompt, as what most of them agree on does."""

    def fit_to_drafts(self, view: AnswerBatch, texts: Sequence[str]) -> Reward:
        """The reward for this prompt: `texts` are its drafts, the view holds their ids."""


@runtime_checkable
class DeclaresOutputs(Protocol):
    """A reward that says beforehand what it will look at, so that one forward serves all who look."""

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """What of the view's own reading it wants; other policies it asks through `view.read_by` here."""
