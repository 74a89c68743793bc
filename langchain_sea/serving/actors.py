"""The actors of a batch: processes that hold the model's weights and answer blocks of rows. Does not know Ray."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from langchain_sea.errors import WorkerLostError
from langchain_sea.serving.rows import KeyedRow, Row, get_messages, make_output_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import AIMessage
    from pyarrow import Table

    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.serving.rows import AnswerStore

__all__ = ["RefineActor", "WriteActor"]

_MAX_ATTEMPTS = 3
"""Workers that may die over a part, and then over a row, before the row is taken to be the reason."""


_ANSWER_COLUMNS = {
    "answer": "string",
    "draft": "string",
    "accepted": "bool_",
    "score_before": "float64",
    "score_after": "float64",
    "steps": "int64",
    "stop_reason": "string",
    "finish_reason": "string",
    "output_tokens": "int64",
    "seconds": "float64",
    "error": "string",
}
"""The columns that `RefineActor` adds, with the names of their types in pyarrow."""


class _Outcome(NamedTuple):
    message: AIMessage | None
    error: BaseException | None


class RefineActor:
    """Answers the rows of a table, for `refine_dataset`."""

    def __init__(self, model: SEAChatModel, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self.model = model

    def __call__(self, table: Table) -> Table:
        """Return the rows with their answers as further columns."""
        import pyarrow as pa

        outcomes = _answer_rows(self.model, table.to_pylist())
        answers = [self._make_answer(outcome) for outcome in outcomes]
        # by name and type, because Arrow would take both from the first row, which may have failed
        for name, kind in _ANSWER_COLUMNS.items():
            if name in table.column_names:
                table = table.drop_columns([name])
            values = pa.array([answer.get(name) for answer in answers], getattr(pa, kind)())
            table = table.append_column(name, values)
        return table

    def _make_answer(self, outcome: _Outcome) -> Row:
        if outcome.message is None:
            return {"error": repr(outcome.error)}
        return make_output_row("", {}, outcome.message)


@dataclass
class WriteActor:
    """Answers blocks of rows and writes the answers before it reports their number, for `answer_file`."""

    model: SEAChatModel
    num_threads: int
    store: AnswerStore

    def __post_init__(self) -> None:
        torch.set_num_threads(self.num_threads)

    def __call__(self, table: Table) -> Table:
        """Return the counts of each part."""
        import pyarrow as pa

        blocks = [pickle.loads(item["block"]) for item in table.to_pylist()]  # noqa: S301 - our own driver's
        return pa.Table.from_pylist([self.write_part(part) for block in blocks for part in block])

    def write_part(self, items: Sequence[KeyedRow]) -> dict[str, Any]:
        """Answer and write the rows of a part, and return its counts.

        The rows are answered together. If workers died over this part before, they are answered one by one, so that only
        the row that is the reason is lost.
        """
        name = f"part-{items[0][0]}"
        is_isolated = self.store.begin_attempt(name) >= _MAX_ATTEMPTS
        outcomes = (
            self._answer_one_by_one(items) if is_isolated else _answer_rows(self.model, [row for _, row in items])
        )
        answers, num_failed = list[Row](), 0
        for (key, row), outcome in zip(items, outcomes, strict=True):
            if outcome.message is not None:
                answers.append(make_output_row(key, row, outcome.message))
            else:
                num_failed += 1
                self.store.write_error(key, row, outcome.error)
        self.store.write_part(answers, keys=[key for key, _ in items])
        self.store.end_attempt(name)
        gains = [row["score_after"] - row["score_before"] for row in answers if row["score_before"] is not None]
        num_tokens = sum(row["output_tokens"] for row in answers)
        return {"answered": len(answers), "failed": num_failed, "tokens": num_tokens, "gain": float(sum(gains))}

    def _answer_one_by_one(self, items: Sequence[KeyedRow]) -> Iterator[_Outcome]:
        for key, row in items:
            if self.store.begin_attempt(key) >= _MAX_ATTEMPTS:
                message = f"{_MAX_ATTEMPTS} workers died over this row, so it is left out. Its length may exceed the memory: shorten it."
                yield _Outcome(None, WorkerLostError(message))
            else:
                yield from _answer_rows(self.model, [row])
            self.store.end_attempt(key)


def _answer_rows(model: SEAChatModel, rows: Sequence[Row]) -> list[_Outcome]:
    """Return a message or an error for each row; a row that cannot be read fails alone."""
    results: list[Any] = model.batch([get_messages(row) for row in rows], return_exceptions=True)
    return [_Outcome(None, r) if isinstance(r, BaseException) else _Outcome(r, None) for r in results]
