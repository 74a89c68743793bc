"""Between two tokenizers: which tokens of a reward stand for each token of the policy. Knows no model.

The table is sparse: a policy's token is written as text, with the blank before it, and encoded by the
reward's tokenizer in the way in which that one marks blanks and continuations. What cannot be written there,
as half of a character, is not mapped. Probabilities are carried over, never logits, to first order: for the
text that stands the reward reads its own encoding, and what another token would change there is the
difference of the two tokens' embeddings, piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.models.chat_template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = ["FLOOR", "TokenAlignment", "spans"]

FLOOR = 0.9
_WIDTH = 4  # pieces of one token that are looked at
_NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class TokenAlignment:
    """The table.

    Attributes:
        pieces: (V, W) the reward's ids for each of the policy's, −1 where there are fewer.
        share: of the policy's tokens that are mapped, special ones left out.
        exact: of them that are one token there.
        reached: of the reward's tokens, those that some token of the policy contains.
    """

    pieces: Tensor
    share: float
    exact: float
    reached: float

    @classmethod
    def between(
        cls, policy: PreTrainedTokenizerBase, reward: PreTrainedTokenizerBase, *, floor: float = FLOOR
    ) -> TokenAlignment:
        """The table from one tokenizer to another.

        Args:
            policy: whose tokens are chosen.
            reward: whose tokens are read.
            floor: the least share of the policy's tokens.

        Raises:
            TokenizerMismatchError: fewer are mapped; the message says how many, and which are not.
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
            lost = [repr(text) for text, known in zip(texts, mapped, strict=True) if not known][:8]
            raise TokenizerMismatchError(
                f"{share:.1%} of the policy's tokens can be written in those of {reward.name_or_path!r}, "
                f"fewer than the floor of {floor:.0%}: not {', '.join(lost)} and others."
            )
        exact = sum(row is not None and len(row) == 1 for row in rows) / max(1, len(usable))
        theirs = set(reward.get_vocab().values()) - ChatTemplate(reward).special
        reached = len({i for row in rows for i in row or ()} & theirs) / max(1, len(theirs))
        return cls(pieces, share, exact, reached)

    def of(self, ids: Tensor) -> Tensor:
        """(…,) policy's ids → (…, W) the reward's, −1 where there are fewer; unknown ids have none."""
        known = ids.clamp(max=len(self.pieces) - 1)
        found = self.pieces.to(ids.device)[known]
        return found.masked_fill((ids >= len(self.pieces))[..., None], _NONE)


class _Encoder:
    """How one tokenizer writes the piece of a text that follows other text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab()
        self._unknown = tokenizer.unk_token_id
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        model = getattr(backend, "model", None)
        self._continuing: str | None = getattr(model, "continuing_subword_prefix", None) or None
        self._inside = ChatTemplate(tokenizer)._encode_inside  # noqa: SLF001 - the same way as an answer's pieces

    def pieces(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of each, none for blanks that the tokenizer leaves out, None where it cannot write it."""
        return [self._piece(text) for text in texts]

    def _piece(self, text: str) -> list[int] | None:
        if "\ufffd" in text:  # part of a character
            return None
        if self._continuing is None:
            return self._known(self._inside(text))
        bare = text.strip()
        found = self._known(self._tokenizer.encode(bare, add_special_tokens=False)) if bare else []
        if found and bare[0].isalnum() and not text[:1].isspace():
            # a word's continuation: its first piece as one that follows others, where there is such a token
            first = self._tokenizer.convert_ids_to_tokens(found[0])
            found[0] = self._vocabulary.get(f"{self._continuing}{first}", found[0])
        return found

    def _known(self, ids: Sequence[int]) -> list[int] | None:
        return None if self._unknown is not None and self._unknown in ids else list(ids)


def spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Where each piece of a text stands in it."""
    found, at = [], 0
    for piece in pieces:
        found.append((at, at + len(piece)))
        at += len(piece)
    return found
