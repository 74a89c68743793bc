"""The models that are timed, and the text that they read: real weights, or a shape with random ones."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from langchain_sea import load_model, make_energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import registry
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy
    from langchain_sea.models.causal_lm import PolicyPrompt

TEXT = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")  # English that nobody edits
PRESET = PRESETS["default"]
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SHAPES: dict[str, dict[str, Any]] = {
    "random": {
        "vocab_size": 32_000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 10,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
    },
    "1b": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    },
    "8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
        "tie_word_embeddings": False,
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A policy with the rewards that steer it, under the default preset."""

    shape: str
    policy: CausalLMPolicy
    terms: tuple[RewardTerm, ...]

    @property
    def energy(self) -> Energy:
        """The default preset's."""
        return make_energy(self.policy, self.terms, preset=PRESET)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.policy.model.dtype

    @property
    def name(self) -> str:
        """Shape, dtype and device in words."""
        return f"{self.shape}, {str(self.dtype).removeprefix('torch.')} on {self.policy.device.type}"

    def text(self, count: int, *, skip: int = 0) -> list[int]:
        """So many ids of an English text, from a place in it on."""
        ids = self.policy.encode(TEXT)
        while len(ids) < skip + count:
            ids = ids + ids
        return ids[skip : skip + count]

    def prompt(self, length: int) -> PolicyPrompt:
        """A prompt of so many tokens."""
        return self.policy.prompt_from_ids(self.text(length), [{"role": "user", "content": "text"}])

    def starts(self, chains: int, length: int) -> list[list[int]]:
        """Different answers of so many tokens."""
        return [self.text(length, skip=100 + 97 * number) for number in range(chains)]


@cache
def subject(
    shape: str, device: str | None = None, dtype: torch.dtype | None = None, *, compiles: bool = False
) -> Subject:
    """`real`, or one of `SHAPES`; without a dtype the one that is loaded by default, for `1b` and `8b` bfloat16."""
    if shape == "real":
        policy = load_model("smollm2-135m", device, compile_layers=compiles, **({"dtype": dtype} if dtype else {}))
        return Subject(shape, policy, registry.make_terms(["safety"], policy))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    half = shape in {"1b", "8b"} or torch.device(device).type == "cuda"
    policy = random_policy(
        SHAPES[shape], device, dtype or (torch.bfloat16 if half else torch.float32), compiles=compiles
    )
    return Subject(shape, policy, (random_term(shape, policy),))


def random_policy(sizes: dict[str, Any], device: str, dtype: torch.dtype, *, compiles: bool = False) -> CausalLMPolicy:
    """A Llama of these sizes, its weights drawn from seed 0."""
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(**{"tie_word_embeddings": True} | sizes, **ids, use_cache=True)
    with torch.random.fork_rng(devices=()), torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return CausalLMPolicy(
        model.to(device).eval().requires_grad_(False), letters(sizes["vocab_size"]), compile_layers=compiles
    )


def random_term(name: str, policy: CausalLMPolicy) -> RewardTerm:
    """A head with random weights on the middle layer, the width and depth of the one that ships."""
    config = policy.model.config
    info = HeadInfo(policy=name, layer=config.num_hidden_layers // 2, hidden_size=config.hidden_size)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        head = HiddenStateHead(info)
    return RewardTerm(reward=HiddenStateReward(head.eval().requires_grad_(False)), name="random")


def letters(size: int) -> PreTrainedTokenizerFast:
    """Bytes, then pairs and triples of letters, so that every id has a text and no training is needed."""
    grown = chain(product(string.ascii_letters, repeat=2), product(string.ascii_letters, repeat=3))
    base = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = ["".join(parts) for parts in islice(grown, size - len(base))]
    bpe = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate([*base, *made])},
            merges=[(token[:-1], token[-1]) for token in made],
        )
    )
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    tokenizer.chat_template = CHATML
    return tokenizer
