"""A reward for refusing what should be refused and helping with the rest.

    r(x, y) = v(y) + w · c(x) · s(y),    c(x) = clip(2 · (aᵀq(x) + b), −1, 1),    s(y) = 4 · tanh(s'(y) / 4)

v is a head that scores the answer. s' is a head that says how much the answer is a refusal, whatever the question was.
c says whether the question should be refused; q(x), (2D,), are the policy's states of the question: their mean, and
the last one. Refusals are alike for all questions, and whether to refuse does not depend on the answer. So each part
needs far fewer examples than both at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.protocols import AnswerBatch, OutputSpec, Tokens
from langchain_sea.errors import WeightsCorruptError
from langchain_sea.rewards.hidden_state_head import (
    SAFETY_HEAD,
    HeadInfo,
    HiddenStateHead,
    HiddenStateReward,
    compute_states,
    load_tensors,
    save_module,
)

if TYPE_CHECKING:
    import os

    from langchain_sea.core.policy import Policy
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["REFUSAL_HEAD", "RefusalHead", "RefusalReward", "compute_question_states", "load_safety_reward"]

REFUSAL_HEAD = SAFETY_HEAD.with_name("refusal_head.safetensors")
_FORMAT = "langchain-sea refusal head 1"
_BOUND = 4.0  # log-odds of a refusal beyond which nothing is gained
_START = 4  # tokens of the template's beginning that are read as the prompt
_MAX_CHARACTERS = 2000  # of a question; only the end of a longer one is read
_CACHE_SIZE = 1024  # questions


class RefusalHead(nn.Module):
    """Says which questions should be refused, and how much an answer is a refusal.

    Attributes:
        head: says how much an answer is a refusal, in log-odds.
        weight: w, in units of the values of the head that is used with it.
    """

    mean: Tensor  # (2D,)
    std: Tensor  # (2D,)
    slope: Tensor  # (2D,) a
    bias: Tensor  # () b

    def __init__(self, head: HiddenStateHead, weight: float) -> None:
        """Start with a head for which no question should be refused or helped with: c = 0."""
        super().__init__()
        self.head, self.weight = head, weight
        width = 2 * head.info.hidden_size
        for name, value in (("mean", 0.0), ("std", 1.0), ("slope", 0.0)):
            self.register_buffer(name, torch.full((width,), value))
        self.register_buffer("bias", torch.zeros(()))
        self._cache: dict[tuple[ref[Policy], str], float] = {}

    def question_logits(self, questions: Tensor) -> Tensor:
        """Return 2 · (aᵀq + b), (…), of the states of questions, (…, 2D): positive if they should be refused."""
        return 2 * ((questions - self.mean) / self.std @ self.slope + self.bias)

    def should_refuse(self, view: AnswerBatch) -> float:
        """Return c for the last question of a conversation: from −1, help, to 1, refuse. It is cached."""
        question = last_user_text(view.prompt.messages, separator="\n")
        key = (ref(view.policy), question)  # the id of a dropped policy is given to a later one
        if key not in self._cache:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            policy = cast("CausalLMPolicy", view.policy)
            states = compute_question_states(policy, question, self.head.info.layer)
            self._cache[key] = float(self.question_logits(states.to(self.slope.device)).clamp(-1, 1))
        return self._cache[key]

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """Return w · c(x) · s(y) of every prefix, (C, T); zero where there is no token."""
        hidden = view.hidden(self.head.info.layer)
        mask = view.tokens.mask.to(hidden.device)
        refusal = _BOUND * (self.head.to(hidden.device).prefix_values(hidden, mask) / _BOUND).tanh()
        return self.weight * self.should_refuse(view) * refusal.where(mask.cumsum(1) > 0, 0.0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file with the head's `info` and the weight as JSON in its metadata."""
        save_module(self, path, _FORMAT, {"head": asdict(self.head.info), "weight": self.weight})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RefusalHead:
        """Read a file that `save` wrote; the head is frozen and in evaluation mode.

        Raises:
            WeightsNotFoundError: there is no such file.
            WeightsCorruptError: the file is not a refusal head, or is damaged.
        """
        try:
            info, state = load_tensors(path)
            refusal_head = cls(HiddenStateHead(HeadInfo(**info["head"])), float(info["weight"]))
            refusal_head.load_state_dict(state)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a refusal head ({error}); make one with `python -m "
                "langchain_sea.training.fit_refusal`."
            ) from error
        return refusal_head.eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": {}}  # its keys are policies of this process


@dataclass(frozen=True, slots=True, eq=False)
class RefusalReward(HiddenStateReward):
    """A head that scores answers, plus a `RefusalHead`. It has a gradient.

    Attributes:
        refusal_head: fitted to the same policy as `head`.
    """

    refusal_head: RefusalHead

    def __post_init__(self) -> None:
        widths = self.head.info.hidden_size, self.refusal_head.head.info.hidden_size
        if widths[0] != widths[1]:
            raise ValueError(
                f"head and refusal_head read states of widths {widths}, so they belong to different policies: "
                "fit both to one policy."
            )

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return the states of both layers, so that one forward serves both."""
        return OutputSpec(frozenset({self.head.info.layer, self.refusal_head.head.info.layer}), logits=False)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """Return the value of every prefix, (C, T), differentiable in `view.tokens.soft`.

        Raises:
            TokenizerMismatchError: the head was fitted to another policy.
        """
        return HiddenStateReward.prefix_values(self, view) + self.refusal_head.prefix_values(view)


def load_safety_reward() -> RefusalReward:
    """Load the safety reward that ships for `smollm2-135m`: refuse harm, help otherwise, in fluent text."""
    return RefusalReward(HiddenStateHead.load(SAFETY_HEAD), RefusalHead.load(REFUSAL_HEAD))


def compute_question_states(policy: CausalLMPolicy, question: str, layer: int) -> Tensor:
    """Return the mean of the states of a question as a prompt of its own, and the last state, (2D,) float32.

    Raises:
        PromptTooLongError: its last 2,000 characters exceed the policy's context.
    """
    messages = [{"role": "user", "content": question[-_MAX_CHARACTERS:]}]
    ids = policy.prompt(messages).ids
    start = min(_START, len(ids) - 1)
    prompt = policy.prompt_from_ids(ids[:start], messages)
    states = compute_states(policy, prompt, Tokens.from_ids([ids[start:]], policy.device), layer)[0]
    return torch.cat([states.mean(0), states[-1]])
