r"""A generative guard as a reward and a gate: the odds of its verdict, computed without generating it.

    r(x, y) = log π(safe words | guard's prompt with x, y) − log π(unsafe words | …)

at the first token in which the verdicts differ. The probabilities of several words, and of a third verdict that the
caller counts as one side, are added. For the prompts and verdicts of guards see `guard_formats`.
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

__all__ = ["GuardModel", "GuardVerdict", "SoftGuardModel", "guard_model"]


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard wrote about an answer.

    Attributes:
        safe: whether the answer is safe; None if the reply contains no verdict.
        categories: what is violated, if the format says so.
        reply: the whole text.
    """

    safe: bool | None
    categories: tuple[str, ...]
    reply: str


class GuardModel:
    """A guard that scores texts by the log-odds of "safe", without a gradient.

    Called as `guard(prompt, completions)` it returns probabilities, so it can be a gate.
    """

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
        """Neither model nor tokenizer is changed.

        Args:
            model: a causal language model, in evaluation mode.
            tokenizer: the model's; its own chat template is used if it has one.
            guard: the format of its prompt and its verdicts.
            between: what a third verdict counts as, e.g. Qwen3Guard's "Controversial"; required if there is one.
            threshold: as a gate, an answer passes from this P(safe) on.
            prompts: as in `RewardModel`.

        Raises:
            ChatTemplateError: there is no template.
            ValueError: `between` is missing, or the verdicts begin with the same token.
        """
        if model.training:
            raise ValueError("the guard is in training mode, with dropout; call eval().")
        if guard.between and between is None:
            raise ValueError(
                f"{guard.name} has a third verdict, {' or '.join(guard.between)}: say whether it counts as safe "
                "with between='safe' or between='unsafe'."
            )
        own: str | dict[str, str] | None = tokenizer.chat_template
        source = guard.source(own.get("default") if isinstance(own, dict) else own)
        if source is None:
            raise ChatTemplateError(f"neither the tokenizer nor the format {guard.name} has a chat template.")
        self.model, self.tokenizer, self.guard, self.threshold = model, tokenizer, guard, threshold
        self.between = between
        self._template = ChatTemplate(tokenizer, source, needs_all=False)  # some judge the last turn alone
        self._templated = TemplatedModel(model, self._render, self._template, prompts=prompts)
        self._before, self._words, self._safe = self._verdicts()
        self._lazy_head: LMHead | None = None

    @property
    def _head(self) -> LMHead:
        if self._lazy_head is None:
            self._lazy_head = lm_head_of(self.model)
        return self._lazy_head

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lazy_head": None}

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return nothing: the model computes its own states."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the log-odds of safe, (C,), at least float32; equal texts are read once.

        Raises:
            ChatTemplateError: the guard's template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the guard.
        """
        return self.judge(view.prompt.messages, texts).to(view.tokens.soft.device)

    @torch.no_grad()
    def judge(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> Tensor:
        """Return the log-odds of safe, (C,), of answers to a conversation given as template dicts."""
        return score_distinct(texts, lambda distinct: self._odds(self._templated.hard(messages, distinct)))

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return P(safe) of each answer to a question."""
        odds = self.judge([{"role": "user", "content": prompt}], completions)
        probabilities: list[float] = odds.sigmoid().tolist()
        return probabilities

    @torch.no_grad()
    def verdicts(
        self, messages: Sequence[dict[str, Any]], texts: Sequence[str], *, tokens: int = 32
    ) -> list[GuardVerdict]:
        """Generate the guard's verdict on each answer, greedily.

        Args:
            messages: the conversation, as template dicts.
            texts: answers to it.
            tokens: the most tokens of a verdict.
        """
        verdicts = []
        for text in texts:
            ids = torch.tensor([self._ids(messages, text)], device=self.model.device)
            generate: Any = self.model.generate
            written = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
            reply = self._template.decode(written[0, ids.shape[1] :].tolist())
            tier, categories = self.guard.read(reply)
            is_safe = None if tier is None else (self.between if tier == "between" else tier) == "safe"
            verdicts.append(GuardVerdict(is_safe, categories, reply))
        return verdicts

    def _ids(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        return self._template.chat([*messages, {"role": "assistant", "content": answer}], None)

    def _render(self, messages: Sequence[dict[str, Any]], answer: str) -> list[int]:
        """Return the ids up to the verdict's first token."""
        return [*self._ids(messages, answer), *self._before]

    def _odds(self, read: LastHidden) -> Tensor:
        """Return the log-odds of safe, (C,), from the states at the last token."""
        states = read.last()  # (C, D)
        logits = self._head.select_ids(self._words).logits(states)  # (C, W)
        safe = torch.tensor(self._safe, device=states.device)
        return logits[:, safe].logsumexp(-1) - logits[:, ~safe].logsumexp(-1)

    def _verdicts(self) -> tuple[list[int], list[int], list[bool]]:
        """Return the ids before every verdict, the first ids in which verdicts differ, and which of these are safe."""
        guard = self.guard
        sides = {"safe": guard.safe, "unsafe": guard.unsafe}
        if self.between is not None:
            sides[self.between] = (*sides[self.between], *guard.between)
        words = [(word, side == "safe") for side, names in sides.items() for word in names]
        rows = [self._template.encode(guard.before + word) for word, _ in words]
        shared = next(n for n in range(max(map(len, rows)) + 1) if len({tuple(row[: n + 1]) for row in rows}) > 1)
        firsts: dict[int, bool] = {}
        for row, (word, safe) in zip(rows, words, strict=True):
            if len(row) <= shared or firsts.get(row[shared], safe) != safe:
                raise ValueError(
                    f"{guard.name}: in this tokenizer the verdict {word!r} begins with the same token as an opposite "
                    "one; make a GuardFormat whose words differ in their first token."
                )
            firsts[row[shared]] = safe
        return rows[0][:shared], list(firsts), list(firsts.values())


class SoftGuardModel(GuardModel):
    """A `GuardModel` with a gradient: the soft tokens of the answer are inside the hard template."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the log-odds of safe, (C,), at least float32, differentiable in `view.tokens.soft`."""
        return self._odds(self._templated.soft(view)).to(view.tokens.soft.device)


def guard_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    guard: GuardFormat,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    steers: bool | None = None,
    **options: Any,
) -> GuardModel:
    """Make a `SoftGuardModel` if all of the policy's ids are the same tokens in the guard, else a `GuardModel`.

    Args:
        model: as in `GuardModel`.
        tokenizer: the model's.
        guard: the format of its prompt and its verdicts.
        policy_tokenizer: as in `reward_model`.
        steers: as in `reward_model`.
        options: those of `GuardModel`.

    Raises:
        TokenizerMismatchError: it cannot have a gradient, and `steers` is True.
    """
    kind = SoftGuardModel if can_steer(tokenizer, policy_tokenizer, steers=steers) else GuardModel
    return kind(model, tokenizer, guard, **options)
