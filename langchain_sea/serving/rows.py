"""Rows of a batch: what each is known by, which are done, and how a part of the answers is kept. Knows no Ray.

A row's key is the hash of all its columns, the model's settings and its weights' revision. `OUT` holds one file
for each half block of answers, written whole or not at all, and `errors/` one for each row that failed. What is there
is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.models import loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.messages import AIMessage

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["Store", "answered", "identity", "input_rows", "key_of", "messages_of"]

_EDGE = 1 << 20  # bytes that are read at either end of a file of weights
_OWN = ("key", "answer", "draft", "accepted", "score_before", "score_after", "steps", "stop_reason", "finish_reason",
        "output_tokens", "seconds")  # fmt: skip


def input_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `.jsonl` or `.parquet` file, each with a column `prompt` (text) or `messages` (a list).

    Raises:
        ValueError: the file is of another kind, or a row has neither column; the message has the row's number.
    """
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415 - comes with the extra

        rows: Iterable[Any] = (
            row for part in pq.ParquetFile(path).iter_batches() for row in part.to_pylist()
        )
    elif path.suffix in (".jsonl", ".json"):
        rows = _lines(path)
    else:
        raise ValueError(f"{path}: neither .jsonl nor .parquet")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not (row.get("prompt") or row.get("messages")):
            raise ValueError(
                f"{path}, row {number}: no column `prompt` (text) or `messages` (a list) in {row!r:.200}"
            )
        if taken := sorted(set(_OWN) & set(row)):
            raise ValueError(
                f"{path}, row {number}: the columns {taken} are those of the answer; rename them"
            )
        yield row


def messages_of(row: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever a chat model takes
    """What is asked."""
    return row.get("messages") or row["prompt"]


def identity(model: SEAChatModel) -> str:
    """All that decides an answer: the settings, and the weights that stand behind the policy's name."""
    settings = json.dumps(model._identifying_params, sort_keys=True, default=str)  # noqa: SLF001 - made for keys
    return hashlib.sha256(f"{settings}\n{_revision(model.model)}".encode()).hexdigest()


def key_of(row: dict[str, Any], model_identity: str) -> str:
    """The row's key; equal rows have one key, and one answer."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(f"{model_identity}\n{text}".encode()).hexdigest()[:32]


def answered(key: str, row: dict[str, Any], message: AIMessage) -> dict[str, Any]:
    """A row with its answer."""
    sea, usage = message.response_metadata["sea"], message.usage_metadata
    found = {
        name: sea[name]
        for name in ("draft", "accepted", "score_before", "score_after", "steps", "stop_reason")
    }
    found |= {"finish_reason": message.response_metadata["finish_reason"], "seconds": sea["seconds"]}
    return (
        row
        | found
        | {"key": key, "answer": str(message.text), "output_tokens": usage["output_tokens"] if usage else 0}
    )


class Store:
    """A folder of answers.

    Attributes:
        path: the folder.
        kind: `jsonl` or `parquet`, of the files in it.
    """

    def __init__(self, path: Path, kind: str) -> None:
        """Open or make it."""
        self.path, self.kind = path, kind
        for part in (path, path / "errors", path / "attempts"):
            part.mkdir(parents=True, exist_ok=True)

    def done(self) -> set[str]:
        """Keys of all rows that are answered, or have failed."""
        failed = {file.stem for file in (self.path / "errors").glob("*.json")}
        return failed | {row["key"] for row in self.rows()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """All answers."""
        for file in sorted(self.path.glob(f"part-*.{self.kind}")):
            if self.kind == "parquet":
                import pyarrow.parquet as pq  # noqa: PLC0415 - comes with the extra

                yield from pq.read_table(file).to_pylist()
            else:
                yield from _lines(file)

    def keep(self, rows: Sequence[dict[str, Any]], named: Sequence[str]) -> None:
        """Write a part, whole or not at all; its name is of the keys in it, so that twice is once."""
        if not rows:
            return
        name = hashlib.sha256("".join(sorted(named)).encode()).hexdigest()[:32]
        if self.kind == "parquet":
            import pyarrow as pa  # noqa: PLC0415 - comes with the extra
            import pyarrow.parquet as pq  # noqa: PLC0415 - as above

            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(list(rows)), sink)
            data = sink.getvalue().to_pybytes()
        else:
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        self._write(self.path / f"part-{name}.{self.kind}", data)

    def fail(self, key: str, row: dict[str, Any], error: BaseException) -> None:
        """Keep a row that has no answer: the error's type, message and trace, and the row."""
        trace = "".join(traceback.format_exception(error))
        found = {"key": key, "error": type(error).__name__, "message": str(error), "trace": trace, "row": row}
        self._write(
            self.path / "errors" / f"{key}.json", json.dumps(found, ensure_ascii=False, default=str).encode()
        )

    def attempts(self, name: str) -> int:
        """How often something was begun before, this time counted from now on; an end takes it off again."""
        file = self.path / "attempts" / name
        with file.open("ab") as marks, (self.path / "attempts/begun").open("a", encoding="utf-8") as begun:
            marks.write(b".")
            begun.write(f"{name}\n")  # a line each, for whoever asks what was done twice
        return file.stat().st_size - 1

    def ended(self, name: str) -> None:
        """What was begun has ended, well or with an error of its own."""
        (self.path / "attempts" / name).unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: no JSON: {error}") from error


def _revision(policy: object) -> str:
    """Of a policy's weights: names, sizes, and the bytes at either end of every file; "" of a policy in memory."""
    if not isinstance(policy, (str, os.PathLike)):
        return ""
    found = loading.where(policy)
    path = Path(found.path) if found.path else None
    if path is None:
        return found.source
    digest = hashlib.sha256()
    for file in sorted([path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())):
        size = file.stat().st_size
        digest.update(f"{file.name}\n{size}\n".encode())
        with file.open("rb") as data:
            digest.update(data.read(_EDGE))
            if size > 2 * _EDGE:
                data.seek(-_EDGE, os.SEEK_END)
                digest.update(data.read())
    return digest.hexdigest()
