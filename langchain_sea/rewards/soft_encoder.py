"""An encoder with another tokenizer as a reward with a gradient, through a token alignment.

    input_p = E(own_p) + Σ_{t at p} Σ_k (soft_tk − hard_tk) · e_p(k),    e_p(k) the embedding of k's piece at p

where own is the reward's encoding of the likeliest text. On hard tokens the sum is zero, so that soft and hard scores
agree; its derivative in soft_tk is what the token k would change there, to first order. Shapes: C answers, T positions
of the policy, K candidates, S positions of the reward, D width.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from langchain_sea.core.conversation import last_user_text
from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.models.soft_embeddings import to_float32_or_wider
from langchain_sea.rewards.encoder import READ, EncoderReward
from langchain_sea.rewards.token_alignment import FLOOR, TokenAlignment, piece_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.rewards.pair_classifier import PairClassifier

__all__ = ["SoftEncoderReward", "encoder_reward"]


class SoftEncoderReward(EncoderReward):
    """An `EncoderReward` with a gradient.

    Attributes:
        alignment: of the policy's tokens with the encoder's.
    """

    def __init__(
        self,
        model: PreTrainedModel | PairClassifier,
        tokenizer: PreTrainedTokenizerBase,
        alignment: TokenAlignment,
        **options: Any,
    ) -> None:
        """Take the arguments of `EncoderReward`, and the alignment from the policy's tokenizer to `tokenizer`."""
        super().__init__(model, tokenizer, **options)
        self.alignment = alignment

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores, (C,), at least float32, differentiable in `view.tokens.soft`."""
        tokens = view.tokens
        rows = [ids[is_token].tolist() for ids, is_token in zip(tokens.ids, tokens.mask, strict=True)]
        pieces = [[view.policy.decode([i]) for i in row] for row in rows]
        inputs = self._inputs(last_user_text(view.prompt.messages, separator="\n"), ["".join(row) for row in pieces])
        places = [self._places(inputs, row, texts) for row, texts in enumerate(pieces)]
        read = {name: value.to(self.device) for name, value in inputs.items() if name in READ}
        ids = read.pop("input_ids")
        own = self._embedding(ids)  # (C, S, D)
        read["inputs_embeds"] = own + self._soft_change(view, places, own)
        return self.rule(to_float32_or_wider(self._logits(read))).to(tokens.soft.device)

    def _places(self, inputs: BatchEncoding, row: int, pieces: Sequence[str]) -> list[list[int]]:
        """Return for each of the policy's tokens the reward's positions that share characters with it."""
        side = 0 if self.answer_only else 1
        offsets = [
            (p, start, end)
            for p, (owner, (start, end)) in enumerate(
                zip(inputs.sequence_ids(row), inputs["offset_mapping"][row].tolist(), strict=True)
            )
            if owner == side and end > start
        ]
        return [[p for p, start, end in offsets if start < stop and begin < end] for begin, stop in piece_spans(pieces)]

    def _soft_change(self, view: AnswerBatch, places: Sequence[Sequence[Sequence[int]]], own: Tensor) -> Tensor:
        """Return what the soft tokens add to the reward's own encoding, (C, S, D): zero for hard tokens."""
        device = own.device
        soft, support = (part.to(device) for part in view.tokens[:2])
        pieces = self.alignment.lookup(support)  # (C, T, K, W)
        lengths = (pieces >= 0).sum(-1, keepdim=True)  # (C, T, K, 1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        gap = (soft - hard).to(own.dtype)[..., None].expand(pieces.shape)  # (C, T, K, W)
        change = torch.zeros_like(own)
        width = pieces.shape[-1]
        order = torch.arange(width, device=device)
        for place in range(width):
            at = [
                (c, t, positions[place], len(positions))
                for c, row in enumerate(places)
                for t, positions in enumerate(row)
                if place < len(positions)
            ]
            if not at:
                break
            c, t, p, count = (torch.tensor(column, device=device) for column in zip(*at, strict=True))
            # the last position of a token gets the mean of all remaining pieces
            last = (count == place + 1)[:, None, None]
            chosen, sizes = pieces[c, t], lengths[c, t]  # (N, K, W), (N, K, 1)
            is_here = ((order == place) | (last & (order > place))) & (chosen >= 0)
            weights = is_here / torch.where(last, sizes - place, 1).clamp(min=1) * gap[c, t]
            bags = embedding_bag(
                chosen.clamp(min=0).flatten(1),
                self._embedding.weight,
                per_sample_weights=weights.to(own.dtype).flatten(1),
                mode="sum",
            )
            change = change.index_put((c, p), bags, accumulate=True)
        return change


def encoder_reward(
    model: PreTrainedModel | PairClassifier,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    steers: bool | None = None,
    floor: float = FLOOR,
    **options: Any,
) -> EncoderReward:
    """Make a `SoftEncoderReward` if enough of the policy's tokens are mapped, else an `EncoderReward`.

    Args:
        model: as in `EncoderReward`.
        tokenizer: the model's; for a gradient it must be a fast one, which has offsets.
        policy_tokenizer: the policy's; without it the reward has no gradient and only ranks.
        steers: as in `reward_model`.
        floor: the lowest fraction of the policy's tokens that must be mapped.
        **options: those of `EncoderReward`.

    Raises:
        TokenizerMismatchError: it cannot have a gradient, and `steers` is True.
    """
    if policy_tokenizer is None or steers is False:
        return EncoderReward(model, tokenizer, **options)
    try:
        alignment = TokenAlignment.between(policy_tokenizer, tokenizer, floor=floor)
    except TokenizerMismatchError as error:
        if steers:
            raise
        warnings.warn(f"this reward only ranks: {error} steers=False does so silently.", stacklevel=2)
        return EncoderReward(model, tokenizer, **options)
    return SoftEncoderReward(model, tokenizer, alignment, **options)
