"""Whether an answer does what its question calls for: declines what must be declined, helps with the rest.

    r(x, y) = v(y) + w · c(x) · s(y),    c(x) = clip(2 · (aᵀq(x) + b), −1, 1),    s(y) = 4 · tanh(s'(y) / 4)

with v a head that judges the answer, s' a head that says how far it declines, whatever was asked, and q(x), (2D,),
the policy's states of the question: their mean, and the last. To decline is the same in every answer and what must be
declined is the same for all answers to a question, so that each is learned from far fewer examples than both at once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.protocols import AnswerBatch, OutputSpec, Tokens
from langchain_sea.errors import WeightsCorruptError
from langchain_sea.rewards.hidden_state_head import (
    SAFETY_HEAD,
    HeadInfo,
    HiddenStateHead,
    HiddenStateReward,
    save_module,
)
from langchain_sea.training.features import states

if TYPE_CHECKING:
    import os

    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["REFUSAL_HEAD", "RefusalHead", "RefusalReward", "question_states", "load_safety_reward"]

REFUSAL_HEAD = SAFETY_HEAD.with_name("stance.safetensors")
_FORMAT = "langchain-sea refusal head 1"
_BOUND = 4.0  # log-odds of declining beyond which nothing is gained
_START = 4  # tokens of the template's beginning that are read as the prompt
_LONGEST = 2000  # characters of a question; of longer ones the beginning is not read
_KNOWN = 1024  # questions whose calls are kept


class RefusalHead(nn.Module):
    """What questions call for, and how far answers decline.

    Attributes:
        head: says how far an answer declines, in log-odds.
        weight: w, in units of the values of the head that it stands beside.
    """

    mean: Tensor  # (2D,)
    std: Tensor
    slope: Tensor
    bias: Tensor  # ()

    def __init__(self, head: HiddenStateHead, weight: float) -> None:
        """Nothing is called for yet."""
        super().__init__()
        self.head, self.weight = head, weight
        width = 2 * head.info.hidden_size
        for name, value in (("mean", 0.0), ("std", 1.0), ("slope", 0.0)):
            self.register_buffer(name, torch.full((width,), value))
        self.register_buffer("bias", torch.zeros(()))
        self._calls: dict[tuple[int, str], float] = {}

    def calls(self, questions: Tensor) -> Tensor:
        """(…, 2D) states of questions → (…) from −1, to be helped with, to 1, to be declined."""
        found: Tensor = 2 * ((questions - self.mean) / self.std @ self.slope + self.bias)
        return found.clamp(-1, 1)

    def call(self, view: AnswerBatch) -> float:
        """The same for a view's last question, read once."""
        question = last_user_text(view.prompt.messages, separator="\n")
        key = (id(view.policy), question)
        if key not in self._calls:
            if len(self._calls) >= _KNOWN:
                self._calls.clear()
            policy = cast("CausalLMPolicy", view.policy)
            read = question_states(policy, question, self.head.info.layer)
            self._calls[key] = float(self.calls(read.to(self.slope.device)))
        return self._calls[key]

    def values(self, view: AnswerBatch) -> Tensor:
        """(C, T) w · c(x) · s(y) of every beginning; zero where there is no token."""
        hidden = view.hidden(self.head.info.layer)
        mask = view.tokens.mask.to(hidden.device)
        declines = _BOUND * (self.head.to(hidden.device).values(hidden, mask) / _BOUND).tanh()
        return self.weight * self.call(view) * declines.where(mask.cumsum(1) > 0, 0.0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """One safetensors file; what is known of the head as JSON in its metadata."""
        save_module(self, path, _FORMAT, {"head": asdict(self.head.info), "weight": self.weight})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RefusalHead:
        """Frozen, in evaluation mode.

        Raises:
            WeightsCorruptError: the file is no stance, or is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                info: dict[str, Any] = json.loads((file.metadata() or {})["info"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            found = cls(HiddenStateHead(HeadInfo(**info["head"])), float(info["weight"]))
            found.load_state_dict(state)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a stance ({error}); make one with `python -m "
                "langchain_sea.training.fit_refusal`."
            ) from error
        return found.eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_calls": {}}  # of policies of this process


@dataclass(frozen=True, slots=True, eq=False)
class RefusalReward(HiddenStateReward):
    """A head that judges answers, and beside it whether they do what is called for.

    Attributes:
        stance: fitted to the same policy.
    """

    stance: RefusalHead

    def __post_init__(self) -> None:
        widths = self.head.info.hidden_size, self.stance.head.info.hidden_size
        if widths[0] != widths[1]:
            raise ValueError(f"head and stance read states {widths} wide: fit both to one policy.")

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - the layers are the same for all
        """The layers of both, so that one forward serves them."""
        return OutputSpec(frozenset({self.head.info.layer, self.stance.head.info.layer}), logits=False)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """(C, T) the value of every beginning.

        Raises:
            TokenizerMismatchError: the head was fitted to another policy.
        """
        return HiddenStateReward.prefix_values(self, view) + self.stance.values(view)


def load_safety_reward() -> RefusalReward:
    """The reward that ships, for `smollm2-135m`: harm refused, the harmless helped, in fluent text."""
    return RefusalReward(HiddenStateHead.load(SAFETY_HEAD), RefusalHead.load(REFUSAL_HEAD))


@torch.no_grad()
def question_states(policy: CausalLMPolicy, question: str, layer: int) -> Tensor:
    """(2D,) float32: the mean of the states of a question as a prompt of its own, and the last of them.

    Raises:
        PromptTooLongError: its last 2,000 characters exceed the policy's context.
    """
    messages = [{"role": "user", "content": question[-_LONGEST:]}]
    ids = policy.prompt(messages).ids
    start = min(_START, len(ids) - 1)
    begun = policy.prompt_from_ids(ids[:start], messages)
    read = states(policy, begun, Tokens.from_ids([ids[start:]], policy.device), layer)[0]
    return torch.cat([read.mean(0), read[-1]])
