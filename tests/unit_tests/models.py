"""Random models of the usual architectures, built in milliseconds, and a small tokenizer for all of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCAB = 300
WINDOW = 6  # of the architectures that slide one: short, so that a test's text is longer
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "The cat sat on the mat, and the dog sat on the cat. What is the capital of France? It is Paris.",
    "I am sorry, but I cannot help with that. Twelve plus thirty is forty-two; 12 + 30 = 42.",
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}',
)

_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GATED = _SHAPE | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 256}
_ARCHS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, _GATED),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, _GATED | {"head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, _GATED | {"sliding_window": WINDOW}),
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        _GATED
        | {
            "head_dim": 8,
            "num_hidden_layers": 3,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "phi3": (Phi3Config, Phi3ForCausalLM, _GATED | {"original_max_position_embeddings": 256}),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, _SHAPE | {"intermediate_size": 48, "max_position_embeddings": 256}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
}
ARCHS = tuple(_ARCHS)


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCAB` tokens with ChatML, no default system prompt; shared: do not change it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@functools.cache
def tiny_model(arch: str, *, tied: bool = True, vocab: int = VOCAB, seed: int = 0) -> PreTrainedModel:
    """A frozen float32 model with random weights of one of `ARCHS`; cached: do not change it."""
    config, model, sizes = _ARCHS[arch]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        built = model(
            config(
                vocab_size=vocab,
                tie_word_embeddings=tied,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
                initializer_range=0.2,  # the usual 0.02 leaves every distribution flat
                **sizes,
            )
        )
    return built.float().eval().requires_grad_(False)


def save_folder(path: Path, arch: str = "llama", **options: Any) -> Path:
    """Writes a model and the tokenizer the way a hub repository holds them."""
    tiny_model(arch, **options).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
