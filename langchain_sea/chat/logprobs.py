"""Log-probabilities of an answer's tokens in OpenAI's form. Knows no reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.protocols import LOGITS, AnswerBatch

if TYPE_CHECKING:
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["compute_logprobs"]


@torch.no_grad()
def compute_logprobs(policy: CausalLMPolicy, prompt: PolicyPrompt, text: str, num_top: int) -> list[dict[str, Any]]:
    """Return log π of every token of the text, and of the `num_top` likeliest tokens at its position.

    These are the model's own probabilities, at temperature 1 and without a grammar.
    """
    ids = policy.encode(text)
    if not ids:
        return []
    logits = AnswerBatch.from_ids(policy, prompt, [ids], LOGITS).output.logits[0].log_softmax(-1)  # (T, V)
    top = logits.topk(num_top, -1)
    entries = []
    for position, token in enumerate(ids):
        pairs = zip(top.indices[position].tolist(), top.values[position].tolist(), strict=True)
        alternatives = [_entry(policy, other, value) for other, value in pairs]
        entry = _entry(policy, token, float(logits[position, token]))
        entries.append(entry | {"top_logprobs": alternatives})
    return entries


def _entry(policy: CausalLMPolicy, token: int, value: float) -> dict[str, Any]:
    text = policy.decode([token])
    return {"token": text, "bytes": list(text.encode()), "logprob": round(value, 6)}
