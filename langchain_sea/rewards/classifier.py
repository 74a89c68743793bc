"""A sequence-classification model as a reward: it reads the conversation with its answer. Knows no policy.

It must be causal with a `score` head on its last hidden states, as `…ForSequenceClassification` of Llama,
Qwen, Mistral, Gemma, Phi or GPT-2 are; an encoder can rank through a `FunctionReward`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from langchain_sea._mixing import widened
from langchain_sea._reader import Reader
from langchain_sea._segments import Segment
from langchain_sea._template import Template
from langchain_sea.errors import ChatTemplateError, RewardUnavailableError, TokenizerMismatchError
from langchain_sea.policy import PolicyPrompt
from langchain_sea.protocols import NOTHING, Tokens, Wants
from langchain_sea.rewards.implicit import Recent, equal_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.protocols import View

__all__ = ["RewardModel", "SoftRewardModel", "reward_model"]

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
        options: `label`, `chat_template`, `prompts`.

    Raises:
        TokenizerMismatchError: it cannot steer, and `steers` is True.
    """
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
    kind = RewardModel if missing or steers is False else SoftRewardModel
    return kind(model, tokenizer, **options)


class RewardModel:
    """Ranks texts: the model reads each in its own chat template. Tools are not shown to it.

    The score is the label's logit where the model itself pools: at the last token that is not the padding
    token of its configuration, if that names one. Of several labels trained against each other
    (`problem_type` "single_label_classification") it is the label's log-probability.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        label: int | None = None,
        chat_template: str | None = None,
        prompts: int = 64,
    ) -> None:
        """Hold the parts; neither model nor tokenizer is ever changed.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's; to steer, one that gives the policy's ids the same tokens.
            label: which of several labels is the reward; a model of one label needs none.
            chat_template: Jinja source; None takes the tokenizer's own.
            prompts: how many conversations' states steering keeps; fewer than are refined at once makes
                every step compute them anew.

        Raises:
            ChatTemplateError: there is no chat template.
        """
        if model.training:
            raise ValueError("the reward model is in training mode, where dropout acts; call eval().")
        if getattr(model, "score", None) is None:
            raise ValueError(f"{type(model).__name__} has no `score` head; rank with it in a FunctionReward.")
        labels = dict(model.config.id2label or {})
        if (label or 0) not in labels or (label is None and len(labels) > 1):
            raise ValueError(f"label={label} must be one of the model's {len(labels)}: {labels}.")
        try:
            source = tokenizer.get_chat_template(chat_template)
        except ValueError as error:
            raise ChatTemplateError(
                f"the reward's tokenizer {tokenizer.name_or_path!r} has no chat template; pass "
                "chat_template= with the Jinja source its model was trained on."
            ) from error
        self.model, self.tokenizer, self.label = model, tokenizer, label or 0
        self._template = Template(tokenizer, _NO_ANSWER_BEGINS + source)
        self._made: Reader | None = None
        self._places: Recent[tuple[PolicyPrompt, Tensor]] = Recent(prompts)

    @property
    def _reader(self) -> Reader:
        """Made at the first use, and anew after pickling."""
        if self._made is None:
            self._made = Reader(self.model)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None}

    def foresee(self, view: View) -> Wants:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    @torch.no_grad()
    def score(self, view: View, texts: Sequence[str]) -> Tensor:
        """(C,) at least float32; equal texts are read once.

        Raises:
            ChatTemplateError: the reward's template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        places = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        rows = [self._render(view.prompt.messages, text) for text in places]
        self._check_length(max(map(len, rows)))
        read = Tokens.hard(rows, self.model.device)
        # no mask: padding stands on the right only, and causal attention keeps it from what stands before
        states = self._states(Segment(self._known(read.ids)))  # (U, T, D)
        scores = self._pool(states, read.ids, read.mask)[[places[text] for text in texts]]
        return scores.to(view.tokens.soft.device)

    def _states(self, segment: Segment) -> Tensor:
        (output,) = self._reader.read([segment])
        assert output.last is not None
        return output.last

    @torch.no_grad()
    def _known(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        return self._template.chat([*messages, {"role": "assistant", "content": answer}], None)

    def _check_length(self, length: int) -> None:
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and length > context:
            raise RewardUnavailableError(
                f"{length} tokens exceed the reward model's context of {context}; shorten the conversation."
            )

    def _pool(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """States (C, T, D), ids and mask (C, T) → (C,) the score where the model pools."""
        padding = self.model.config.get_text_config().pad_token_id
        read = mask if padding is None else mask & (ids != padding)
        last = (read * torch.arange(ids.shape[1], device=ids.device)).argmax(-1, keepdim=True)  # (C, 1)
        head: Any = self.model.score
        logits: Tensor = widened(head(states.take_along_dim(last[..., None], 1)))[:, 0]  # (C, L)
        rivals = self.model.config.problem_type == "single_label_classification"
        return (logits.log_softmax(-1) if rivals else logits)[:, self.label]


class SoftRewardModel(RewardModel):
    """Steers as well: the policy's soft tokens are mixed from the reward model's own embeddings."""

    def steer(self, view: View) -> Tensor:
        """(C,) at least float32; differentiable in `view.tokens.soft`.

        Raises:
            ChatTemplateError: the template rejects the conversation, or hides where the answer stands.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        prompt, after = self._places.get(view.prompt.key, lambda: self._place(view.prompt.messages))
        tokens = Tokens(*(part.to(self.model.device) for part in view.tokens))
        self._check_length(len(prompt.ids) + tokens.ids.shape[1] + len(after))
        first = after.new_tensor(prompt.ids[-1:])
        hard = [ids.expand(len(tokens.ids), -1) for ids in (first, after)]
        ids = torch.cat([hard[0], tokens.ids, hard[1]], 1)  # (C, 1 + T + S)
        start, end = (self._embed(part) for part in hard)
        embeds = torch.cat([start, self._mix(tokens).to(start.dtype), end], 1)  # (C, 1 + T + S, D)
        mask = pad(tokens.mask, (1, len(after)), value=True)
        # what closes an answer follows its last token at once, and padding goes to the end
        order = mask.int().argsort(dim=1, descending=True, stable=True)
        states = self._states(Segment(embeds.take_along_dim(order[..., None], 1), prompt.states))
        scores = self._pool(states, ids.take_along_dim(order, 1), mask.take_along_dim(order, 1))
        return scores.to(view.tokens.soft.device)

    @torch.no_grad()
    def _place(self, messages: Sequence[dict[str, Any]]) -> tuple[PolicyPrompt, Tensor]:
        """What two answers, rendered, have in common: what is before, with its states, and after, (S,)."""
        one, other = self._render(messages, "a"), self._render(messages, "b")
        before = _common(one, other)
        end = len(one) - _common(one[:before:-1], other[:before:-1])
        shown = self._template.decode(one[before:end])
        if before == 0 or shown.strip() != "a":
            raise ChatTemplateError(
                f"the reward's template writes the answer 'a' as {shown!r}, so soft tokens find no place; "
                "pass another chat_template=, or steers=False."
            )
        ids = torch.tensor([one[: before - 1]], dtype=torch.long, device=self.model.device)
        states = self._reader.states(self._known(ids))
        after = torch.tensor(one[end:], dtype=torch.long, device=self.model.device)
        return PolicyPrompt(tuple(messages), tuple(one[:before]), states), after

    def _mix(self, tokens: Tokens) -> Tensor:
        """Σₖ softₖ · embedding(k), (C, T, K) → (C, T, D), mixed in float32 or wider."""
        soft, support = tokens.soft, tokens.support
        if torch.equal(support, support[:1, :1].expand_as(support)):  # one for all, as every id is
            table = widened(self._embed(support[0, 0]))  # (K, D)
            return torch.matmul(soft.to(table.dtype), table)
        ids, places = torch.unique(support, return_inverse=True)
        table = widened(self._embed(ids))  # (U, D)
        weights = soft.to(table.dtype).flatten(0, 1)
        mixed = embedding_bag(places.flatten(0, 1), table, mode="sum", per_sample_weights=weights)
        return mixed.view(*soft.shape[:2], -1)

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """Through the module, since some scale what they look up; zero where the policy's ids are padding."""
        module: Any = self.model.get_input_embeddings()
        known = ids < module.weight.shape[0]
        embedded: Tensor = module(ids.where(known, 0)) * known[..., None]
        return embedded


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two lists begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (i, j) in pairs if i != j), min(len(one), len(other)))
