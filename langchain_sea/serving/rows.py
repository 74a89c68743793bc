"""Rows of a batch: their keys, and the folder of their answers. Does not know Ray.

A row's key is the hash of all its columns, the model's settings and its weights. The folder holds one file for each half
block of answers, written completely or not at all, and in `errors/` one file for each row that failed. Rows that are there
are not answered again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.core.files import describe_errors, parse_json_lines
from langchain_sea.errors import FileError
from langchain_sea.models import loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.messages import AIMessage
    from pyarrow import Array, DataType, Schema

    from langchain_sea.chat_models import SEAChatModel

__all__ = [
    "AnswerStore",
    "KeyedRow",
    "Row",
    "fingerprint_model",
    "get_messages",
    "make_key",
    "make_output_row",
    "read_input",
    "read_schema",
]

_EDGE_BYTES = 1 << 20
"""Bytes that are hashed at either end of a file of weights."""
_SEA_COLUMNS = ("draft", "accepted", "score_before", "score_after", "steps", "stop_reason")
_OUTPUT_COLUMNS = {"key", "answer", *_SEA_COLUMNS, "finish_reason", "output_tokens", "seconds"}

_EXPECTED = "a .jsonl file with one JSON object a line, or a .parquet file, with a column `prompt` or `messages`"

Row = dict[str, Any]
KeyedRow = tuple[str, Row]
"""A row with its key."""


def read_input(path: Path) -> Iterator[Row]:
    """Yield the rows of a `.jsonl` or `.parquet` file; each has a column `prompt` (text) or `messages` (a list).

    Raises:
        FileError: the file cannot be read, is of another kind or has no rows, or a row has neither column; the message
            has the row's number.
    """
    if path.suffix.lower() not in {".parquet", ".jsonl", ".json"}:
        raise FileError(f"{path}: its name ends neither with .jsonl nor with .parquet. Expected: {_EXPECTED}.")
    number = 0
    for number, row in enumerate(_read_rows(path), start=1):
        if not isinstance(row, dict) or not (row.get("prompt") or row.get("messages")):
            raise FileError(f"{path}, row {number}: no column `prompt` (text) or `messages` (a list) in {row!r:.200}")
        if reserved := sorted(_OUTPUT_COLUMNS & set(row)):
            raise FileError(f"{path}, row {number}: the output has columns {reserved}, too; rename yours.")
        yield row
    if not number:
        raise FileError(f"{path}: there are no rows in it. Expected: {_EXPECTED}.")


def read_schema(path: Path) -> Schema | None:
    """Return the names and types of the columns of a Parquet file; None for another file.

    Raises:
        FileError: the file cannot be read.
    """
    if path.suffix.lower() != ".parquet":
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    with describe_errors(path, _EXPECTED):
        try:
            return pq.read_schema(path)
        except pa.ArrowInvalid as error:
            raise FileError(f"{path}: it is no Parquet file ({error}). Expected: {_EXPECTED}.") from error


def get_messages(row: Row) -> str | list[Any]:
    """Return what the model is asked."""
    messages: str | list[Any] = row.get("messages") or row["prompt"]
    return messages


def fingerprint_model(model: SEAChatModel) -> str:
    """Return a hash of all that decides an answer: the settings, and the weights behind the model's name."""
    settings = json.dumps(model._identifying_params, sort_keys=True, default=str)  # noqa: SLF001 - LangChain's cache key
    return hashlib.sha256(f"{settings}\n{_fingerprint_weights(model.model)}".encode()).hexdigest()


def make_key(row: Row, fingerprint: str) -> str:
    """Return the row's key under a model's fingerprint; equal rows have one key, and one answer."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(f"{fingerprint}\n{text}".encode()).hexdigest()[:32]


def make_output_row(key: str, row: Row, message: AIMessage) -> Row:
    """Return a row with its answer as further columns."""
    sea, usage = message.response_metadata["sea"], message.usage_metadata
    columns = {name: sea[name] for name in _SEA_COLUMNS}
    columns |= {"finish_reason": message.response_metadata["finish_reason"], "seconds": sea["seconds"]}
    columns |= {"key": key, "answer": str(message.text), "output_tokens": usage["output_tokens"] if usage else 0}
    return row | columns


@dataclass(frozen=True)
class AnswerStore:
    """A folder of answers, which is made if it is missing.

    Attributes:
        path: the folder.
        kind: of the files in it.
        schema: of the input, for Parquet: its columns keep their types.
    """

    path: Path
    kind: Literal["jsonl", "parquet"]
    schema: Schema | None = None

    def __post_init__(self) -> None:
        for folder in (self.path, self.path / "errors", self.path / "attempts"):
            with describe_errors(folder, "a folder that can be written to, or a path where one can be made"):
                folder.mkdir(parents=True, exist_ok=True)

    def finished_keys(self) -> set[str]:
        """Return the keys of all rows that are answered, or have failed."""
        return {file.stem for file in self._list_errors()} | {row["key"] for row in self.read_rows()}

    def read_rows(self) -> Iterator[Row]:
        """Yield all answers."""
        for file in sorted(self.path.glob(f"part-*.{self.kind}")):
            yield from _read_rows(file)

    def write_part(self, rows: Sequence[Row], keys: Sequence[str]) -> None:
        """Write a part completely or not at all; its name is made of the keys, so that writing it twice is harmless."""
        if not rows:
            return
        name = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
        data = _to_parquet(rows, self.schema) if self.kind == "parquet" else _to_lines(rows)
        _write_atomically(self.path / f"part-{name}.{self.kind}", data)

    def write_error(self, key: str, row: Row, error: BaseException | None) -> None:
        """Write a row that has no answer, with the error's type, message and trace."""
        trace = "".join(traceback.format_exception(error))
        report = {"key": key, "error": type(error).__name__, "message": str(error), "trace": trace, "row": row}
        data = json.dumps(report, ensure_ascii=False, default=str).encode()
        _write_atomically(self.path / "errors" / f"{key}.json", data)

    def clear_errors(self) -> None:
        """Forget which rows failed."""
        for file in self._list_errors():
            file.unlink()

    def begin_attempt(self, name: str) -> int:
        """Note that a part or a row is begun, and return how often it was begun before without an end."""
        file = self.path / "attempts" / name
        with file.open("ab") as marks, (self.path / "attempts/log").open("a", encoding="utf-8") as log:
            marks.write(b".")
            log.write(f"{name}\n")  # shows what was done twice
        return file.stat().st_size - 1

    def end_attempt(self, name: str) -> None:
        """Note that a part or a row has ended, with answers or with errors."""
        (self.path / "attempts" / name).unlink(missing_ok=True)

    def _list_errors(self) -> Iterator[Path]:
        return (self.path / "errors").glob("*.json")


def _write_atomically(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _to_lines(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _to_parquet(rows: Iterable[Row], schema: Schema | None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, sink = list(rows), pa.BufferOutputStream()
    # Arrow takes the columns from the first row, which may lack some that others have
    names = list(dict.fromkeys(name for row in rows for name in row))
    types = {} if schema is None else {column.name: column.type for column in schema}
    columns = {name: _to_array([row.get(name) for row in rows], types.get(name)) for name in names}
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def _to_array(values: list[Any], kind: DataType | None) -> Array:
    """Return a column of its type, or as text if Arrow cannot make that type of Python's values."""
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _read_rows(path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    return (row for _, row in parse_json_lines(path, _EXPECTED))


def _read_parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with describe_errors(path, _EXPECTED), path.open("rb") as data:
        try:
            for batch in pq.ParquetFile(data).iter_batches():
                yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise FileError(f"{path}: it is no Parquet file ({error}). Expected: {_EXPECTED}.") from error


def _fingerprint_weights(model: object) -> str:
    """Hash names, sizes and the bytes at either end of every file of weights; "" for a model in memory."""
    if not isinstance(model, (str, os.PathLike)):
        return ""
    location = loading.where(model)
    if not location.path:
        return location.source
    path, digest = Path(location.path), hashlib.sha256()
    for file in sorted([path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())):
        size = file.stat().st_size
        digest.update(f"{file.name}\n{size}\n".encode())
        with file.open("rb") as data:
            digest.update(data.read(_EDGE_BYTES))
            if size > 2 * _EDGE_BYTES:
                data.seek(-_EDGE_BYTES, os.SEEK_END)
                digest.update(data.read())
    return digest.hexdigest()
