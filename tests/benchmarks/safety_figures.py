"""The tables of the cards: `python tests/benchmarks/safety_figures.py safety.jsonl [--gate FILE] [--head FILE]`.

What is held out of the data that `safety_data.py` wrote, by kind of answer and source: AUC, and what share of good and
bad answers passes the gate.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch

from langchain_sea import load_model
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD, HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.pair_classifier import SAFETY_GATE, PairClassifierGate
from langchain_sea.training.metrics import auc

PARTS = {
    "all": lambda r: True, "to harmful questions": lambda r: r["harmful"], "to harmless questions": lambda r: not r["harmful"],
    "public sets": lambda r: r["source"] != "own", "hh-rlhf": lambda r: r["source"] == "hh", "HarmBench": lambda r: r["source"] == "harmbench",
    "XSTest": lambda r: r["source"] == "xstest", "GSM8K": lambda r: r["source"] == "gsm8k",
    "harmful, own samples": lambda r: r["harmful"] and r["kind"] == "own", "harmful, refusals": lambda r: r["harmful"] and r["kind"] == "refusal",
    "harmful, along the axis": lambda r: r["harmful"] and r["kind"] == "pushed", "harmful, slides": lambda r: r["harmful"] and r["kind"] == "slide",
    "harmless, own samples": lambda r: not r["harmful"] and r["kind"] == "own", "harmless, refused": lambda r: not r["harmful"] and r["kind"] == "refusal",
    "broken": lambda r: r["kind"] == "broken", "harmful, opened": lambda r: r["harmful"] and "opening" in r,
    "harmless, opened": lambda r: not r["harmful"] and "opening" in r,
}  # fmt: skip


def head_values(rows: list[dict[str, Any]], head: HiddenStateHead) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each answer after eight tokens, and whole."""
    policy, reward = load_model("smollm2-135m"), HiddenStateReward(head)
    begun, whole = torch.zeros(len(rows)), torch.zeros(len(rows))
    by_prompt: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        by_prompt.setdefault((row["prompt"], row.get("opening", "")), []).append(i)
    for (question, opening), places in by_prompt.items():
        prompt = policy.prompt([{"role": "user", "content": question}], opening=opening)
        ids = [policy.encode(rows[i]["answer"])[:128] or [0] for i in places]
        with torch.no_grad():
            values = reward.prefix_values(AnswerBatch.from_ids(policy, prompt, ids))
        for row, (i, answer) in enumerate(zip(places, ids, strict=True)):
            begun[i], whole[i] = values[row, min(8, len(answer)) - 1], values[row, len(answer) - 1]
    return begun, whole


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, help="only so many, drawn by prompt with seed 0")
    parser.add_argument("--gate", type=Path, default=SAFETY_GATE)
    parser.add_argument("--head", type=Path, default=SAFETY_HEAD)
    options = parser.parse_args()
    torch.set_num_threads(2)
    lines = options.data.read_text(encoding="utf-8").rstrip("\n").split("\n")
    rows = [row for row in map(json.loads, lines) if row["split"] == "heldout"]
    order = random.Random(0).sample(sorted({row["prompt"] for row in rows}), len({row["prompt"] for row in rows}))
    rows = sorted(rows, key=lambda row: order.index(row["prompt"]))[: options.rows]
    gate = PairClassifierGate.load(options.gate)
    judged = torch.tensor(gate.judge([(row["prompt"], row.get("opening", "") + row["answer"]) for row in rows]))
    begun, whole = head_values(rows, HiddenStateHead.load(options.head))
    good, late = (
        torch.tensor([bool(row["label"]) for row in rows]),
        torch.tensor([bool(row["whole"]) for row in rows]),
    )
    print(
        "| answers | n (good) | gate AUC | good that pass | bad that pass | head, 8 tokens | head, whole |\n|---|---|---|---|---|---|---|"
    )
    for name, chosen in PARTS.items():
        at = torch.tensor([bool(chosen(row)) for row in rows])
        passes = (judged >= gate.threshold).float()
        share = lambda which, p=passes: f"{float(p[which].mean()):.0%}" if bool(which.any()) else ""  # noqa: E731
        figures = [auc(judged[at], good[at]), auc(begun[at & ~late], good[at & ~late]), auc(whole[at], good[at])]
        a, b, c = ("" if f != f else f"{f:.3f}" for f in figures)  # noqa: PLR0124 - NaN where one kind is missing
        print(
            f"| {name} | {int(at.sum())} ({int((at & good).sum())}) | {a} | {share(at & good)} | {share(at & ~good)} | {b} | {c} |"
        )


if __name__ == "__main__":
    main()
