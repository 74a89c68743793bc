"""A sequence-classification model as a reward: it reads the conversation with the answer.

It must be causal with a `score` head on its last hidden states, like `…ForSequenceClassification` of Llama, Qwen,
Mistral, Gemma, Phi and GPT-2. For an encoder see `EncoderReward`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.core.protocols import NOTHING, OutputSpec
from langchain_sea.errors import ChatTemplateError, TokenizerMismatchError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.soft_embeddings import to_float32_or_wider
from langchain_sea.rewards.labels import Labels, Output, label_rule
from langchain_sea.rewards.log_ratio import shared_token_fraction
from langchain_sea.rewards.templated import LastHidden, TemplatedModel, score_distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["RewardModel", "SoftRewardModel", "can_steer", "reward_model"]

# a reward reads a finished answer, after which none begins; Jinja drops this line
_NO_GENERATION_PROMPT = "{% set add_generation_prompt = false %}\n"


def reward_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    steers: bool | None = None,
    **options: Any,
) -> RewardModel:
    """Make a `SoftRewardModel` if all of the policy's ids are the same tokens in this model, else a `RewardModel`.

    Args:
        model: as in `RewardModel`.
        tokenizer: the model's.
        policy_tokenizer: the policy's; without it the reward has no gradient and only ranks.
        steers: whether the reward shall have a gradient. True raises an error if it cannot, False makes a reward
            without one, None makes one if possible and warns if not.
        options: those of `RewardModel`.

    Raises:
        TokenizerMismatchError: it cannot steer, and `steers` is True.
    """
    kind = SoftRewardModel if can_steer(tokenizer, policy_tokenizer, steers=steers) else RewardModel
    return kind(model, tokenizer, **options)


def can_steer(
    tokenizer: PreTrainedTokenizerBase, policy_tokenizer: PreTrainedTokenizerBase | None, *, steers: bool | None
) -> bool:
    """Return whether a reward of this tokenizer can and shall have a gradient; see `reward_model`.

    Raises:
        TokenizerMismatchError: it cannot, and `steers` is True.
    """
    missing = ""
    if policy_tokenizer is None:
        missing = "the policy's tokenizer is not known; pass policy_tokenizer="
    elif (share := shared_token_fraction(policy_tokenizer, tokenizer)) < 1:
        missing = f"{share:.1%} of the policy's ids are the same tokens in {tokenizer.name_or_path!r}, not all"
    if missing and steers:
        raise TokenizerMismatchError(f"this reward cannot steer: {missing}. It can rank: pass steers=False.")
    if missing and steers is None:
        warnings.warn(f"this reward only ranks: {missing}. steers=False does so silently.", stacklevel=2)
    return not missing and steers is not False


class RewardModel:
    """A reward model that scores texts in its own chat template, without a gradient. It does not see tools.

    The score is read where the model itself pools: at the last token that is not the padding token of its
    configuration. A rule turns the logits into the reward; see `labels`.

    Examples:
        >>> from langchain_sea.models import loading
        >>> loaded = loading.load("Skywork/Skywork-Reward-V2-Qwen3-4B", kind="classifier")  # doctest: +SKIP
        >>> reward = RewardModel(loaded.model, loaded.tokenizer)  # doctest: +SKIP
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
        """Neither model nor tokenizer is changed.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's; for a gradient all of the policy's ids must be the same tokens in it.
            label: which of several labels is the reward, by number or name, or a weight for each label that counts.
                A model with one label needs none.
            output: the label's `logit`, `log_probability` or `probability`. None means the log-probability for
                exclusive labels (`problem_type` "single_label_classification"), and else the logit.
            rule: a function from logits, (C, L), to rewards, (C,), instead of label and output.
            chat_template: Jinja source; None means the tokenizer's own.
            answer_only: the model reads the answer alone, as the only turn.
            prompts: the number of conversations whose states are cached. If more are refined at once, every step
                computes the states again.

        Raises:
            ChatTemplateError: there is no chat template.
            ValueError: there is no such label, or the model has no head.
        """
        if model.training:
            raise ValueError("the reward model is in training mode, with dropout; call eval().")
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
        self._template = ChatTemplate(tokenizer, _NO_GENERATION_PROMPT + source, needs_all=False)
        self._templated = TemplatedModel(model, self._render, self._template, prompts=prompts)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return nothing: the model computes its own states."""
        return NOTHING

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), at least float32; equal texts are read once.

        Raises:
            ChatTemplateError: the reward's template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), of answers to a conversation given as template dicts."""
        return score_distinct(texts, lambda distinct: self.rule(self._pool(self._templated.hard(messages, distinct))))

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        before = [] if self.answer_only else messages
        return self._template.chat([*before, {"role": "assistant", "content": answer}], None)

    def _pool(self, read: LastHidden) -> Tensor:
        """Return the logits at the position where the model pools, (C, L)."""
        head: Any = self.model.score
        return to_float32_or_wider(head(read.last(self.model.config.get_text_config().pad_token_id)))


class SoftRewardModel(RewardModel):
    """A `RewardModel` with a gradient: it reads the policy's soft tokens as mixtures of its own embeddings."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores, (C,), at least float32, differentiable in `view.tokens.soft`.

        Raises:
            ChatTemplateError: the template rejects the conversation, or changes the answer.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        return self.rule(self._pool(self._templated.soft(view))).to(view.tokens.soft.device)
