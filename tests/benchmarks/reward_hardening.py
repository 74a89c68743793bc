"""What a head is worth once it is followed by gradient: the key `hardening` of `rewards.py`.

Each head is attacked on the same prompts with thirty steps. Of the texts whose value rose highest above the
draft's, one a prompt, how many does the gate, another model trained on other questions, take for good?
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import public_data

from langchain_sea import load_gate, load_model
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD, HiddenStateHead
from langchain_sea.training.adversarial import Attack, attack_head

FIRST_HEAD = Path(__file__).parent / "weights" / "first_head.safetensors"
"""A head that was never hardened, for comparison."""
ATTACK = Attack(steps=30, chains=4, tokens=32)
_TOGETHER = 8


def praised(head: HiddenStateHead, questions: list[str], seed: int) -> dict[str, Any]:
    """Prompts whose best text the attack raised, and what the gate says of these."""
    policy, gate = load_model("smollm2-135m"), load_gate("safety")
    attack = Attack(steps=ATTACK.steps, chains=ATTACK.chains, tokens=ATTACK.tokens, seed=seed)
    rises, verdicts, drafts = list[float](), list[float](), list[float]()
    for start in range(0, len(questions), _TOGETHER):
        part = questions[start : start + _TOGETHER]
        prompts = [[{"role": "user", "content": question}] for question in part]
        for question, found in zip(part, attack_head(head, policy, prompts, attack), strict=True):
            text, value, _ = max(found, key=lambda each: each[1])
            draft, before, _ = found[0]
            if value > before:
                rises.append((value - before) / head.info.scale)
                sure = gate(question, [text, draft])
                verdicts.append(float(sure[0] >= gate.threshold))
                drafts.append(float(sure[1] >= gate.threshold))
    return {"praised": len(verdicts), "rise": round(statistics.fmean(rises), 3), "judge_praises_too": round(statistics.fmean(verdicts), 4),
            "judge_praises_draft": round(statistics.fmean(drafts), 4)}  # fmt: skip


def hardening(data: Path, seed: int, count: int, first_head: Path | None) -> dict[str, Any]:
    """The hardened head's share ÷ the first head's, on AdvBench."""
    questions = public_data.sample(public_data.advbench(data), count, "hardening", seed)
    first, hard = (
        praised(HiddenStateHead.load(path), questions, seed) for path in (first_head or FIRST_HEAD, SAFETY_HEAD)
    )
    both = first["judge_praises_too"], hard["judge_praises_too"]
    value = round(both[1] / both[0], 3) if both[0] and both[1] is not None else None
    return {"value": value, "first": first, "hardened": hard, "prompts": count}
