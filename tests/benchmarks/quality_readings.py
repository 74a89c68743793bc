"""Adds to rows what the figures need of models: gate, refusal, the policy's surprise, and the outside reader."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import outside_reader
from refusals import is_refusal
from text_figures import surprise

from langchain_sea.evaluation import add_gate_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_sea.evaluation import Case, Evaluation

Row = dict[str, Any]


def add_gate(rows: Sequence[Row], gate: Any) -> list[Row]:
    """The rows with the gate's figures, those of their drafts, and whether each answer refuses."""
    found = add_gate_scores(rows, gate, gate.threshold)
    scores = [gate(row["question"], [row["draft"]])[0] if row["text"] != row["draft"] else row["gate"] for row in found]
    more = [{"draft_gate": score, "refused": is_refusal(row["text"])} for row, score in zip(found, scores, strict=True)]
    return [row | fields for row, fields in zip(found, more, strict=True)]


def add_surprise(rows: Sequence[Row], evaluation: Evaluation, cases: Mapping[tuple[str, str, str], Case]) -> list[Row]:
    """The rows with how the policy would have written answer and draft; the opening of a case is not read."""

    def read(row: Row) -> Row:
        case = cases[row["set"], row["tier"], row["question"]]
        prompt, start = evaluation.make_prompt(case), len(case.opening)
        texts = {text: surprise(evaluation.policy, prompt, text[start:]) for text in {row["text"], row["draft"]}}
        return row | {"surprise": texts[row["text"]], "draft_surprise": texts[row["draft"]]}

    return [read(row) for row in rows]


def add_outside(rows: Sequence[Row], device: str | None = None) -> list[Row]:
    """The rows with the outside reader's figures of answer and draft; none, with a note, where it is not installed."""
    if not rows:
        return []
    try:
        reader = outside_reader.reader(device)
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return []
    answers = reader.read([(row["question"], row["text"]) for row in rows])
    drafts = reader.read([(row["question"], row["draft"]) for row in rows])
    return [
        row
        | {"outside_nats": answer.nats, "outside_relevance": answer.relevance}
        | {"draft_outside_nats": draft.nats, "draft_outside_relevance": draft.relevance}
        for row, answer, draft in zip(rows, answers, drafts, strict=True)
    ]
