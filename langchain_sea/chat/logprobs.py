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
    ids = policy.encode(text)[: policy.room_after(prompt)]
    if not ids:
        return []
    logits = AnswerBatch.from_ids(policy, prompt, [ids], LOGITS).output.logits[0].log_softmax(-1)  # (T, V)
    top = logits.topk(num_top, -1)
    letter = policy.encode("a")[-1:]  # some tokenizers leave out a space at the beginning of a text, and only there
    entries = []
    for position, token in enumerate(ids):
        pairs = zip(top.indices[position].tolist(), top.values[position].tolist(), strict=True)
        before = letter if position else []
        alternatives = [_entry(policy, before, other, value) for other, value in pairs]
        entry = _entry(policy, before, token, float(logits[position, token]))
        entries.append(entry | {"top_logprobs": alternatives})
    return entries


def _entry(policy: CausalLMPolicy, before: list[int], token: int, value: float) -> dict[str, Any]:
    """Return the entry of a token that follows others."""
    text = policy.decode([*before, token]).removeprefix(policy.decode(before))
    # of a part of a character the text is U+FFFD
    encoded = policy.read_bytes(token) if "\ufffd" in text else text.encode()
    return {"token": text, "bytes": list(encoded), "logprob": round(value, 6)}
