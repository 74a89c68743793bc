"""An evaluation of the model that ships, and rows, for the tests of evaluations."""

from __future__ import annotations

from typing import Any

from langchain_sea import load_model
from langchain_sea.evaluation import Evaluation
from langchain_sea.rewards import registry


def evaluation() -> Evaluation:
    policy = load_model("tiny")
    return Evaluation(policy=policy, terms=registry.make_terms(["tiny"], policy), max_tokens=16)


def row(method: str, question: str, **more: Any) -> dict[str, Any]:
    fields = {"set": "s", "tier": "plain", "question": question, "method": method, "text": "fine", "nll": 1.0}
    return fields | {"rewards": {"r": 1.0}, "score": 1.0, "score_before": 0.5, "seconds": 2.0} | more
