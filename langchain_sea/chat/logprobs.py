"""What the policy thinks of each token of an answer, in OpenAI's form. Knows no reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.protocols import LOGITS, AnswerBatch

if TYPE_CHECKING:
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["logprobs"]


@torch.no_grad()
def logprobs(policy: CausalLMPolicy, prompt: PolicyPrompt, text: str, top: int) -> list[dict[str, Any]]:
    """Log π of every token, and of the `top` likeliest ones beside it.

    The policy's own, at temperature 1 and without what a grammar forbids.
    """
    ids = policy.encode(text)
    if not ids:
        return []
    logits = AnswerBatch.hard(policy, prompt, [ids], LOGITS).reading.logits[0].log_softmax(-1)  # (T, V)
    likeliest = logits.topk(top, -1)
    found = []
    for place, token in enumerate(ids):
        others = zip(likeliest.indices[place].tolist(), likeliest.values[place].tolist(), strict=True)
        entry = _entry(policy, token, float(logits[place, token]))
        found.append(entry | {"top_logprobs": [_entry(policy, other, value) for other, value in others]})
    return found


def _entry(policy: CausalLMPolicy, token: int, value: float) -> dict[str, Any]:
    text = policy.decode([token])
    return {"token": text, "bytes": list(text.encode()), "logprob": round(value, 6)}
