"""Prompts, samples and success of a model on tiny problems; knows no training and no tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tiny_model.problem import Problem

Example = tuple[list[int], int]

_BATCH = {"cpu": 128, "cuda": 1024}
LONGEST = {"arithmetic": 48, "tool": 96, "polite": 48}


def prompt_text(tokenizer: PreTrainedTokenizerBase, problem: Problem) -> str:
    """The conversation as the model reads it, up to where the assistant speaks."""
    tools: list[dict[Any, Any] | Callable[..., Any]] | None = list(problem.tools) if problem.tools else None
    text = tokenizer.apply_chat_template(problem.messages, tools=tools, tokenize=False, add_generation_prompt=True)
    return str(text)


def encode(tokenizer: PreTrainedTokenizerBase, problem: Problem, answer: str) -> Example:
    """The tokens of a problem with an answer and its end, and how many of them are the prompt."""
    prompt = tokenizer.encode(prompt_text(tokenizer, problem), add_special_tokens=False)
    spoken = tokenizer.encode(f"{answer}{tokenizer.eos_token}", add_special_tokens=False)
    return prompt + spoken, len(prompt)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    *,
    seed: int,
    longest: int,
    greedy: bool = False,
) -> list[str]:
    """One answer to each problem, at temperature 1 unless `greedy`; the same for the same seed."""
    prompts = [prompt_text(tokenizer, problem) for problem in problems]
    # Prompts of like length share a batch, which saves padding.
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    size = _BATCH.get(model.device.type, 128)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            texts = _generate(model, tokenizer, [prompts[index] for index in chosen], longest, greedy=greedy)
            for index, text in zip(chosen, texts, strict=True):
                answers[index] = text
    return answers


def success(problems: Sequence[Problem], answers: Sequence[str]) -> float:
    """The share of answers that pass their problem's check."""
    return sum(problem.check(answer) for problem, answer in zip(problems, answers, strict=True)) / len(problems)


def _generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], longest: int, *, greedy: bool
) -> list[str]:
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    generate: Any = model.generate
    output = generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=longest,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )
    answers = output[:, inputs["input_ids"].shape[1] :]
    return [str(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]
