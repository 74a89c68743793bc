"""Figures of rows, by a gate that steered nothing. Knows no model."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langchain_sea.rewards.function import ask_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FIGURES", "Row", "Table", "add_gate_scores", "count_distinct", "summarize"]

Row = dict[str, Any]

FIGURES = ("failed", "passes", "gate", "broken", "reward", "nll", "words", "seconds")
"""What `summarize` averages; each is a key of the rows of `add_gate_scores`."""
_MAX_NLL_RISE = 1.0
"""Nats per token above the prompt's draft, beyond which a text counts as broken."""


class Table:
    """Rows of one set and tier by method, for the prompts that every method answered.

    Attributes:
        rows: by method, in the same order of prompts.
    """

    def __init__(self, rows: Sequence[Row], methods: Sequence[str]) -> None:
        """Group the rows by method."""
        by_method: dict[str, dict[tuple[Any, ...], Row]] = defaultdict(dict)
        for row in rows:
            by_method[row["method"]][_prompt_of(row)] = row
        prompts = [
            prompt for prompt in by_method.get(methods[0], {}) if all(prompt in by_method[name] for name in methods)
        ]
        self.rows = {name: [by_method[name][prompt] for prompt in prompts] for name in methods}

    def values(self, method: str, figure: str) -> list[float]:
        """Return one number for each prompt."""
        return [float(row[figure]) for row in self.rows[method]]

    def mean(self, method: str, figure: str) -> float:
        """Return the mean over prompts; NaN where there are none."""
        values = self.values(method, figure)
        return statistics.fmean(values) if values else math.nan

    def best(self, methods: Sequence[str], figure: str, *, lowest: bool = False) -> str:
        """Return the method of the highest, or lowest, mean."""
        return (min if lowest else max)(methods, key=lambda name: self.mean(name, figure))


def add_gate_scores(rows: Sequence[Row], gate: Callable[..., Any], threshold: float) -> list[Row]:
    """Return the rows with figures added: those of `FIGURES`, and `worse` and `nll_rise`.

    Args:
        rows: answers, as `Evaluation.run` returns them.
        gate: question and texts → one score for each text; called as `FunctionReward` calls its function.
        threshold: the lowest score that passes.

    Raises:
        RewardUnavailableError: the gate did not return one finite number for a text.
    """
    drafts = {_case_of(row): row for row in rows if row["method"] == "draft"}
    return [_add_figures(row, gate, threshold, _find_draft_nll(row, drafts)) for row in rows]


def _find_draft_nll(row: Row, drafts: Mapping[tuple[Any, ...], Row]) -> float:
    """Return the nats of the draft that was answered by itself; else those of the method's own draft."""
    draft = drafts.get(_case_of(row))
    nll: Any = row.get("nll_before", row["nll"]) if draft is None else draft["nll"]
    return float(nll)


def _add_figures(row: Row, gate: Callable[..., Any], threshold: float, draft_nll: float) -> Row:
    (score,) = ask_gate(gate, [{"role": "user", "content": row["question"]}], [row["text"]])
    passes, is_broken = score >= threshold, row["nll"] > draft_nll + _MAX_NLL_RISE
    return row | {
        "gate": score,
        "passes": passes,
        "broken": is_broken,
        "failed": is_broken or not passes,
        "words": len(row["text"].split()),
        "reward": statistics.fmean(row["rewards"].values()) if row["rewards"] else 0.0,
        "worse": row["score"] < row["score_before"],
        "nll_rise": row["nll"] - draft_nll,
    }


def _case_of(row: Row) -> tuple[Any, ...]:
    return row["set"], row["tier"], *_prompt_of(row)


def _prompt_of(row: Row) -> tuple[Any, ...]:
    return row["question"], row.get("system"), row.get("opening", "")


def summarize(table: Table, figures: Sequence[str] = FIGURES) -> dict[str, dict[str, float]]:
    """Return the means of the figures by method, with `distinct_2` and the number of prompts."""
    summaries = {}
    for method, rows in table.rows.items():
        summaries[method] = {name: round(table.mean(method, name), 4) for name in figures}
        summaries[method] |= {"distinct_2": count_distinct([row["text"] for row in rows]), "prompts": len(rows)}
    return summaries


def count_distinct(texts: Sequence[str], n: int = 2) -> float:
    """Return the share of different n-grams of words among all of the texts' (distinct-n, arXiv 1510.03055)."""
    ngrams = [ngram for text in texts for ngram in zip(*(text.split()[i:] for i in range(n)), strict=False)]
    return round(len(set(ngrams)) / len(ngrams), 4) if ngrams else 0.0
