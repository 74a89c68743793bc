"""A causal model that reads an answer inside a hard template, as text or as soft tokens.

The states of the text before the answer are computed once per conversation and cached. The text after the answer
follows the last token of each answer, and padding comes last. If the template writes a space before the answer, as in
`Agent: `, the answer's first token is replaced by the token of the space and its text. An answer that the tokenizer
splits in another way after the space is still scored as it is; its gradient is that of nearly the same tokens.
Shapes: C answers, T positions, D width, S ids after the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from langchain_sea.core.lru import LRUCache
from langchain_sea.core.protocols import Tokens
from langchain_sea.errors import ChatTemplateError, RewardUnavailableError
from langchain_sea.models.kv_cache import PackedSequence
from langchain_sea.models.prompt import PolicyPrompt, Prefill
from langchain_sea.models.runner import Runner, make_runner
from langchain_sea.models.soft_embeddings import embed_soft_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.models.chat_template import ChatTemplate

__all__ = ["LastHidden", "TemplatedModel", "score_distinct"]


class LastHidden(NamedTuple):
    """The states of the last layer with the ids they belong to."""

    states: Tensor  # (C, T, D) the last layer's, normed
    ids: Tensor  # (C, T)
    mask: Tensor  # (C, T) False for padding, which is on the right

    def last(self, padding: int | None = None) -> Tensor:
        """Return the states at the last id that is not padding, (C, D); the id `padding` counts as padding, too."""
        is_token = self.mask if padding is None else self.mask & (self.ids != padding)
        at = (is_token * torch.arange(self.ids.shape[1], device=self.ids.device)).argmax(-1, keepdim=True)
        return self.states.take_along_dim(at[..., None], 1).squeeze(1)


class _Place(NamedTuple):
    """A rendered conversation without its answer."""

    prompt: PolicyPrompt  # the text before the answer, with its states
    blank: str  # the space between the prompt and the answer
    after: Tensor  # (S,) ids


class TemplatedModel:
    """A model with the template of its conversations; neither is changed."""

    def __init__(
        self,
        model: PreTrainedModel,
        render: Callable[[Sequence[dict[str, Any]], str], list[int]],
        template: ChatTemplate,
        *,
        prompts: int = 64,
    ) -> None:
        """Compute nothing yet.

        Args:
            model: in evaluation mode.
            render: returns all ids of a conversation and an answer.
            template: of the model's tokenizer.
            prompts: the number of conversations whose states are cached.
        """
        self.model, self._render, self._template = model, render, template
        self._lazy_runner: Runner | None = None
        self._places: LRUCache[_Place] = LRUCache(prompts)
        self._joined: dict[tuple[str, int], int] = {}

    @property
    def _runner(self) -> Runner:
        """Made at the first use, and anew after pickling."""
        if self._lazy_runner is None:
            self._lazy_runner = make_runner(self.model)
        return self._lazy_runner

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lazy_runner": None}

    @torch.no_grad()
    def hard(self, messages: Sequence[dict[str, Any]], texts: Sequence[str]) -> LastHidden:
        """Return the states of texts, each rendered as a whole.

        Raises:
            ChatTemplateError: the template rejects the conversation.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        rows = [self._render(messages, text) for text in texts]
        self._check_length(max(map(len, rows)))
        tokens = Tokens.from_ids(rows, self.model.device)
        # no mask: padding is on the right only, and causal attention never looks there
        return LastHidden(self._states(PackedSequence(self._embed(tokens.ids))), tokens.ids, tokens.mask)

    def soft(self, view: AnswerBatch) -> LastHidden:
        """Return the states of the view's tokens, differentiably; their ids must be the same tokens here.

        Raises:
            ChatTemplateError: the template rejects the conversation, or changes the answer.
            RewardUnavailableError: conversation and answer are too long for the model.
        """
        prompt, blank, after = self._places.get_or_create(view.prompt.key, lambda: self._place(view.prompt.messages))
        tokens = self._after(blank, Tokens(*(part.to(self.model.device) for part in view.tokens)))
        self._check_length(len(prompt.ids) + tokens.ids.shape[1] + len(after))
        first = after.new_tensor(prompt.ids[-1:])
        hard = [ids.expand(len(tokens.ids), -1) for ids in (first, after)]
        ids = torch.cat([hard[0], tokens.ids, hard[1]], 1)  # (C, 1 + T + S)
        start, end = (self._embed(part) for part in hard)
        support = tokens.support
        is_shared = torch.equal(support, support[:1, :1].expand_as(support))  # the same everywhere, as every id is
        embeds = torch.cat(
            [start, embed_soft_tokens(self._embed, tokens.soft, support, is_shared=is_shared).to(start.dtype), end], 1
        )
        mask = pad(tokens.mask, (1, len(after)), value=True)
        order = mask.int().argsort(dim=1, descending=True, stable=True)
        states = self._states(PackedSequence(embeds.take_along_dim(order[..., None], 1), prompt.key_values))
        return LastHidden(states, ids.take_along_dim(order, 1), mask.take_along_dim(order, 1))

    def _states(self, segment: PackedSequence) -> Tensor:
        (output,) = self._runner.forward([segment])
        assert output.last is not None
        return output.last

    def _check_length(self, length: int) -> None:
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and length > context:
            raise RewardUnavailableError(
                f"{length} tokens exceed the reward model's context of {context} tokens; shorten the conversation."
            )

    @torch.no_grad()
    def _place(self, messages: Sequence[dict[str, Any]]) -> _Place:
        """Render two answers, and return what they have in common."""
        one, other = self._render(messages, "a"), self._render(messages, "b")
        before = _common(one, other)
        end = len(one) - _common(one[:before:-1], other[:before:-1])
        answer = self._template.decode(one[before:end])
        if before == 0 or answer.strip() != "a":
            raise ChatTemplateError(
                f"the reward's template writes the answer 'a' as {answer!r} after {before} tokens; for a gradient it "
                "must write it unchanged, after at least one token: pass another chat_template=, or steers=False."
            )
        ids = torch.tensor([one[: before - 1]], dtype=torch.long, device=self.model.device)
        states = self._runner.prompt_key_values(self._embed(ids))
        after = torch.tensor(one[end:], dtype=torch.long, device=self.model.device)
        prompt = PolicyPrompt(tuple(messages), tuple(one[:before]), Prefill(lambda: states))
        return _Place(prompt, answer[: len(answer) - len(answer.lstrip())], after)

    def _after(self, blank: str, tokens: Tokens) -> Tokens:
        """Replace each candidate of the first position by the token of blank and candidate, if there is one."""
        if not blank:
            return tokens
        first = tokens.support[:, 0]
        known = {i: self._join(blank, i) for i in set(first.flatten().tolist())}
        joined = torch.tensor([[known[i] for i in row] for row in first.tolist()], device=first.device)
        return tokens._replace(support=torch.cat([joined[:, None], tokens.support[:, 1:]], 1))

    def _join(self, blank: str, token: int) -> int:
        if (blank, token) not in self._joined:
            ids = self._template.encode(blank + self._template.decode([token]))
            self._joined[blank, token] = ids[0] if len(ids) == 1 else token
        return self._joined[blank, token]

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """Embed ids by the model's module, since some modules scale; ids outside the vocabulary are zero."""
        module: Any = self.model.get_input_embeddings()
        is_known = ids < module.weight.shape[0]
        embedded: Tensor = module(ids.where(is_known, 0)) * is_known[..., None]
        return embedded


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common beginning of two lists."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (i, j) in pairs if i != j), min(len(one), len(other)))


def score_distinct(texts: Sequence[str], score: Callable[[list[str]], Tensor]) -> Tensor:
    """Return the scores of the texts, (C,); equal texts are scored once and get equal scores, bit for bit."""
    places = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return score(list(places))[[places[text] for text in texts]]
