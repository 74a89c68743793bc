r"""A generative guard as a reward and a gate: the odds of its verdict, read off before it writes one.

    r(x, y) = log π(safe words | guard's prompt with x, y) − log π(unsafe words | …)

at the place where the verdict's first differing token stands. Of several words, and of a third tier that the
caller counts to one side, the probabilities are added. Knows formats (see `guard_formats`), no policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from langchain_sea.core.protocols import NOTHING, OutputSpec
from langchain_sea.errors import ChatTemplateError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.lm_head import lm_head_of
from langchain_sea.rewards.classifier import can_steer
from langchain_sea.rewards.templated import LastHidden, TemplatedModel, score_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.models.lm_head import LMHead
    from langchain_sea.rewards.guard_formats import GuardFormat

__all__ = ["GuardModel", "SoftGuardModel", "GuardVerdict", "guard_model"]


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard wrote.

    Attributes:
        safe: None where the reply has no verdict in it.
        categories: what is violated, where the format says so.
        reply: as it was written.
    """

    safe: bool | None
    categories: tuple[str, ...]
    reply: str


class GuardModel:
    """Ranks texts by the odds of "safe", gates by its probability, and writes verdicts."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        guard: GuardFormat,
        *,
        between: Literal["safe", "unsafe"] | None = None,
        threshold: float = 0.5,
        prompts: int = 64,
    ) -> None:
        """Hold the parts; neither model nor tokenizer is ever changed.

        Args:
            model: a causal language model, in evaluation mode.
            tokenizer: the model's; its own chat template is used if it has one.
            guard: how it is asked.
            between: what a third tier, as Qwen3Guard's "Controversial", counts as; it must be said.
            threshold: P(safe) of what passes as a gate.
            prompts: as for `RewardModel`.

        Raises:
            ChatTemplateError: there is no template.
            ValueError: the third tier counts as nothing, or the verdicts begin with the same token.
        """
        if model.training:
            raise ValueError("the guard is in training mode, where dropout acts; call eval().")
        if guard.between and between is None:
            raise ValueError(
                f"{guard.name} has a third verdict, {' or '.join(guard.between)}: whether it is safe is "
                "yours to say; pass between='safe' or between='unsafe'."
            )
        source = guard.source(tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None)
        if source is None:
            raise ChatTemplateError(f"neither the tokenizer nor the format {guard.name} has a chat template.")
        self.model, self.tokenizer, self.guard, self.threshold = model, tokenizer, guard, threshold
        self.between = between
        self._template = ChatTemplate(tokenizer, source)
        self._placed = TemplatedModel(model, self._render, self._template, prompts=prompts)
        self._before, self._words, self._safe = self._verdicts()
        self._lazy_head: LMHead | None = None

    @property
    def _head(self) -> LMHead:
        if self._lazy_head is None:
            self._lazy_head = lm_head_of(self.model)
        return self._lazy_head

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lazy_head": None}

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) at least float32, log-odds of safe; equal texts are read once.

        Raises:
            ChatTemplateError: the guard's template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the guard.
        """
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """(C,) the same, of answers to a conversation."""
        return score_distinct(texts, lambda distinct: self._odds(self._placed.hard(messages, distinct)))

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """P(safe) of each answer to a question: what gates."""
        found: list[float] = self.judge([{"role": "user", "content": prompt}], completions).sigmoid().tolist()
        return found

    @torch.no_grad()
    def verdicts(
        self, messages: Sequence[dict[str, Any]], texts: Sequence[str], *, tokens: int = 32
    ) -> list[GuardVerdict]:
        """What the guard writes about each answer, greedily."""
        found = []
        for text in texts:
            ids = torch.tensor([self._ids(messages, text)], device=self.model.device)
            generate: Any = self.model.generate
            written = generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
            )
            reply = self._template.decode(written[0, ids.shape[1] :].tolist())
            tier, categories = self.guard.read(reply)
            known = None if tier is None else (self.between if tier == "between" else tier) == "safe"
            found.append(GuardVerdict(known, categories, reply))
        return found

    def _ids(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        return self._template.chat([*messages, {"role": "assistant", "content": answer}], None)

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        """Up to where the verdict's first token stands."""
        return [*self._ids(messages, answer), *self._before]

    def _odds(self, read: LastHidden) -> Tensor:
        """(C,) from the states at the last token."""
        states = read.last()  # (C, D)
        logits = self._head.select_ids(self._words).logits(states)  # (C, W)
        safe = torch.tensor(self._safe, device=states.device)
        return logits[:, safe].logsumexp(-1) - logits[:, ~safe].logsumexp(-1)

    def _verdicts(self) -> tuple[list[int], list[int], list[bool]]:
        """Ids before every verdict, the ids that tell verdicts apart, and which of these are safe."""
        guard = self.guard
        sides = {"safe": guard.safe, "unsafe": guard.unsafe}
        if self.between is not None:
            sides[self.between] = (*sides[self.between], *guard.between)
        words = [(word, side == "safe") for side, found in sides.items() for word in found]
        rows = [self._template.encode(guard.before + word) for word, _ in words]
        shared = next(
            n for n in range(max(map(len, rows)) + 1) if len({tuple(row[: n + 1]) for row in rows}) > 1
        )
        firsts: dict[int, bool] = {}
        for row, (word, safe) in zip(rows, words, strict=True):
            if len(row) <= shared or firsts.get(row[shared], safe) != safe:
                raise ValueError(
                    f"{guard.name}: in this tokenizer the verdict {word!r} begins as one of the other side "
                    "does; make a GuardFormat whose words differ at their first token."
                )
            firsts[row[shared]] = safe
        return rows[0][:shared], list(firsts), list(firsts.values())


class SoftGuardModel(GuardModel):
    """Steers as well: the answer's soft tokens stand inside the hard template."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) at least float32; differentiable in `view.tokens.soft`."""
        return self._odds(self._placed.soft(view)).to(view.tokens.soft.device)


def guard_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    guard: GuardFormat,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    steers: bool | None = None,
    **options: Any,
) -> GuardModel:
    """A `SoftGuardModel` if the policy's ids are the same tokens to the guard, else a `GuardModel`.

    Arguments are those of `GuardModel` and `reward_model`.
    """
    kind = SoftGuardModel if can_steer(tokenizer, policy_tokenizer, steers=steers) else GuardModel
    return kind(model, tokenizer, guard, **options)
