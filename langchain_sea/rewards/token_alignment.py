"""A sparse table between two tokenizers: which tokens of a reward stand for each token of the policy.

A token of the policy is decoded, with the space before it, and encoded by the reward's tokenizer, with its marks for
spaces and continuations. What that one cannot write, e.g. half of a character, is not mapped. Probabilities are mapped
to first order, never logits: the reward reads its own encoding of the current text, and what another token would change
is the difference of the two tokens' embeddings, piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.models.chat_template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = ["FLOOR", "TokenAlignment", "piece_spans"]

FLOOR = 0.9
_WIDTH = 4  # the most pieces of one token that are used
_NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class TokenAlignment:
    """The table, with the fractions of tokens that it maps.

    Attributes:
        pieces: (V, W) the reward's ids for each id of the policy, filled up with −1.
        share: the fraction of the policy's tokens, without special ones, that are mapped.
        exact: the fraction that are one token of the reward.
        reached: the fraction of the reward's tokens that are a piece of some token of the policy.
    """

    pieces: Tensor
    share: float
    exact: float
    reached: float

    @classmethod
    def between(
        cls, policy: PreTrainedTokenizerBase, reward: PreTrainedTokenizerBase, *, floor: float = FLOOR
    ) -> TokenAlignment:
        """Make the table from one tokenizer to another.

        Args:
            policy: the tokenizer of the policy.
            reward: the tokenizer of the reward.
            floor: the lowest fraction of the policy's tokens that must be mapped.

        Raises:
            TokenizerMismatchError: fewer are mapped; the message says how many, and names some that are not.
        """
        special = ChatTemplate(policy).special
        usable = [i for i in sorted(policy.get_vocab().values()) if i not in special]
        texts = [str(policy.decode([i], clean_up_tokenization_spaces=False)) for i in usable]
        rows = _Encoder(reward).pieces(texts)
        size = max(usable, default=0) + 1
        pieces = torch.full((size, _WIDTH), _NONE)
        for i, row in zip(usable, rows, strict=True):
            if row:
                pieces[i, : len(row[:_WIDTH])] = torch.tensor(row[:_WIDTH])
        mapped = [row is not None for row in rows]
        share = sum(mapped) / max(1, len(usable))
        if share < floor:
            missing = [repr(text) for text, is_mapped in zip(texts, mapped, strict=True) if not is_mapped][:8]
            raise TokenizerMismatchError(
                f"{share:.1%} of the policy's tokens can be written in those of {reward.name_or_path!r}, "
                f"fewer than the floor of {floor:.0%}: not {', '.join(missing)} and others."
            )
        exact = sum(row is not None and len(row) == 1 for row in rows) / max(1, len(usable))
        theirs = set(reward.get_vocab().values()) - ChatTemplate(reward).special
        reached = len({i for row in rows for i in row or ()} & theirs) / max(1, len(theirs))
        return cls(pieces, share, exact, reached)

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the reward's ids, (…, W), of the policy's ids, (…,), filled up with −1; unknown ids have none."""
        pieces = self.pieces.to(ids.device)[ids.clamp(max=len(self.pieces) - 1)]
        return pieces.masked_fill((ids >= len(self.pieces))[..., None], _NONE)


class _Encoder:
    """Encodes pieces of a text as one tokenizer would inside the text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab()
        self._unknown = tokenizer.unk_token_id
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        model = getattr(backend, "model", None)
        self._continuing: str | None = getattr(model, "continuing_subword_prefix", None) or None
        self._inside = ChatTemplate(tokenizer)._encode_inside  # noqa: SLF001 - the same way as an answer's pieces

    def pieces(self, texts: Sequence[str]) -> list[list[int] | None]:
        """Return the ids of each text: empty for spaces that the tokenizer drops, None if it cannot write the text."""
        return [self._piece(text) for text in texts]

    def _piece(self, text: str) -> list[int] | None:
        if "\ufffd" in text:  # part of a character
            return None
        if self._continuing is None:
            return self._known(self._inside(text))
        bare = text.strip()
        ids = self._known(self._tokenizer.encode(bare, add_special_tokens=False)) if bare else []
        if ids and bare[0].isalnum() and not text[:1].isspace():
            # a word's continuation: use the continuing token of its first piece, if there is one
            first = self._tokenizer.convert_ids_to_tokens(ids[0])
            ids[0] = self._vocabulary.get(f"{self._continuing}{first}", ids[0])
        return ids

    def _known(self, ids: Sequence[int]) -> list[int] | None:
        return None if self._unknown is not None and self._unknown in ids else list(ids)


def piece_spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Return the start and end of each piece in the text that they make up."""
    ends = list(accumulate(map(len, pieces)))
    return list(zip([0, *ends], ends, strict=False))
