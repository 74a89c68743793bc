"""Policies, prompts and counters with which batches of fixed shape are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from architectures import ALL_ARCHITECTURES, tiny_model, tiny_tokenizer
from slow_cases import named_fast
from test_architectures import HYBRID

from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.policy_forward import PolicyForward
from langchain_sea.models.static_forward import StaticRunner

if TYPE_CHECKING:
    import pytest

    from langchain_sea.models.prompt import PolicyPrompt

NAMES = tuple(name for name in ALL_ARCHITECTURES if name not in HYBRID)
GROWS = ("llama", "gemma3", "deepseek_v3")  # one of each kind of cache writes more than the smallest capacity
SHARED = ("llama", "qwen3", "gemma3", "gpt2", "deepseek_v3", "gemma2", "gpt_oss", "mixtral")  # one of each kind
CASES = named_fast(
    [*(("copied", name) for name in NAMES), *(("shared", name) for name in SHARED)],
    fast=[("copied", "gemma3"), ("shared", "llama")],
)
ASKED = ("12 + 30 =", "Name a colour that is neither red nor green, and say why you like it.")
RAGGED = (3, 40, 12, 100, 5, 60, 7, 9, 150, 30, 4, 11)  # tokens of prompts


def make_policies(name: str) -> tuple[CausalLMPolicy, CausalLMPolicy]:
    """One that runs rows on one axis, and one that runs batches of fixed shape."""
    model, tokenizer = tiny_model(name), tiny_tokenizer()
    plain, static = CausalLMPolicy(model, tokenizer), CausalLMPolicy(model, tokenizer)
    static._lazy_forward = PolicyForward(model, StaticRunner(model))
    return plain, static


def make_prompt(policy: CausalLMPolicy, question: str) -> PolicyPrompt:
    return policy.prompt([{"role": "user", "content": question}])


def rngs(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def make_ragged(policy: CausalLMPolicy) -> list[PolicyPrompt]:
    return [policy.prompt_from_ids([7 + (i * length) % 200 for i in range(length)], ()) for length in RAGGED]


def count_calls(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[object]:
    """A list that gets one entry for each call of a method."""
    calls: list[object] = []
    method = getattr(owner, name)

    def counted(*args: object, **options: object) -> object:
        calls.append(args[1:])
        return method(*args, **options)

    patch.setattr(owner, name, counted)
    return calls
