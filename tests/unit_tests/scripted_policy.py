"""A policy that nearly always writes one text: each token decides which one follows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langchain_sea.models.causal_lm import CausalLMPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

_CERTAINTY = 40.0  # nats


def make_scripted_policy(
    tokenizer: PreTrainedTokenizerFast, *texts: Sequence[str], chat_template: str | None = None
) -> CausalLMPolicy:
    """Make a model of one layer that adds nothing, so that the output layer sees the last token alone.

    Args:
        tokenizer: each string of the texts is one of its tokens.
        texts: sequences of tokens. Behind the last of each sequence, unless it goes on in another, the answer ends.
        chat_template: in place of the tokenizer's.
    """
    size = len(tokenizer)
    width = -(-size // 16) * 16
    config = LlamaConfig(
        vocab_size=size, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, pad_token_id=0, eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    following = dict[str, str]()
    for text in texts:
        following |= dict(pairwise(text))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:, :size] = torch.eye(size)
        for token in {each for text in texts for each in text}:
            follower = following.get(token, tokenizer.eos_token)
            before, after = tokenizer.convert_tokens_to_ids([token, follower])
            assert None not in (before, after), f"{token!r} and {follower!r} must be tokens"
            model.lm_head.weight[after, before] = _CERTAINTY / width**0.5
    return CausalLMPolicy(model.eval().requires_grad_(False), tokenizer, chat_template=chat_template)
