"""Process rewards: the steps of an answer are scored one by one.

    r(x, y) = reduce over step ends t of v_t,    v_t the value of the answer up to its token t

A step ends where the separator ends, or at every token, and at the end of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from langchain_sea.core.protocols import DeclaresOutputs, OutputSpec
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.soft_embeddings import to_float32_or_wider
from langchain_sea.rewards.templated import TemplatedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["PrefixValues", "ProcessReward", "TokenScores"]


class PrefixValues(Protocol):
    """What scores every prefix of an answer, e.g. a `HiddenStateReward` or `TokenScores`."""

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """Return the value of every prefix, (C, T), differentiable in `view.tokens.soft`."""


@dataclass(frozen=True, slots=True, eq=False)
class ProcessReward:
    r"""A reward with a gradient that combines the values at the ends of steps.

    Attributes:
        values: scores prefixes.
        separator: ends a step, e.g. "\n\n"; with None every token is a step.
        reduction: over steps: the `last`, the `min`, their `sum` or their `mean`.
    """

    values: PrefixValues
    separator: str | None = "\n\n"
    reduction: Literal["last", "min", "sum", "mean"] = "min"

    def __post_init__(self) -> None:
        if self.reduction not in ("last", "min", "sum", "mean"):
            raise ValueError(f"reduction={self.reduction!r} must be 'last', 'min', 'sum' or 'mean'.")
        if self.separator == "":
            raise ValueError("separator='' cannot end a step; with None every token is a step.")

    @property
    def scores_prefixes(self) -> bool:
        """True: it scores the steps that are written so far."""
        return True

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return what `values` needs."""
        return self.values.required_outputs(view) if isinstance(self.values, DeclaresOutputs) else OutputSpec()

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,); `view` holds the ids of the texts."""
        return self.score_soft(view)

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores, (C,), differentiable in `view.tokens.soft`; the likeliest tokens say where steps end."""
        values = self.values.prefix_values(view)  # (C, T)
        ends = self._ends(view).to(values.device)
        if self.reduction == "last":
            return values[:, -1]  # at padding it is the value of the whole answer
        if self.reduction == "min":
            return values.masked_fill(~ends, torch.inf).amin(-1)
        total = values.masked_fill(~ends, 0).sum(-1)
        return total if self.reduction == "sum" else total / ends.sum(-1)

    def _ends(self, view: AnswerBatch) -> Tensor:
        """Return where steps end, (C, T); the last token always ends one, or the first position of an empty answer."""
        mask = view.tokens.mask
        last = torch.zeros_like(mask)
        last[torch.arange(len(mask)), (mask.sum(-1) - 1).clamp(min=0)] = True
        if self.separator is None:
            return mask | last
        rows = [ids[is_token].tolist() for ids, is_token in zip(view.tokens.ids, mask, strict=True)]
        for row, ids in enumerate(rows):
            for at in self._separated([view.policy.decode([i]) for i in ids]):
                last[row, at] = True
        return last

    def _separated(self, pieces: Sequence[str]) -> list[int]:
        """Return the token in which each separator ends."""
        assert self.separator is not None
        text, owner = "".join(pieces), [n for n, piece in enumerate(pieces) for _ in piece]
        ends, at = [], text.find(self.separator)
        while at >= 0:
            ends.append(owner[at + len(self.separator) - 1])
            at = text.find(self.separator, at + len(self.separator))
        return ends


class TokenScores:
    """Prefix values of a causal model that scores every token, like the process reward models of Hugging Face.

    It reads the conversation in its own chat template. All of the policy's ids must be the same tokens to it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        label: int = -1,
        chat_template: str | None = None,
    ) -> None:
        """Neither model nor tokenizer is changed.

        Args:
            model: a token classifier with a `score` head, in evaluation mode.
            tokenizer: the model's.
            label: the label for a correct step; if there are several labels, its log-probability is the score.
            chat_template: Jinja source; None takes the tokenizer's own.
        """
        if model.training or getattr(model, "score", None) is None:
            raise ValueError(f"{type(model).__name__} must be in evaluation mode and have a `score` head.")
        self.model, self.label = model, label
        self._template = ChatTemplate(tokenizer, chat_template, needs_all=False)
        self._templated = TemplatedModel(model, self._render, self._template)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return nothing: the model computes its own states."""
        return OutputSpec(frozenset(), logits=False)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """Return the score at every token of the answer, (C, T); at padding that of the last token."""
        read, width = self._templated.soft(view), view.tokens.ids.shape[1]
        head: Any = self.model.score
        # the first position read is the one before the answer
        logits = to_float32_or_wider(head(read.states[:, 1 : 1 + width]))  # (C, T, L)
        scores: Tensor = (logits.log_softmax(-1) if logits.shape[-1] > 1 else logits)[..., self.label]
        at = torch.arange(width, device=scores.device).minimum(
            (view.tokens.mask.sum(-1, keepdim=True) - 1).clamp(min=0).to(scores.device)
        )
        return scores.gather(1, at)

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        return self._template.chat([*messages, {"role": "assistant", "content": answer}], None)
