"""The steps of an answer judged one by one, as a process reward model does. Knows no model.

    r(x, y) = reduce over step ends t of v_t,    v_t the value of the answer up to its token t

A step ends where the separator does, or at every token, and at the answer's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from langchain_sea.core.protocols import DeclaresOutputs, OutputSpec
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.soft_embeddings import widened
from langchain_sea.rewards.templated import TemplatedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch

__all__ = ["ProcessReward", "TokenScores", "Values"]


class Values(Protocol):
    """What values every beginning of an answer: a `TrunkReward` does, and `TokenScores`."""

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """(C, T), differentiable in `view.tokens.soft`."""


@dataclass(frozen=True, slots=True, eq=False)
class ProcessReward:
    r"""Steers and ranks by the values at the ends of steps.

    Attributes:
        values: of beginnings.
        separator: ends a step, as "\n\n"; None takes every token as one.
        reduction: over steps: the `last`, the `min`, their `sum` or their `mean`.
    """

    values: Values
    separator: str | None = "\n\n"
    reduction: Literal["last", "min", "sum", "mean"] = "min"

    def __post_init__(self) -> None:
        if self.reduction not in ("last", "min", "sum", "mean"):
            raise ValueError(f"reduction={self.reduction!r} must be 'last', 'min', 'sum' or 'mean'.")
        if self.separator == "":
            raise ValueError("separator='' ends no step; None takes every token as a step.")

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """What the values look at."""
        return (
            self.values.required_outputs(view) if isinstance(self.values, DeclaresOutputs) else OutputSpec()
        )

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:  # noqa: ARG002 - `view` holds their ids
        """(C,)."""
        return self.score_soft(view)

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,), differentiable in `view.tokens.soft`; where steps end is read off the likeliest tokens."""
        found = self.values.prefix_values(view)  # (C, T)
        ends = self._ends(view).to(found.device)
        if self.reduction == "last":
            return found[:, -1]  # padding holds the value of the whole answer
        if self.reduction == "min":
            return found.masked_fill(~ends, torch.inf).amin(-1)
        total = found.masked_fill(~ends, 0).sum(-1)
        return total if self.reduction == "sum" else total / ends.sum(-1)

    def _ends(self, view: AnswerBatch) -> Tensor:
        """(C, T) where steps end; the last token is always one, and an empty answer's first position."""
        mask = view.tokens.mask
        last = torch.zeros_like(mask)
        last[torch.arange(len(mask)), (mask.sum(-1) - 1).clamp(min=0)] = True
        if self.separator is None:
            return mask | last
        rows = [ids[kept].tolist() for ids, kept in zip(view.tokens.ids, mask, strict=True)]
        for row, ids in enumerate(rows):
            for at in self._separated([view.policy.decode([i]) for i in ids]):
                last[row, at] = True
        return last

    def _separated(self, pieces: Sequence[str]) -> list[int]:
        """The token in which each separator ends."""
        assert self.separator is not None
        text, owner = "".join(pieces), [n for n, piece in enumerate(pieces) for _ in piece]
        found, at = [], text.find(self.separator)
        while at >= 0:
            found.append(owner[at + len(self.separator) - 1])
            at = text.find(self.separator, at + len(self.separator))
        return found


class TokenScores:
    """A causal model with a score for every token, as process reward models of Hugging Face have, as values.

    It reads the conversation in its own chat template, and its tokenizer must give the policy's ids the same
    tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        label: int = -1,
        chat_template: str | None = None,
    ) -> None:
        """Hold the parts.

        Args:
            model: a token classifier with a `score` head, in evaluation mode.
            tokenizer: the model's.
            label: which of its labels says that a step is right; of several its log-probability counts.
            chat_template: Jinja source; None takes the tokenizer's own.
        """
        if model.training or getattr(model, "score", None) is None:
            raise ValueError(f"{type(model).__name__} must be in evaluation mode and have a `score` head.")
        self.model, self.label = model, label
        self._template = ChatTemplate(tokenizer, chat_template)
        self._placed = TemplatedModel(model, self._render, self._template)

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return OutputSpec(frozenset(), logits=False)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """(C, T) the score at every token of the answer, at padding that of its last."""
        read, width = self._placed.soft(view), view.tokens.ids.shape[1]
        head: Any = self.model.score
        # the first position read is the one before the answer
        logits = widened(head(read.states[:, 1 : 1 + width]))  # (C, T, L)
        several = logits.shape[-1] > 1
        found: Tensor = (logits.log_softmax(-1) if several else logits)[..., self.label]
        at = torch.arange(width, device=found.device).minimum(
            (view.tokens.mask.sum(-1, keepdim=True) - 1).clamp(min=0).to(found.device)
        )
        return found.gather(1, at)

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        return self._template.chat([*messages, {"role": "assistant", "content": answer}], None)
