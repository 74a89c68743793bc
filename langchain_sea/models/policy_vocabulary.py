"""The text side of a policy: its tokenizer, its chat template, and which ids answers may hold."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.generation import find_end_ids
from langchain_sea.models.template_markers import THOUGHT_TAGS
from langchain_sea.models.template_source import read_chat_template
from langchain_sea.models.turn_ends import find_turn_ends

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["PolicyVocabulary"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece writes a token of one byte; byte-level BPE (GPT-2) writes each byte as a letter."""


class PolicyVocabulary:
    """A causal language model's tokenizer and chat template.

    Attributes:
        model: in evaluation mode.
        tokenizer: the model's.
        vocab_size: V, the width of the logits.
        banned: (V,) bool, the ids that never occur inside an answer: special tokens but those that mark calls and
            reasoning, end ids, and ids that the tokenizer does not know.
        end_ids: the ids that end an answer.
        context: the most positions that the model reads, or None if its configuration has no limit.
        device: where the model's weights are.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | os.PathLike[str] | None = None,
    ) -> None:
        """Hold the parts.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's.
            chat_template: Jinja text or the path of a file; None takes the tokenizer's own.

        Raises:
            ChatTemplateError: `chat_template` cannot be read.
            ValueError: the model is in training mode.
        """
        if model.training:
            raise ValueError("the model is in training mode, where dropout changes what it says; call eval().")
        self.model, self.tokenizer = model, tokenizer
        source = None if chat_template is None else read_chat_template(chat_template)
        self._template = ChatTemplate(tokenizer, source, writes=True)
        config = model.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self._boundary = _find_boundary(config)
        self.device: torch.device = model.device
        self.end_ids = frozenset(find_end_ids(model, tokenizer)) | find_turn_ends(self._template)
        known = set(tokenizer.get_vocab().values()) - self._template.special - self.end_ids
        self.banned = torch.tensor([i not in known for i in range(self.vocab_size)], device=self.device)

    def context_after(self, num_prompt_tokens: int) -> int | None:
        """Return the most positions of a prompt of this length and its answer; None: there is no limit.

        With longrope the positions of all tokens change where a text grows beyond a boundary. The keys of a prompt
        below it would meet queries that are rotated in another way, so that its answers end there.
        """
        is_below = num_prompt_tokens - 1 <= (self._boundary or 0)  # the last token is read with the answer
        if self._boundary is None or not is_below:
            return self.context
        return self._boundary if self.context is None else min(self._boundary, self.context)

    @property
    def has_boundary(self) -> bool:
        """Whether `context_after` depends on the prompt."""
        return self._boundary is not None

    def is_control_token(self, text: str) -> bool:
        """Return whether this text is one token that structures a chat."""
        return self._template.is_control_token(text)

    def encode(self, text: str) -> list[int]:
        """Encode an answer's text without begin or end tokens; only markers of calls and reasoning stay special.

        Raises:
            TokenizerMismatchError: the model does not know one of the tokens.
        """
        ids = self._template.encode(text)
        self.require_known(ids)
        return ids

    def require_known(self, ids: Sequence[int]) -> None:
        """Check that the model has an embedding for each id.

        Raises:
            TokenizerMismatchError: it has none for one of them.
        """
        if ids and (largest := max(ids)) >= self.vocab_size:
            raise TokenizerMismatchError(
                f"the token {self.tokenizer.convert_ids_to_tokens(largest)!r} has the id {largest}, and the model "
                f"{self.model.name_or_path!r} knows ids below {self.vocab_size}: its tokenizer has "
                f"{len(self.tokenizer)} tokens. Use the tokenizer that the model was trained with, or call "
                "model.resize_token_embeddings(len(tokenizer)) and train the model on the new tokens."
            )

    def read_bytes(self, token: int) -> bytes:
        """Return the bytes of a token, which may be a part of a character; else those of its name."""
        written = str(self.tokenizer.convert_ids_to_tokens(token))
        if match := _BYTE_TOKEN.fullmatch(written):
            return bytes.fromhex(match[1])
        letters = {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
        if letters.keys() >= set(written):
            return bytes(letters[letter] for letter in written)
        return written.encode()

    def decode(self, ids: Sequence[int]) -> str:
        """Decode an answer's ids, without special tokens but those that mark calls and reasoning."""
        return self._template.decode(ids)

    def find_reasoning_tags(self, ids: Sequence[int]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Return the ids of the tags around reasoning that may follow a prompt: opening and closing.

        Args:
            ids: the prompt. If it ends in reasoning, only the tags of that may follow.
        """
        closing = self._template.find_open_thought(ids)
        return tuple(tags for (_, end), tags in self._reasoning_tags.items() if closing in (None, end))

    @cached_property
    def _reasoning_tags(self) -> dict[tuple[str, str], tuple[tuple[int, ...], tuple[int, ...]]]:
        """The ids of all tags around reasoning."""
        encode = self._template.encode  # a model need not know the tags
        return {(opening, end): (tuple(encode(opening)), tuple(encode(end))) for opening, end in THOUGHT_TAGS}

    def opens_thought(self, ids: Sequence[int]) -> bool:
        """Return whether a prompt ends with a tag in which the model thinks, as some templates write it."""
        return self._template.find_open_thought(ids) is not None

    def count_tokens(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None) -> int:
        """Count the ids that `prompt` would have; nothing is computed."""
        return len(self._template.chat(messages, tools))


def _find_boundary(config: Any) -> int | None:  # noqa: ANN401 - configurations share no type
    """Return the length above which a model's longrope uses other factors; None: it has no such boundary."""
    rope = getattr(config, "rope_parameters", None) or {}
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    for part in ropes:
        if part.get("rope_type") == "longrope":
            key = "original_max_position_embeddings"
            boundary: int | None = part.get(key) or getattr(config, key, None)
            return boundary
    return None
