"""Compute the memory that some models' weights need: `python docs/memory.py`.

Prints the rows of the table in "Bring your own model". The sizes are those of the configurations that the models' authors
publish. The models are built without storage: nothing is downloaded, and no weights are read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

GROUP = 32  # columns of a row that share a scale and an offset in 4 bits
WIDTH = 2  # bytes of a value in bfloat16


def name_sizes(*sizes: int, **more: Any) -> dict[str, Any]:
    """Return the sizes that every family has under their names in transformers, and what one has beside them."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")  # fmt: skip
    return dict(zip(names, sizes, strict=True)) | more


_TIED = {"tie_word_embeddings": True}
_QWEN_EXPERTS = {"head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8}
_OSS_EXPERTS = {"head_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 4}
_DEEPSEEK_EXPERTS = {"moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "first_k_dense_replace": 3}  # fmt: skip
_MLA = {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.2 1B": ("llama", name_sizes(128_256, 2048, 8192, 16, 32, 8, **_TIED)),
    "Llama 3.1 8B": ("llama", name_sizes(128_256, 4096, 14_336, 32, 32, 8)),
    "Qwen3 4B": ("qwen3", name_sizes(151_936, 2560, 9728, 36, 32, 8, head_dim=128, **_TIED)),
    "Qwen3 30B-A3B": ("qwen3_moe", name_sizes(151_936, 2048, 6144, 48, 32, 4, **_QWEN_EXPERTS)),
    "Gemma 3 1B": ("gemma3_text", name_sizes(262_144, 1152, 6912, 26, 4, 1, head_dim=256)),
    "Mistral 7B v0.3": ("mistral", name_sizes(32_768, 4096, 14_336, 32, 32, 8)),
    "Mistral Nemo 12B": ("mistral", name_sizes(131_072, 5120, 14_336, 40, 32, 8, head_dim=128)),
    "Phi-4-mini": ("phi3", name_sizes(200_064, 3072, 8192, 32, 24, 8, pad_token_id=0, **_TIED)),
    "Phi-4": ("phi3", name_sizes(100_352, 5120, 17_920, 40, 40, 10, pad_token_id=0)),
    "gpt-oss 20B": ("gpt_oss", name_sizes(201_088, 2880, 2880, 24, 64, 8, **_OSS_EXPERTS)),
    "DeepSeek-R1-Distill-Qwen 7B": ("qwen2", name_sizes(152_064, 3584, 18_944, 28, 28, 4)),
    "DeepSeek-V3": ("deepseek_v3", name_sizes(129_280, 7168, 18_432, 61, 128, 128, **_DEEPSEEK_EXPERTS, **_MLA)),
    "Granite 3.3 8B": ("granite", name_sizes(49_159, 4096, 12_800, 40, 32, 8, **_TIED)),
    "SmolLM2 135M": ("llama", name_sizes(49_152, 576, 1536, 30, 9, 3, **_TIED)),
    "SmolLM3 3B": ("smollm3", name_sizes(128_256, 2048, 11_008, 36, 16, 4, **_TIED)),
    "OLMo 2 7B": ("olmo2", name_sizes(100_352, 4096, 11_008, 32, 32, 32)),
}
"""Model type and sizes, by the model's name."""


class WeightBytes(NamedTuple):
    """Bytes of a model's weights in each precision."""

    bfloat16: int
    int8: int
    int4: int


def count_bytes(model: Any) -> WeightBytes:  # noqa: ANN401 - transformers' models share no useful type
    """Count the bytes of a model's weights in bfloat16, and with `quantization="int8"` and `"int4"`.

    Only linear layers are quantized: embeddings, the output layer, norms, and experts, which are one tensor for each
    layer, stay in bfloat16.
    """
    shapes = [tuple(part.weight.shape) for part in model.base_model.modules() if type(part) is nn.Linear]
    whole = WIDTH * sum(parameter.numel() for parameter in model.parameters())
    rest = whole - WIDTH * sum(rows * columns for rows, columns in shapes)
    int8 = sum(rows * (columns + WIDTH) for rows, columns in shapes)  # a scale for each row
    int4 = sum(rows * -(-columns // GROUP) * (GROUP // 2 + 2 * WIDTH) for rows, columns in shapes)
    return WeightBytes(whole, rest + int8, rest + int4)


def list_rows() -> list[str]:
    """Return a row of the table for each model: its type, its parameters in billions, and gigabytes."""
    rows = []
    for name, (model_type, sizes) in MODELS.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))
        parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e9
        gigabytes = " | ".join(f"{size / 1e9:,.1f}" for size in count_bytes(model))
        rows.append(f"| {name} | `{model_type}` | {parameters:.2f} | {gigabytes} |")
    return rows


def main() -> None:
    """Print the rows."""
    print("\n".join(list_rows()))


if __name__ == "__main__":
    main()
