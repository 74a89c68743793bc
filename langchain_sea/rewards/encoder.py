"""An encoder that classifies question and answer, or the answer alone, as a reward."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.protocols import NOTHING, OutputSpec
from langchain_sea.models.soft_embeddings import to_float32_or_wider
from langchain_sea.rewards.labels import LabelRule, Labels, Output, label_rule
from langchain_sea.rewards.pair_classifier import PairClassifier
from langchain_sea.rewards.templated import score_distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["EncoderReward"]

_BATCH_SIZE = 32  # texts in one forward
_LONGEST = 512  # tokens, for a model without a limit
READ = ("input_ids", "token_type_ids", "attention_mask")


class EncoderReward:
    """A sequence classifier of any architecture that scores texts as `transformers` pipelines do, without a gradient.

    A `PairClassifier`, which `fit_gate` trains, counts as a classifier with a single label. It must not be the gate.
    """

    def __init__(
        self,
        model: PreTrainedModel | PairClassifier,
        tokenizer: PreTrainedTokenizerBase,
        *,
        label: Labels | None = None,
        output: Output | None = None,
        rule: Callable[[Tensor], Tensor] | None = None,
        answer_only: bool = False,
        longest: int | None = None,
    ) -> None:
        """Neither model nor tokenizer is changed.

        Args:
            model: a sequence classifier, in evaluation mode.
            tokenizer: the model's.
            label: as in `RewardModel`.
            output: as in `RewardModel`.
            rule: as in `RewardModel`.
            answer_only: the model reads the answer alone, and not the last question and the answer as a pair.
            longest: the most tokens; the longer text of a longer pair is cut. None means the model's own limit.
        """
        if model.training:
            raise ValueError("the classifier is in training mode, with dropout; call eval().")
        self.model = model
        encoder: Any = model.encoder if isinstance(model, PairClassifier) else model
        self.rule = rule or (
            LabelRule(((0, 1.0),), output or "logit", rivals=False)
            if isinstance(model, PairClassifier)
            else label_rule(model.config, label, output)
        )
        self.answer_only = answer_only
        self.longest = longest or find_longest(encoder)
        self._embedding: Any = encoder.get_input_embeddings()
        self._tokenizer = copy.deepcopy(tokenizer)  # encoding sets its padding and truncation

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return nothing: the model computes its own states."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), at least float32."""
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), of answers to a conversation; equal texts are read once."""
        question = last_user_text(messages, separator="\n")
        return score_distinct(texts, lambda distinct: self._score_pairs(question, distinct))

    def _score_pairs(self, question: str, answers: Sequence[str]) -> Tensor:
        scores = []
        for start in range(0, len(answers), _BATCH_SIZE):
            batch = self._inputs(question, answers[start : start + _BATCH_SIZE])
            inputs = {name: value.to(self.device) for name, value in batch.items() if name in READ}
            scores.append(self.rule(to_float32_or_wider(self._logits(inputs))))
        return torch.cat(scores)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self._embedding.weight.device
        return device

    def _logits(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits, (C, L)."""
        if isinstance(self.model, PairClassifier):
            odds: Tensor = self.model(inputs)
            return odds[:, None]
        logits: Tensor = self.model(**inputs).logits
        return logits

    def _inputs(self, question: str, answers: Sequence[str]) -> BatchEncoding:
        """Tokenize the question with each answer, or the answers alone."""
        sides = [list(answers)] if self.answer_only else [[question] * len(answers), list(answers)]
        batch: BatchEncoding = self._tokenizer(
            *sides,
            truncation=True if self.answer_only else "longest_first",
            max_length=self.longest,
            padding=True,
            return_tensors="pt",
            split_special_tokens=True,
            return_offsets_mapping=self._tokenizer.is_fast,
        )
        return batch


def find_longest(encoder: nn.Module) -> int:
    """Return the most tokens that an encoder reads at once.

    RoBERTa and others number positions from behind the id of the padding, so that its table has more rows than that.
    """
    size = getattr(encoder.config, "max_position_embeddings", None) or 0
    if size <= 0:  # XLNet has -1
        return _LONGEST
    tables = [part for name, part in encoder.named_modules() if name.endswith("position_embeddings")]
    starts = [part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None]
    return int(size) - max(starts, default=0)
