"""Many texts at once by transformers' own sampling, and their nats, for `safety_data.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from langchain_sea.models.causal_lm import CausalLMPolicy

_ROWS = 64  # answers whose nats are read in one forward


def prompt_ids(policy: CausalLMPolicy, question: str, opening: str) -> list[int]:
    """What stands before the answer, as the policy writes it."""
    message = [{"role": "user", "content": question}]
    ids = policy.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    return [*ids, *policy.encode(opening)] if opening else list(ids)


def prefill(policy: CausalLMPolicy, begun: list[list[int]], heats: list[float], count: int) -> list[list[int]]:
    """What transformers samples behind each row, up to and with its end."""
    ids, mask = _padded(policy, begun, left=True)
    divisor = torch.tensor(heats, device=ids.device)[:, None]
    found = policy.model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=True, top_k=0, top_p=1.0,
        logits_processor=[lambda _, logits: logits / divisor],
        eos_token_id=list(policy.end_ids), pad_token_id=min(policy.end_ids),
    )[:, ids.shape[1] :].tolist()  # fmt: skip
    ends = [next((n for n, i in enumerate(row) if i in policy.end_ids), len(row)) for row in found]
    return [row[: end + 1] for row, end in zip(found, ends, strict=True)]


@torch.no_grad()
def nats(policy: CausalLMPolicy, pairs: list[tuple[list[int], str]]) -> list[float]:
    """Mean −log π of each answer's tokens."""
    found: list[float] = []
    for start in range(0, len(pairs), _ROWS):
        part = [(ids, policy.encode(text) or [0]) for ids, text in pairs[start : start + _ROWS]]
        ids, mask = _padded(policy, [[*prompt, *answer] for prompt, answer in part])
        answered = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(part):
            answered[row, len(prompt) : len(prompt) + len(answer)] = True
        logits = policy.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        logs = logits.gather(-1, ids[:, 1:, None]).squeeze(-1) - logits.logsumexp(-1)
        kept = answered[:, 1:]
        found += (-(logs * kept).sum(1) / kept.sum(1)).tolist()
    return found


def _padded(policy: CausalLMPolicy, rows: list[list[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """(N, L) ids and their mask."""
    longest = max(map(len, rows))
    fill = [min(policy.end_ids)]
    ids = [fill * (longest - len(r)) + r if left else r + fill * (longest - len(r)) for r in rows]
    mask = [[0] * (longest - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (longest - len(r)) for r in rows]
    return torch.tensor(ids, device=policy.device), torch.tensor(mask, device=policy.device)
