"""Log-probabilities of an answer's tokens in OpenAI's form. Knows no reward."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.core.protocols import LOGITS, AnswerBatch

if TYPE_CHECKING:
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["compute_logprobs"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece writes a token of one byte."""
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = (byte for byte in range(0x100) if byte not in _PRINTABLE)
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)}
"""The letters by which byte-level BPE (GPT-2) writes bytes in its tokens."""


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
    return {"token": text, "bytes": list(_to_bytes(policy, token, text)), "logprob": round(value, 6)}


def _to_bytes(policy: CausalLMPolicy, token: int, text: str) -> bytes:
    """Return a token's bytes, also where they are a part of a character, and its text is U+FFFD."""
    written = str(policy.tokenizer.convert_ids_to_tokens(token))
    if "\ufffd" not in text:
        return text.encode()
    if match := _BYTE_TOKEN.fullmatch(written):
        return bytes.fromhex(match[1])
    if _BYTES.keys() >= set(written):
        return bytes(_BYTES[letter] for letter in written)
    return text.encode()
