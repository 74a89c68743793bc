"""How well what ships ranks real answers that it never learned from: the key `ranking` of `rewards.py`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import public_data
import torch

from langchain_sea import load_gate, load_model
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.rewards import registry
from langchain_sea.training.metrics import auc

if TYPE_CHECKING:
    from pathlib import Path

Judge = Callable[[list[dict[str, str]], Sequence[str]], list[float]]
Group = tuple[list[dict[str, str]], list[str], list[str]]  # conversation, good answers, bad answers
_LONGEST = 128  # tokens of an answer that the head reads here: it was fitted to short ones


def head_judge() -> Judge:
    """The shipped head on the policy's own states."""
    policy = load_model("smollm2-135m")
    (term,) = registry.make_terms(["safety"], policy)

    def judge(messages: list[dict[str, str]], answers: Sequence[str]) -> list[float]:
        prompt = policy.prompt(messages)
        texts = [policy.decode(policy.encode(answer)[:_LONGEST]) for answer in answers]
        view = AnswerBatch.from_ids(policy, prompt, [policy.encode(text) or [0] for text in texts])
        return term.score(view, texts).tolist()

    return judge


def gate_judge() -> Judge:
    """The shipped gate on the last question."""
    gate = load_gate("safety")
    return lambda messages, answers: list(gate(messages[-1]["content"], list(answers)))


def gsm8k_groups(data: Path, count: int, seed: int) -> list[Group]:
    """Right and wrong model solutions of one question."""
    found = []
    kinds = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    for row in public_data.read_table(data / "gsm8k/example_model_solutions.jsonl"):
        sides: tuple[list[str], list[str]] = ([], [])
        for kind in kinds:
            sides[not row[kind]["is_correct"]].append(row[kind]["solution"])
        if all(sides):
            found.append(([{"role": "user", "content": row["question"]}], *sides))
    return public_data.sample(found, count, "gsm8k solutions", seed)


def truthfulqa_groups(data: Path, count: int, seed: int) -> list[Group]:
    """True and false answers of one question."""
    found = []
    for row in public_data.read_table(data / "truthfulqa/TruthfulQA.csv"):
        sides = [
            [a.strip() for a in row[f"{kind} Answers"].split(";") if a.strip()] for kind in ("Correct", "Incorrect")
        ]
        found.append(([{"role": "user", "content": row["Question"]}], sides[0], sides[1]))
    return public_data.sample(found, count, "truthfulqa", seed)


def hh_groups(data: Path, count: int, seed: int) -> list[Group]:
    """The last 200 preference pairs, which nothing learned from."""
    pairs = [(messages, [good], [bad]) for messages, good, bad in public_data.hh_pairs(data, reported=True)]
    return public_data.sample(pairs, count, "hh", seed)


def in_order(judge: Judge, groups: Sequence[Group]) -> dict[str, float]:
    """Share of (good, bad) pairs of one question in order, mean over questions, and the AUC over all."""
    shares, values, labels = [], [], []
    for messages, good, bad in groups:
        found = judge(messages, [*good, *bad])
        high, low = found[: len(good)], found[len(good) :]
        shares.append(statistics.fmean((h > x) + 0.5 * (h == x) for h in high for x in low))
        values += found
        labels += [1.0] * len(good) + [0.0] * len(bad)
    whole = auc(torch.tensor(values), torch.tensor(labels))
    return {"value": round(statistics.fmean(shares), 4), "auc": round(whole, 4), "questions": len(groups)}


def ranking(data: Path, seed: int, count: int) -> dict[str, Any]:
    """Every set under both judges."""
    sets = {
        "gsm8k": gsm8k_groups(data, count, seed),
        "truthfulqa": truthfulqa_groups(data, count, seed),
        "hh_last_200": hh_groups(data, 200, seed),
    }
    judges = {"head": head_judge(), "gate": gate_judge()}
    return {f"{who}_{name}": in_order(judge, groups) for who, judge in judges.items() for name, groups in sets.items()}
