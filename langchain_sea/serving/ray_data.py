"""Prompts over a cluster, on Ray Data as it is: `refine_dataset`, and `langchain-sea batch` with a folder that goes on.

A pool of actors holds one set of weights each; within an actor prompts share forwards. Ray schedules, retries and holds
back; this file only says what a row is and when it is done. An answer does not depend on which block, worker or run it
comes from, as long as no limit of seconds cuts it off.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from langchain_sea.errors import ExtraMissingError, SEAError
from langchain_sea.serving.config import model_of, read_settings
from langchain_sea.serving.rows import Store, answered, identity, input_rows, key_of, messages_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["WorkerLostError", "add_arguments", "batch", "refine_dataset", "run"]

_BLOCK = 32
_PARTS = 2  # of a block, each written when it is done: a worker that is lost loses one of them
_LOST = 3  # workers that may die over one block, or one row, before the row is taken for the reason
_log = logging.getLogger(__name__)


class WorkerLostError(SEAError, RuntimeError):
    """The process that answered a row died over it, again and again."""


def refine_dataset(
    dataset: Any,  # noqa: ANN401 - `ray.data.Dataset`, which the extra brings
    model: SEAChatModel,
    *,
    workers: int = 1,
    batch_size: int = _BLOCK,
    threads: int | None = None,
) -> Any:  # noqa: ANN401 - as above
    """The dataset with an answer to each row, as columns beside its own; `error` holds why a row has none.

    Args:
        dataset: with a column `prompt` (text) or `messages` (a list of OpenAI's dicts).
        model: its settings go to the workers, which load its weights themselves.
        workers: actors, each with one set of weights, and with one GPU where there are any.
        batch_size: rows that are refined together.
        threads: of torch in each worker; None shares the cores.
    """
    return dataset.map_batches(
        _Refiner,
        fn_constructor_args=(model, threads or _threads(workers)),
        batch_size=batch_size,
        batch_format="pyarrow",
        **_pool(workers),
    )


def batch(
    source: Path,
    out: Path,
    model: SEAChatModel,
    *,
    workers: int = 1,
    block: int = _BLOCK,
    retry_errors: bool = False,
) -> dict[str, int]:
    """Answer a file's rows into a folder; run again after any end, it goes on with what is missing.

    Args:
        source: `.jsonl` or `.parquet`; the folder's files are of the same kind.
        out: a folder.
        model: the settings.
        workers: as of `refine_dataset`.
        block: rows that a worker takes at a time, refined and written in two halves: one of these is the most
            that a lost worker costs.
        retry_errors: rows that failed before are tried again.

    Returns:
        Numbers of rows: `rows` that differ, `skipped`, `answered`, `failed`.

    Raises:
        ValueError: a row cannot be read.
        ExtraMissingError: Ray is not installed.
    """
    ray = _ray()
    store, mark = Store(out, "parquet" if source.suffix == ".parquet" else "jsonl"), identity(model)
    if retry_errors:
        for file in (out / "errors").glob("*.json"):
            file.unlink()
    rows = {key_of(row, mark): row for row in input_rows(source)}
    done, ordered = store.done(), sorted(rows, key=lambda key: (len(str(messages_of(rows[key]))), key))
    # of all rows, not of those that are missing: a worker that outlives its run writes what this one would
    size = max(1, block // _PARTS)
    parts = [[key for key in ordered[at : at + size] if key not in done] for at in range(0, len(rows), size)]
    missing = sum(map(len, parts))
    counts = {"rows": len(rows), "skipped": len(rows) - missing, "answered": 0, "failed": 0}
    if not missing:
        return counts
    if model.budget.max_time is not None:
        _log.warning("budget.max_time=%s: answers that it cuts off depend on the machine's speed; None (in TOML: 0) makes every run's text the same.", model.budget.max_time)  # fmt: skip
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # as JSON: columns that only some rows have would come back as None in all
    left = [[[key, rows[key]] for key in part] for part in parts if part]
    blocks = [json.dumps(left[at : at + _PARTS]) for at in range(0, len(left), _PARTS)]
    dataset = ray.data.from_items([{"block": text} for text in blocks], override_num_blocks=len(blocks))
    told = dataset.map_batches(
        _Writer, fn_constructor_args=(model, _threads(workers), store), batch_size=1, batch_format="pyarrow", **_pool(workers)
    )  # fmt: skip
    with tqdm(total=missing, unit="row", desc="refining", disable=None) as bar:
        tokens = gain = 0.0
        for told_of in told.iter_rows():
            counts["answered"] += told_of["answered"]
            counts["failed"] += told_of["failed"]
            tokens, gain = tokens + told_of["tokens"], gain + told_of["gain"]
            bar.update(told_of["answered"] + told_of["failed"])
            mean = gain / max(1, counts["answered"])
            bar.set_postfix(tokens=int(tokens), gain=f"{mean:+.2f}", failed=counts["failed"])
    return counts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `batch`."""
    parser.add_argument("source", type=Path, help=".jsonl or .parquet with a column `prompt` or `messages`")
    parser.add_argument("out", type=Path, help="folder of the answers; run again, it goes on")
    parser.add_argument("--model", type=Path, required=True, help="TOML of SEAChatModel's settings")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--block", type=int, default=_BLOCK, help="rows a worker takes at a time, written in two halves"
    )
    parser.add_argument("--retry-errors", action="store_true", help="try rows again that failed")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 where every row has an answer, 1 where some failed."""
    model = model_of(read_settings(options.model))
    counts = batch(
        options.source, options.out, model, workers=options.workers, block=options.block, retry_errors=options.retry_errors
    )  # fmt: skip
    sys.stdout.write(", ".join(f"{count} {name}" for name, count in counts.items()) + "\n")
    return int(counts["failed"] > 0)


class _Refiner:
    """An actor of `refine_dataset`."""

    def __init__(self, model: SEAChatModel, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = model

    def __call__(self, table: Any) -> Any:  # noqa: ANN401 - pyarrow's
        import pyarrow as pa  # noqa: PLC0415 - comes with the extra

        rows = table.to_pylist()
        found = []
        for row, (message, error) in zip(rows, _asked(self.model, rows), strict=True):
            given = answered("", row, message) if error is None else row | {"answer": None}
            found.append(
                {k: v for k, v in given.items() if k != "key"}
                | {"error": None if error is None else repr(error)}
            )
        return pa.Table.from_pylist(found)


class _Writer:
    """An actor of `batch`: it writes what it answered before it says so."""

    def __init__(self, model: SEAChatModel, threads: int, store: Store) -> None:
        torch.set_num_threads(threads)
        self.model, self.store = model, store

    def __call__(self, table: Any) -> Any:  # noqa: ANN401 - pyarrow's
        import pyarrow as pa  # noqa: PLC0415 - comes with the extra

        told = [self._part(part) for item in table.to_pylist() for part in json.loads(item["block"])]
        return pa.Table.from_pylist(told)

    def _part(self, items: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """Together; or one by one, where workers died over them before: then only the row at fault is lost."""
        name = f"part-{items[0][0]}"
        alone = self.store.attempts(name) >= _LOST
        kept, failed = list[dict[str, Any]](), 0
        for part in ([item] for item in items) if alone else [items]:
            for (key, row), (message, error) in zip(part, self._answers(part, alone=alone), strict=True):
                if error is None:
                    kept.append(answered(key, row, message))
                else:
                    failed += 1
                    self.store.fail(key, row, error)
        self.store.keep(kept, named=[key for key, _ in items])
        self.store.ended(name)
        gains = [row["score_after"] - row["score_before"] for row in kept if row["score_before"] is not None]
        return {"answered": len(kept), "failed": failed, "tokens": sum(row["output_tokens"] for row in kept), "gain": float(sum(gains))}  # fmt: skip

    def _answers(
        self, items: Sequence[tuple[str, dict[str, Any]]], *, alone: bool
    ) -> Iterator[tuple[Any, BaseException | None]]:
        if not alone:
            yield from _asked(self.model, [row for _, row in items])
            return
        ((key, row),) = items
        if self.store.attempts(key) >= _LOST:
            yield None, WorkerLostError(f"{_LOST} workers died over this row; it is left out. Its length may exceed the memory.")  # fmt: skip
        else:
            yield from _asked(self.model, [row])
        self.store.ended(key)


def _asked(model: SEAChatModel, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, BaseException | None]]:
    """A message or an error for each row; a row that cannot even be read costs only itself."""
    found = model.batch([messages_of(row) for row in rows], return_exceptions=True)
    return [(None, f) if isinstance(f, BaseException) else (f, None) for f in found]


def _pool(workers: int) -> dict[str, Any]:
    ray = _ray()
    gpus = {"num_gpus": 1} if torch.cuda.is_available() else {"num_cpus": 1}
    return {"compute": ray.data.ActorPoolStrategy(size=workers)} | gpus


def _threads(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


def _ray() -> Any:  # noqa: ANN401 - a module of the extra
    try:
        import ray  # noqa: PLC0415 - the extra
        import ray.data  # noqa: PLC0415 - same
    except ImportError as error:
        raise ExtraMissingError(f"batches run on Ray ({error}): pip install 'langchain-sea[ray]'") from error
    return ray
