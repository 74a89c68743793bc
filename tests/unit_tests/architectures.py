"""Tiny models of several architectures with random weights, and a tokenizer, made in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

VOCAB = 320
CONTEXT = 256
WINDOW = 8
CHATML = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + (message['content'] | trim) + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if tools -%}{{- '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' -}}{%- endif -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKUP = ("<tool_call>", "</tool_call>", "<think>", "</think>")
CORPUS = (
    "the policy writes an answer and the reward judges the answer",
    "what is two and three? the answer is five.",
    'def add(a, b):\n    return a + b\n\n{"name": "add", "arguments": {"a": 1}}',
    "system user assistant tools <|im_end|> <think> </tool_call>",
)

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 8}
_GPT2 = {key: _SHAPE[key] for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
_CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, _GROUPED),
    "qwen3": (Qwen3Config, _HEADS),
    "mistral": (MistralConfig, {**_HEADS, "sliding_window": WINDOW}),
    "gemma3": (
        Gemma3TextConfig,
        {**_HEADS, "sliding_window": WINDOW, "layer_types": _LAYERS, "query_pre_attn_scalar": 8},
    ),
    "phi3": (Phi3Config, _GROUPED),
    "gpt_neox": (GPTNeoXConfig, _SHAPE),
    "gpt2": (GPT2Config, {**_GPT2, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT}),
}
ARCHITECTURES = tuple(_CONFIGS)


def tiny_model(
    name: str, *, tied: bool = False, seed: int = 0, vocab_size: int = VOCAB, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A model of random weights, wide enough for uneven distributions; in evaluation mode, frozen."""
    kind, options = _CONFIGS[name]
    config = kind(**{**options, "vocab_size": vocab_size, "tie_word_embeddings": tied})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).eval().requires_grad_(False)


def tiny_tokenizer(
    *, chat_template: str | None = CHATML, extra: Sequence[str | AddedToken] = (), **options: Any
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with ChatML; ids 0 to 2 are pad, begin of message, end of message."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 10, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([*MARKUP, *extra])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
        **options,
    )
