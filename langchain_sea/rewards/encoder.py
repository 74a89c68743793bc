"""An encoder that classifies question and answer, or the answer alone: ranks texts. Knows no policy."""

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

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["EncoderReward"]

_ROWS = 32  # texts in one forward
READ = ("input_ids", "token_type_ids", "attention_mask")


class EncoderReward:
    """Ranks texts by a sequence classifier of any architecture, read as `transformers` pipelines read it.

    A `PairClassifier`, as `fit_gate` makes, is one of a single label; it must be another than what gates.
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
        """Hold the parts; neither model nor tokenizer is ever changed.

        Args:
            model: a sequence classifier, in evaluation mode.
            tokenizer: the model's.
            label: as for `RewardModel`, and so `output` and `rule`.
            output: see there.
            rule: see there.
            answer_only: it reads the answer alone; else the last question and the answer as a pair.
            longest: tokens, beyond which the longer of the two is cut; None takes the model's own bound.
        """
        if model.training:
            raise ValueError("the classifier is in training mode, where dropout acts; call eval().")
        self.model = model
        encoder: Any = model.encoder if isinstance(model, PairClassifier) else model
        self.rule = rule or (
            LabelRule(((0, 1.0),), output or "logit", rivals=False)
            if isinstance(model, PairClassifier)
            else label_rule(model.config, label, output)
        )
        self.answer_only = answer_only
        self.longest = longest or getattr(encoder.config, "max_position_embeddings", None) or 512
        self._embedding: Any = encoder.get_input_embeddings()
        self._tokenizer = copy.deepcopy(tokenizer)  # encoding sets its padding and truncation

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) at least float32."""
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """(C,) of answers to a conversation; equal texts are read once, and padding changes no score."""
        question = last_user_text(messages, separator="\n")
        return score_distinct(texts, lambda distinct: self._judged(question, distinct))

    def _judged(self, question: str, answers: Sequence[str]) -> Tensor:
        found = []
        for start in range(0, len(answers), _ROWS):
            inputs = self._inputs(question, answers[start : start + _ROWS])
            read = {name: value.to(self.device) for name, value in inputs.items() if name in READ}
            found.append(self.rule(to_float32_or_wider(self._logits(read))))
        return torch.cat(found)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = self._embedding.weight.device
        return found

    def _logits(self, inputs: dict[str, Tensor]) -> Tensor:
        """(C, L)."""
        if isinstance(self.model, PairClassifier):
            found: Tensor = self.model(inputs)[:, None]
            return found
        logits: Tensor = self.model(**inputs).logits
        return logits

    def _inputs(self, question: str, answers: Sequence[str]) -> Any:  # noqa: ANN401 - a BatchEncoding
        sides = [list(answers)] if self.answer_only else [[question] * len(answers), list(answers)]
        return self._tokenizer(
            *sides,
            truncation=True if self.answer_only else "longest_first",
            max_length=self.longest,
            padding=True,
            return_tensors="pt",
            split_special_tokens=True,
            return_offsets_mapping=self._tokenizer.is_fast,
        )
