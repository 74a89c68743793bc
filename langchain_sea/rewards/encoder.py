"""An encoder that classifies question and answer, or the answer alone: ranks texts. Knows no policy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea._mixing import widened
from langchain_sea.protocols import NOTHING, Wants
from langchain_sea.rewards.gate import last_question
from langchain_sea.rewards.labels import Labels, Output, label_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.protocols import View

__all__ = ["EncoderReward"]

_ROWS = 32  # texts in one forward


class EncoderReward:
    """Ranks texts by a sequence classifier of any architecture, read as `transformers` pipelines read it."""

    def __init__(
        self,
        model: PreTrainedModel,
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
        self.rule = rule or label_rule(model.config, label, output)
        self.answer_only = answer_only
        self.longest = longest or getattr(model.config, "max_position_embeddings", None) or 512
        self._tokenizer = copy.deepcopy(tokenizer)  # encoding sets its padding and truncation

    def foresee(self, view: View) -> Wants:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    def score(self, view: View, texts: Sequence[str]) -> Tensor:
        """(C,) at least float32."""
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """(C,) of answers to a conversation; equal texts are read once, and padding changes no score."""
        places = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct, question = list(places), last_question(messages)
        found = []
        for start in range(0, len(distinct), _ROWS):
            part = distinct[start : start + _ROWS]
            inputs = self._inputs(question, part).to(self.model.device)
            found.append(self.rule(widened(self.model(**inputs).logits)))
        return torch.cat(found)[[places[text] for text in texts]]

    def _inputs(self, question: str, answers: Sequence[str]) -> Any:  # noqa: ANN401 - a BatchEncoding
        sides = [list(answers)] if self.answer_only else [[question] * len(answers), list(answers)]
        return self._tokenizer(
            *sides,
            truncation=True if self.answer_only else "longest_first",
            max_length=self.longest,
            padding=True,
            return_tensors="pt",
            split_special_tokens=True,
        )
