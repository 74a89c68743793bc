"""Batches on Ray Data: `refine_dataset` for a dataset in memory, `answer_file` for a file and a folder (extra `ray`).

Actors hold one set of weights each, and prompts share forward passes within an actor. An answer does not depend on the
block, worker or run that it comes from, unless a time limit cuts it off.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from langchain_sea.errors import ExtraMissingError
from langchain_sea.serving.actors import RefineActor, WriteActor
from langchain_sea.serving.rows import (
    AnswerStore,
    KeyedRow,
    Row,
    fingerprint_model,
    get_messages,
    make_key,
    read_input,
    read_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from ray.data import Dataset

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["PARTS_PER_BLOCK", "answer_file", "refine_dataset"]

PARTS_PER_BLOCK = 2
"""Parts of a block, each of which is written when it is done: a lost worker loses one of them."""
_BLOCK_SIZE = 32
_log = logging.getLogger(__name__)


def refine_dataset(
    dataset: Dataset,
    model: SEAChatModel,
    *,
    workers: int = 1,
    batch_size: int = _BLOCK_SIZE,
    threads: int | None = None,
) -> Dataset:
    """Return the dataset with the answers as further columns; `error` says why a row has none.

    Args:
        dataset: with a column `prompt` (text) or `messages` (a list of OpenAI's dicts).
        model: its settings go to the workers, which load the weights themselves.
        workers: actors, each with one set of weights, and with one GPU where there are any.
        batch_size: rows that are refined together.
        threads: of torch in each worker; None shares the cores.

    Raises:
        ExtraMissingError: Ray is not installed.
        ValueError: `workers` or `batch_size` is not positive.
    """
    _require_positive(workers=workers, batch_size=batch_size)
    return dataset.map_batches(
        RefineActor,
        fn_constructor_args=(model, threads or _threads_per_worker(workers)),
        batch_size=batch_size,
        batch_format="pyarrow",
        **_actor_options(workers),
    )


def answer_file(
    source: Path,
    out: Path,
    model: SEAChatModel,
    *,
    workers: int = 1,
    block: int = _BLOCK_SIZE,
    retry_errors: bool = False,
) -> dict[str, int]:
    """Answer a file's rows into a folder; after an interruption the same call continues with the missing rows.

    Args:
        source: `.jsonl` or `.parquet`; the folder's files are of the same kind.
        out: a folder.
        model: its settings go to the workers.
        workers: as in `refine_dataset`.
        block: rows that a worker takes at a time; they are refined and written in two halves.
        retry_errors: try rows again that failed before.

    Returns:
        Counts of rows: `rows` that differ, `skipped`, `answered`, `failed`.

    Raises:
        FileError: a row cannot be read.
        ExtraMissingError: Ray is not installed.
        ValueError: `workers` or `block` is not positive.
    """
    _require_positive(workers=workers, block=block)
    ray = _import_ray()
    fingerprint = fingerprint_model(model)
    rows = {make_key(row, fingerprint): row for row in read_input(source)}  # before a folder is made
    schema = read_schema(source)
    store = AnswerStore(out, "jsonl" if schema is None else "parquet", schema)
    if retry_errors:
        store.clear_errors()
    parts = _list_missing_parts(rows, store.finished_keys(), max(1, block // PARTS_PER_BLOCK))
    num_missing = sum(map(len, parts))
    counts = {"rows": len(rows), "skipped": len(rows) - num_missing, "answered": 0, "failed": 0}
    if not num_missing:
        return counts
    if model.budget.max_time is not None:
        _log.warning("budget.max_time=%s: answers that it cuts off depend on the machine's speed; None (in TOML: 0) makes every run's text the same.", model.budget.max_time)  # fmt: skip
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    reports = _write_answers(ray, parts, model, store, workers)
    _show_progress(reports, num_missing, counts)
    return counts


def _list_missing_parts(rows: dict[str, Row], finished: set[str], size: int) -> list[list[KeyedRow]]:
    """Group rows of similar length into parts, and return what is missing of each.

    Parts are formed of all rows, not of the missing ones: then a worker that outlives its run writes the part that this
    run would.
    """
    keys = sorted(rows, key=lambda key: (len(str(get_messages(rows[key]))), key))
    parts = [keys[start : start + size] for start in range(0, len(keys), size)]
    missing = [[(key, rows[key]) for key in part if key not in finished] for part in parts]
    return [part for part in missing if part]


def _write_answers(
    ray: ModuleType, parts: list[list[KeyedRow]], model: SEAChatModel, store: AnswerStore, workers: int
) -> Iterator[dict[str, Any]]:
    """Yield the counts of each part when its answers are written."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    # as bytes: in a table, columns that only some rows have would come back as None in all
    blocks = [pickle.dumps(parts[i : i + PARTS_PER_BLOCK]) for i in range(0, len(parts), PARTS_PER_BLOCK)]
    dataset = ray.data.from_items([{"block": block} for block in blocks], override_num_blocks=len(blocks))
    reports: Iterator[dict[str, Any]] = dataset.map_batches(
        WriteActor,
        fn_constructor_args=(model, _threads_per_worker(workers), store),
        batch_size=1,
        batch_format="pyarrow",
        **_actor_options(workers),
    ).iter_rows()
    return reports


def _show_progress(reports: Iterator[dict[str, Any]], num_rows: int, counts: dict[str, int]) -> None:
    """Add the reports to the counts, with a progress bar."""
    with tqdm(total=num_rows, unit="row", desc="refining", disable=None) as bar:
        tokens = gain = 0.0
        for report in reports:
            counts["answered"] += report["answered"]
            counts["failed"] += report["failed"]
            tokens, gain = tokens + report["tokens"], gain + report["gain"]
            bar.update(report["answered"] + report["failed"])
            mean_gain = gain / max(1, counts["answered"])
            bar.set_postfix(tokens=int(tokens), gain=f"{mean_gain:+.2f}", failed=counts["failed"])


def _actor_options(workers: int) -> dict[str, Any]:
    ray = _import_ray()
    resources = {"num_gpus": 1} if torch.cuda.is_available() else {"num_cpus": 1}
    return {"compute": ray.data.ActorPoolStrategy(size=workers)} | resources


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number} is less than 1, so that no row would be answered; pass 1 or more.")


def _threads_per_worker(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


def _import_ray() -> ModuleType:
    try:
        import ray.data
    except ImportError as error:
        raise ExtraMissingError(f"batches run on Ray ({error}): pip install 'langchain-sea[ray]'") from error
    module: ModuleType = ray
    return module
