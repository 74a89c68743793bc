"""The reward that two stages of one training run imply: the log-likelihood ratio of their policies.

    r(x, y) = scale · (log π₊(y | x) − log π₋(y | x))          higher is better

where π₊ is the trained policy and π₋ the policy it was trained from. Up to a factor β and a term of x alone, this
is the reward that the training optimised (arXiv 2305.18290, eq. 5).

The ratio is large for tokens that neither policy would write and π₋ even less. Contrastive decoding forbids such tokens
(arXiv 2210.15097, eq. 3). Here −log π₋ of a token counts up to a limit, which keeps a gradient everywhere:

    r(x, y) = scale · Σₜ (log π₊(yₜ | x, y₍<t₎) − max(log π₋(yₜ | x, y₍<t₎), −max_early_surprise))
"""

from __future__ import annotations

import math
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
    """How much more likely an answer is under a trained policy than under an earlier one. It has a gradient.

    Only the answer's own tokens count, without an end token, so the reward does not say whether an answer is complete.
    The sum grows with the length of the answer, the mean does not.
    """

    is_token_additive = True

    def __init__(
        self,
        expert: CausalLMPolicy,
        early: CausalLMPolicy,
        *,
        reduction: Literal["sum", "mean"] = "sum",
        scale: float = 1.0,
        max_early_surprise: float = math.inf,
        prompts: int = 64,
    ) -> None:
        """Compute nothing yet.

        Args:
            expert: π₊.
            early: π₋, with an equal tokenizer. If one of them is the policy that writes the answers, its forward pass
                is shared.
            reduction: the sum or the mean over the answer's tokens.
            scale: a factor; a negative one reverses the reward.
            max_early_surprise: −log π₋ of one token counts up to so many nats. A limit keeps the search from texts that
                neither policy would write; without one the reward is the plain ratio.
            prompts: the number of prompts whose states each policy caches. If more are refined at once, every step
                computes the states again.

        Raises:
            TokenizerMismatchError: the tokenizers give one id different tokens.
        """
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction={reduction!r} must be 'sum' or 'mean'.")
        if not max_early_surprise > 0:
            raise ValueError(f"max_early_surprise={max_early_surprise} must be a positive number of nats.")
        self.expert, self.early = expert, early
        self.reduction, self.scale, self.max_early_surprise = reduction, scale, max_early_surprise
        _require_equal(expert, early)
        self._prompts: LRUCache[PolicyPrompt] = LRUCache(2 * prompts)
        self._equal: LRUCache[CausalLMPolicy] = LRUCache(prompts)

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), at least float32; `view` holds the tokens of the texts.

        Raises:
            TokenizerMismatchError: the view's policy has another tokenizer.
        """
        return self.score_soft(view)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return the logits, if one of the policies writes the answers; else nothing."""
        if isinstance(view.policy, CausalLMPolicy):
            policy = view.policy  # cached, so that no other policy can get its id
            self._equal.get_or_create(id(policy), lambda: _require_equal(policy, self.expert))
        through = [self._through(policy, view) for policy in (self.expert, self.early)]
        return LOGITS if view in through else NOTHING

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores, (C,), at least float32, differentiable in `view.tokens.soft`."""
        self.required_outputs(view)
        early = self._log_probs(self.early, view).clamp(min=-self.max_early_surprise)  # (C, T)
        difference = ((self._log_probs(self.expert, view) - early) * view.tokens.mask).sum(-1)  # (C,)
        if self.reduction == "mean":
            difference = difference / view.tokens.mask.sum(-1).clamp(min=1)
        return self.scale * difference

    def _through(self, policy: CausalLMPolicy, view: AnswerBatch) -> AnswerBatch:
        return view.read_by(policy, partial(self._prompt, policy, view))

    def _log_probs(self, policy: CausalLMPolicy, view: AnswerBatch) -> Tensor:
        """Return log π(yₜ | x, y₍<t₎), (C, T), on the tokens' device."""
        read = self._through(policy, view)
        return read.output.log_probs(read.tokens).to(view.tokens.soft.device)

    def _prompt(self, policy: CausalLMPolicy, view: AnswerBatch) -> PolicyPrompt:
        """Return the prompt for `policy`, with the same ids, so that tools and template are the writer's."""

        def build() -> PolicyPrompt:
            whole = view.prompt
            if not isinstance(whole, PolicyPrompt):
                return policy.prompt(whole.messages)
            key = policy is self.expert, whole.ids
            prompt = self._prompts.get_or_create(key, lambda: policy.prompt_from_ids(whole.ids, whole.messages))
            return policy.prefill(prompt, whole.answer, LOGITS)

        return self._prompts.get_or_create((policy is self.expert, view.prompt.key), build)


def shared_token_fraction(policy: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> float:
    """Return the fraction of a policy's ids, without the special ones, that are the same token in `other`."""
    special = ChatTemplate(policy).special
    usable = {i: token for token, i in policy.get_vocab().items() if i not in special}
    theirs = {i: token for token, i in other.get_vocab().items()}
    return sum(theirs.get(i) == token for i, token in usable.items()) / max(1, len(usable))


def _require_equal(policy: CausalLMPolicy, other: CausalLMPolicy) -> CausalLMPolicy:
    """Return `policy`, if its tokenizer equals the other's; else raise a `TokenizerMismatchError`."""
    same = policy.tokenizer is other.tokenizer
    if not same and (share := shared_token_fraction(policy.tokenizer, other.tokenizer)) < 1:
        raise TokenizerMismatchError(
            f"only {share:.1%} of the ids of {policy.tokenizer.name_or_path!r} are the same tokens in "
            f"{other.tokenizer.name_or_path!r}, and a log ratio reads the ids of the policy that writes; "
            "take both policies, and the one that writes, from one family."
        )
    return policy
