"""A sequence-classification model as a reward: it reads the conversation with its answer. Knows no policy.

It must be causal with a `score` head on its last hidden states, as `…ForSequenceClassification` of Llama,
Qwen, Mistral, Gemma, Phi or GPT-2 are; an encoder is an `EncoderReward`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.core.protocols import NOTHING, OutputSpec
from langchain_sea.errors import ChatTemplateError, TokenizerMismatchError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.soft_embeddings import widened
from langchain_sea.rewards.labels import Labels, Output, label_rule
from langchain_sea.rewards.log_ratio import equal_share
from langchain_sea.rewards.templated import LastHidden, TemplatedModel, once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["RewardModel", "SoftRewardModel", "fits", "reward_model"]

# on a line of its own, which Jinja drops: a reward reads a finished answer, and none begins after it
_NO_ANSWER_BEGINS = "{% set add_generation_prompt = false %}\n"


def reward_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    steers: bool | None = None,
    **options: Any,
) -> RewardModel:
    """A `SoftRewardModel` if the policy's ids are the same tokens to this model, else a `RewardModel`.

    Args:
        model: see `RewardModel`, as for `tokenizer` and `options`.
        tokenizer: the model's.
        policy_tokenizer: the policy's; without it the two cannot be compared, and the reward only ranks.
        steers: True raises where it cannot steer, False asks for ranking only, None decides and warns.
        options: as `RewardModel` takes them.

    Raises:
        TokenizerMismatchError: it cannot steer, and `steers` is True.
    """
    kind = SoftRewardModel if fits(tokenizer, policy_tokenizer, steers=steers) else RewardModel
    return kind(model, tokenizer, **options)


def fits(
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None,
    *,
    steers: bool | None,
) -> bool:
    """Whether a reward of this tokenizer can and shall steer; see `reward_model`."""
    missing = ""
    if policy_tokenizer is None:
        missing = "the policy's tokenizer is not known; pass policy_tokenizer="
    elif (share := equal_share(policy_tokenizer, tokenizer)) < 1:
        missing = (
            f"{share:.1%} of the policy's ids are the same tokens in {tokenizer.name_or_path!r}, not all"
        )
    if missing and steers:
        raise TokenizerMismatchError(f"this reward cannot steer: {missing}. It can rank: pass steers=False.")
    if missing and steers is None:
        warnings.warn(f"this reward only ranks: {missing}. steers=False does so silently.", stacklevel=2)
    return not missing and steers is not False


class RewardModel:
    """Ranks texts: the model reads each in its own chat template. Tools are not shown to it.

    It judges where the model itself pools: at the last token that is not the padding token of its
    configuration, if that names one. What of its logits is the reward says the rule (see `labels`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        label: Labels | None = None,
        output: Output | None = None,
        rule: Callable[[Tensor], Tensor] | None = None,
        chat_template: str | None = None,
        answer_only: bool = False,
        prompts: int = 64,
    ) -> None:
        """Hold the parts; neither model nor tokenizer is ever changed.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's; to steer, one that gives the policy's ids the same tokens.
            label: which of several labels is the reward, by number or name, or the weight of each that
                counts; a model of one label needs none.
            output: the label's `logit`, `log_probability` or `probability`; None takes the log-probability
                of labels trained against each other (`problem_type` "single_label_classification"), and else
                the logit.
            rule: logits, (C, L), to rewards, (C,), in place of label and output.
            chat_template: Jinja source; None takes the tokenizer's own.
            answer_only: the model reads the answer alone, as an assistant's only turn.
            prompts: how many conversations' states steering keeps; fewer than are refined at once makes
                every step compute them anew.

        Raises:
            ChatTemplateError: there is no chat template.
            ValueError: there is no such label, or the model has no head.
        """
        if model.training:
            raise ValueError("the reward model is in training mode, where dropout acts; call eval().")
        if getattr(model, "score", None) is None:
            raise ValueError(f"{type(model).__name__} has no `score` head; rank with an EncoderReward.")
        self.rule = rule or label_rule(model.config, label, output)
        try:
            source = tokenizer.get_chat_template(chat_template)
        except ValueError as error:
            raise ChatTemplateError(
                f"the reward's tokenizer {tokenizer.name_or_path!r} has no chat template; pass "
                "chat_template= with the Jinja source its model was trained on."
            ) from error
        self.model, self.tokenizer, self.answer_only = model, tokenizer, answer_only
        self._template = ChatTemplate(tokenizer, _NO_ANSWER_BEGINS + source)
        self._placed = TemplatedModel(model, self._render, self._template, prompts=prompts)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) at least float32; equal texts are read once.

        Raises:
            ChatTemplateError: the reward's template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """(C,) the same, of answers to a conversation."""
        return once(texts, lambda distinct: self.rule(self._pool(self._placed.hard(messages, distinct))))

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        before = [] if self.answer_only else messages
        return self._template.chat([*before, {"role": "assistant", "content": answer}], None)

    def _pool(self, read: LastHidden) -> Tensor:
        """(C, L) the logits where the model pools."""
        head: Any = self.model.score
        return widened(head(read.last(self.model.config.get_text_config().pad_token_id)))


class SoftRewardModel(RewardModel):
    """Steers as well: the policy's soft tokens are mixed from the reward model's own embeddings."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) at least float32; differentiable in `view.tokens.soft`.

        Raises:
            ChatTemplateError: the template rejects the conversation, or hides where the answer stands.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        return self.rule(self._pool(self._placed.soft(view))).to(view.tokens.soft.device)
