"""Policies, reward models and views with which rewards are tested."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from architectures import VOCAB, tiny_model, tiny_tokenizer
from slow_cases import first_fast
from transformers import AutoModelForSequenceClassification

from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.sampling.relaxation import full_support

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel


QUESTION = [
    {"role": "system", "content": "answer"},
    {"role": "user", "content": "what is one and one?"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "what is two and three?"},
]
TEXTS = ("the answer is five.", "no", "the reward judges the answer, and the policy writes", "five", "no")
every_classifier = pytest.mark.parametrize("name", first_fast(["llama", "gpt2", "qwen3", "mistral", "gemma3"], 2))


@cache
def policy(name: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32) -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model(name, seed=seed, dtype=dtype), tiny_tokenizer())


@cache
def classifier(
    name: str = "llama",
    *,
    labels: int = 1,
    padding: int | None = 0,
    vocab_size: int = VOCAB,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    config = copy.deepcopy(tiny_model(name).config)
    config.num_labels, config.pad_token_id, config.vocab_size = labels, padding, vocab_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).eval().requires_grad_(False)


def view_of(texts: Sequence[str], messages: Sequence[dict[str, Any]] = QUESTION, **options: Any) -> AnswerBatch:
    writer = policy(**options)
    return AnswerBatch(writer, writer.prompt(messages), Tokens.from_ids([writer.encode(text) for text in texts]))


def soft_view(writer: CausalLMPolicy, *, candidates: int | None = 5, seed: int = 0) -> AnswerBatch:
    """Two chains of three random soft tokens in float64, on a few candidates each or on all ids."""
    generator = torch.Generator().manual_seed(seed)
    size = candidates or writer.vocab_size
    soft = torch.rand(2, 3, size, generator=generator, dtype=torch.float64).softmax(-1)
    support = full_support(torch.zeros(2, 3, dtype=torch.long), writer.vocab_size)
    if candidates:
        support = torch.rand(2, 3, VOCAB - 30, generator=generator).topk(candidates).indices + 10
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return AnswerBatch(writer, writer.prompt(QUESTION), Tokens(soft.requires_grad_(), support, mask))


def assert_gradient(
    reward: DifferentiableReward,
    view: AnswerBatch,
    exact: Callable[[AnswerBatch], Tensor] | None = None,
    *,
    rtol: float = 1e-5,
) -> None:
    """The derivative in some entries agrees with central differences of `exact`; it is zero at padding."""
    soft = view.tokens.soft
    (gradient,) = torch.autograd.grad(reward.score_soft(view).sum(), soft)
    assert gradient[1, 2].abs().max() == 0
    for index in [(0, 0, 0), (0, 2, 1), (1, 0, 3), (1, 1, 2)]:
        ends = []
        for step in (1e-5, -1e-5):
            moved = soft.detach().clone()
            moved[index] += step
            moved_view = AnswerBatch(view.policy, view.prompt, view.tokens._replace(soft=moved))
            ends.append((exact or reward.score_soft)(moved_view).sum())
        difference = (ends[0] - ends[1]) / 2e-5
        assert difference.abs() > 1e-6
        torch.testing.assert_close(gradient[index], difference, atol=1e-7, rtol=rtol)
