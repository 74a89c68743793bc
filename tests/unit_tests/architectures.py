"""Tiny models of several architectures with random weights, and a tokenizer, made in milliseconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
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
"""The usual ones, which every test of the policy runs on."""

_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_MLA = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
_DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_MAMBA2 = {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16}
_OTHERS: dict[str, dict[str, Any]] = {
    "cohere2": {**_GROUPED, "sliding_window": WINDOW, "layer_types": _LAYERS, "logit_scale": 2.0},
    "deepseek_v3": {
        **_SHAPE,
        **_EXPERTS,
        **_MLA,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gemma2": {
        **_HEADS,
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    "gpt_oss": {**_HEADS, "num_local_experts": 4, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "granite": {**_GROUPED, "logits_scaling": 2.0, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "sliding_window": WINDOW},
    "olmo2": _GROUPED,
    "olmoe": {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen2": _GROUPED,
    "qwen3_moe": {**_HEADS, **_EXPERTS, "num_experts": 4},
    "starcoder2": {**_GROUPED, "use_bias": True},
    # packed as well, although their types are not listed: tried on a few tokens
    "ernie4_5_moe": {**_GROUPED, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24},
    "granitemoe": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo3": {**_GROUPED, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "opt": {**_SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "smollm3": _GROUPED,
    # the rest through the whole sequence
    "bamba": {**_GROUPED, **_MAMBA, "attn_layer_indices": [1]},
    "bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 3, "n_head": 4},
    "falcon_h1": {**_GROUPED, **_MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "granitemoehybrid": {
        **_GROUPED,
        **_MAMBA,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 24,
        "layer_types": ["mamba", "attention", "mamba"],
    },
    "jamba": {
        **_GROUPED,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "num_experts": 4,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "lfm2": {**_GROUPED, "layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "mamba": {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 8},
    "mamba2": {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 3, **_MAMBA2},
    "phimoe": {**_GROUPED, "num_local_experts": 4, "sliding_window": WINDOW},
    "qwen3_next": {
        **_HEADS,
        **_EXPERTS,
        **_DELTA,
        "num_experts": 4,
        "shared_expert_intermediate_size": 24,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "recurrent_gemma": {**_SHAPE, "head_dim": 8, "lru_width": 32, "attention_window_size": WINDOW},
}
ALL_ARCHITECTURES = (*ARCHITECTURES, *_OTHERS)
"""By model type, as the registry of transformers names them."""


def tiny_model(
    name: str, *, tied: bool = False, seed: int = 0, vocab_size: int = VOCAB, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A model of random weights, wide enough for uneven distributions; in evaluation mode, frozen."""
    kind, options = _CONFIGS[name] if name in _CONFIGS else (partial(AutoConfig.for_model, name), _OTHERS[name])
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
