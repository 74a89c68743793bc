"""The reward that two stages of one training run imply. Knows policies, and no text.

    r(x, y) = scale · (log π₊(y | x) − log π₋(y | x))          higher is better

with π₊ the trained policy and π₋ what it was trained from: up to a term of x alone and a factor β, the reward
that the training optimised (arXiv 2305.18290, eq. 5).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from langchain_sea.core.lru import LRUCache
from langchain_sea.core.protocols import LOGITS, NOTHING, OutputSpec
from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt
from langchain_sea.models.chat_template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["LogRatioReward", "shared_token_fraction"]

V = TypeVar("V")


class LogRatioReward:
    """How much more likely a trained policy finds an answer than an earlier one; ranks and steers.

    Only the answer's own tokens count: no end token stands in it, so whether the answer is complete is not
    judged. The sum grows with the answer's length, the mean does not.
    """

    is_token_additive = True

    def __init__(
        self,
        expert: CausalLMPolicy,
        early: CausalLMPolicy,
        *,
        reduction: Literal["sum", "mean"] = "sum",
        scale: float = 1.0,
        prompts: int = 64,
    ) -> None:
        """Hold the parts; nothing is computed yet.

        Args:
            expert: π₊.
            early: π₋, with an equal tokenizer. Either may be the policy that writes the answers, and is then
                not run again.
            reduction: the answer's tokens summed or averaged.
            scale: multiplies; negative turns the reward around.
            prompts: how many prompts' states each policy keeps; fewer than are refined at once makes every
                step compute them anew.

        Raises:
            TokenizerMismatchError: the tokenizers give one id different tokens.
        """
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction={reduction!r} must be 'sum' or 'mean'.")
        self.expert, self.early = expert, early
        self.reduction, self.scale = reduction, scale
        _require_equal(expert, early)
        self._prompts: LRUCache[PolicyPrompt] = LRUCache(2 * prompts)
        self._equal: LRUCache[CausalLMPolicy] = LRUCache(prompts)

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:  # noqa: ARG002 - the tokens are the texts'
        """(C,) at least float32, of the view's tokens, which are the texts' own.

        Raises:
            TokenizerMismatchError: the view's policy has another tokenizer.
        """
        return self.score_soft(view)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Both policies' logits, read beside the writer's own."""
        if isinstance(view.policy, CausalLMPolicy):
            policy = view.policy  # kept there, so that no other gets its id
            self._equal.get_or_create(id(policy), lambda: _require_equal(policy, self.expert))
        through = [self._through(policy, view) for policy in (self.expert, self.early)]
        return LOGITS if view in through else NOTHING

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) at least float32; differentiable in `view.tokens.soft`."""
        self.required_outputs(view)
        difference = self._log_prob(self.expert, view) - self._log_prob(self.early, view)  # (C,)
        if self.reduction == "mean":
            difference = difference / view.tokens.mask.sum(-1).clamp(min=1)
        return self.scale * difference

    def _through(self, policy: CausalLMPolicy, view: AnswerBatch) -> AnswerBatch:
        return view.read_by(policy, partial(self._prompt, policy, view))

    def _log_prob(self, policy: CausalLMPolicy, view: AnswerBatch) -> Tensor:
        """Σₜ log π(yₜ | x, y₍<t₎), (C,), on the tokens' device."""
        read = self._through(policy, view)
        found = read.output.log_probs(read.tokens) * read.tokens.mask
        return found.sum(-1).to(view.tokens.soft.device)

    def _prompt(self, policy: CausalLMPolicy, view: AnswerBatch) -> PolicyPrompt:
        """The view's prompt as `policy` reads it: the same ids, so tools and template are the writer's."""

        def build() -> PolicyPrompt:
            whole = view.prompt
            if not isinstance(whole, PolicyPrompt):
                return policy.prompt(whole.messages)
            key = policy is self.expert, whole.ids
            begun = self._prompts.get_or_create(key, lambda: policy.prompt_from_ids(whole.ids, whole.messages))
            return policy.prefill(begun, whole.answer, LOGITS)

        return self._prompts.get_or_create((policy is self.expert, view.prompt.key), build)


def shared_token_fraction(policy: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> float:
    """The share of a policy's answer ids, all but the special ones, that are the same token in `other`."""
    special = ChatTemplate(policy).special
    usable = {i: token for token, i in policy.get_vocab().items() if i not in special}
    theirs = {i: token for token, i in other.get_vocab().items()}
    return sum(theirs.get(i) == token for i, token in usable.items()) / max(1, len(usable))


def _require_equal(policy: CausalLMPolicy, other: CausalLMPolicy) -> CausalLMPolicy:
    """`policy`, if its tokenizer is the other's too."""
    same = policy.tokenizer is other.tokenizer
    if not same and (share := shared_token_fraction(policy.tokenizer, other.tokenizer)) < 1:
        raise TokenizerMismatchError(
            f"only {share:.1%} of the ids of {policy.tokenizer.name_or_path!r} are the same tokens in "
            f"{other.tokenizer.name_or_path!r}, and an implicit reward reads the writer's ids; take both "
            "policies, and the one that writes, from one family."
        )
    return policy
