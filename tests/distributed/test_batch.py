"""Rows over Ray: every one is answered once, the same whatever died meanwhile, and a bad one costs only itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served import PRESET

from langchain_sea import Budget, SEAChatModel
from langchain_sea.serving import ray_data
from langchain_sea.serving.config import make_model, read_settings
from langchain_sea.serving.rows import AnswerStore, fingerprint_model, make_key, read_input

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.timeout(280),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # Ray's own
]
SETTINGS = """
model = "tiny"
plan = "tiny"
seed = 3
max_tokens = 12
[budget]
max_steps = 1
max_time = 0
[preset]
base = "default"
[preset.search_config.drafts]
num_drafts = 4
num_kept = 1
[preset.search_config.chains]
num_chains = 2
"""
CHANGED = replace(PRESET, name="default, changed")  # the name that a table of changes gives
MODEL = SEAChatModel(
    model="tiny", seed=3, plan="tiny", preset=CHANGED, budget=Budget(max_steps=1, max_time=None), max_tokens=12
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.toml").write_text(SETTINGS, encoding="utf-8")
    rows = [{"prompt": f"What is {a} + {b}?", "id": a * b} for a in range(11, 14) for b in range(20, 24)]
    rows.append({"messages": [{"role": "user", "content": "What is 14 + 23?"}], "id": 7})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def command(folder, *more):
    """The command line, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from langchain_sea.cli import main; sys.exit(main())", "batch", str(folder / "in.jsonl"), str(folder / "out"),
         "--settings", str(folder / "model.toml"), "--block", "4", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip


def ended(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_settings_of_a_file_are_the_models(folder):
    model = make_model(read_settings(folder / "model.toml"))
    assert fingerprint_model(model) == fingerprint_model(MODEL)
    (folder / "bad.toml").write_text('modle = "tiny"', encoding="utf-8")
    with pytest.raises(ValueError, match="did you mean 'model'"):
        make_model(read_settings(folder / "bad.toml"))
    (folder / "bad.toml").write_text("[budget]\nmax_step = 1", encoding="utf-8")
    with pytest.raises(ValueError, match="did you mean 'max_steps'"):
        make_model(read_settings(folder / "bad.toml"))
    (folder / "own.toml").write_text(
        '[preset]\nbase = "default"\n[preset.search_config.chains]\nnum_chains = 2\n'
        "[preset.search_config.latent]\nstarts = [0.1]",
        encoding="utf-8",
    )
    search_config = make_model(read_settings(folder / "own.toml")).preset.search_config
    assert (search_config.chains.num_chains, search_config.block_size) == (2, 8)
    assert search_config.latent is not None
    assert search_config.latent.starts == (0.1,)


def test_a_key_is_of_row_settings_and_weights(tmp_path):
    row = {"prompt": "Hello"}
    mark = fingerprint_model(MODEL)
    keys = {
        make_key(row, mark),
        make_key(row | {"id": 1}, mark),
        make_key(row, fingerprint_model(MODEL.model_copy(update={"seed": 4}))),
    }
    keys.add(make_key(row, fingerprint_model(MODEL.model_copy(update={"model": "tiny/expert"}))))
    assert len(keys) == 4
    assert make_key({"b": 1, "prompt": "x"}, mark) == make_key({"prompt": "x", "b": 1}, mark)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_part_is_written_whole_and_once(tmp_path, kind):
    store = AnswerStore(tmp_path / "out", kind)
    rows = [{"key": str(n), "answer": "ä" * n} for n in range(3)]
    store.write_part(rows, keys="012")
    store.write_part(rows, keys="210")
    assert list(store.read_rows()) == rows
    store.write_error("bad", {"prompt": "x"}, ValueError("no"))
    assert store.finished_keys() == {"0", "1", "2", "bad"}
    assert not [file for file in store.path.rglob(".*") if file.is_file()]  # nothing half written is left
    assert (store.begin_attempt("block"), store.begin_attempt("block")) == (0, 1)
    store.end_attempt("block")
    assert store.begin_attempt("block") == 0


@pytest.mark.parametrize(
    ("text", "match"), [('{"id": 1}', "no column"), ('{"prompt": "x", "answer": 1}', "rename"), ("{", "line 1: no JSON")]
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named(tmp_path, text, match):
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        list(read_input(tmp_path / "in.jsonl"))


def test_a_batch_answers_every_row_once_goes_on_and_keeps_what_failed(folder):
    """A row that is too long fails with its own error; a driver that is killed loses at most its parts in flight."""
    with (folder / "in.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"prompt": "What is " + "1 + " * 4000 + "1?"}) + "\n")
    first = command(folder)
    store, until = AnswerStore(folder / "out", "jsonl"), time.monotonic() + 200
    while not list(store.read_rows()) and time.monotonic() < until and first.poll() is None:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = len(list(store.read_rows()))
    assert before > 0
    code, out, err = ended(command(folder))
    assert (code, "1 failed" in out) == (1, True), err[-2000:]
    rows = list(store.read_rows())
    assert len({row["key"] for row in rows}) == len(rows) == 13
    sizes = [len(file.read_text(encoding="utf-8").splitlines()) for file in store.path.glob("part-*.jsonl")]
    assert max(sizes) == 2  # half a block of four: what a lost worker costs
    assert int(re.search(r"(\d+) skipped", out)[1]) >= before  # a worker may outlive its driver by a part
    alone = {row["prompt"]: MODEL.invoke(row["prompt"]).content for row in rows[:6] if "prompt" in row}
    assert {row["prompt"]: row["answer"] for row in rows[:6] if "prompt" in row} == alone
    (failed,) = (folder / "out/errors").glob("*.json")
    assert "ModelPromptTooLongError" in json.loads(failed.read_text(encoding="utf-8"))["error"]
    code, out, _ = ended(command(folder))  # nothing is left to do
    assert (code, out) == (0, "14 rows, 14 skipped, 0 answered, 0 failed\n")


def test_a_dataset_gets_its_answers_as_columns():
    import ray

    from langchain_sea.serving.ray_data import refine_dataset

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = [{"prompt": "What is 14 + 23?", "id": 1}, {"prompt": "What is " + "1 + " * 4000 + "1?", "id": 2}]
        found = sorted(refine_dataset(ray.data.from_items(rows), MODEL).take_all(), key=lambda row: row["id"])
    finally:
        ray.shutdown()
    assert found[0]["answer"] == MODEL.invoke(rows[0]["prompt"]).content
    assert found[0]["error"] is None
    assert found[1]["answer"] is None
    assert "ModelPromptTooLongError" in found[1]["error"]


def test_a_row_over_which_workers_die_is_left_out_alone(tmp_path):
    """After three that died over a part its rows go one by one; after three more, the one at fault is given up."""
    from langchain_sea.serving.actors import WriteActor

    store = AnswerStore(tmp_path / "out", "jsonl")
    items = [("good", {"prompt": "What is 14 + 23?"}), ("bad", {"prompt": "What is 31 + 7?"})]
    for name in ("part-good", "bad"):
        for _ in range(3):
            store.begin_attempt(name)
    counts = WriteActor(MODEL, 1, store).write_part(items)
    assert (counts["answered"], counts["failed"]) == (1, 1)
    assert [row["key"] for row in store.read_rows()] == ["good"]
    assert json.loads((store.path / "errors/bad.json").read_text(encoding="utf-8"))["error"] == "WorkerLostError"
    assert store.begin_attempt("bad") == 0


class Here:
    """Ray, as far as `answer_file` needs it, in this process."""

    def __init__(self):
        self.data, self.ActorPoolStrategy = self, dict
        self.DataContext = SimpleNamespace(get_current=lambda: self)

    def is_initialized(self):
        return True

    def from_items(self, items, override_num_blocks):
        self.items = items
        return self

    def map_batches(self, actor, fn_constructor_args, **_):
        self.actor = actor(*fn_constructor_args)
        return self

    def iter_rows(self):
        for item in self.items:
            yield from self.actor(pa.Table.from_pylist([item])).to_pylist()


def test_columns_of_parquet_keep_their_types(tmp_path, monkeypatch):
    """Dates, decimals and bytes are no JSON; a file's name may be in capitals."""
    monkeypatch.setattr(ray_data, "_import_ray", Here)
    columns = {
        "prompt": pa.array(["What is 1 + 1?", "What is 1 + 2?"]),
        "when": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("ms", "UTC")),
        "day": pa.array([date(2024, 1, 1), None]),
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "data": pa.array([b"\xff", b""]),
        "small": pa.array([1, None], pa.int8()),
        "labels": pa.array([["a"], []], pa.list_(pa.string())),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "IN.PARQUET")
    counts = ray_data.answer_file(tmp_path / "IN.PARQUET", tmp_path / "out", MODEL, block=1)
    assert counts == {"rows": 2, "skipped": 0, "answered": 2, "failed": 0}
    files = [pq.read_table(file) for file in (tmp_path / "out").glob("part-*.parquet")]
    written = pa.concat_tables(files).sort_by("prompt").select(table.column_names)
    assert written.cast(table.schema) == table
    assert written.schema.types == table.schema.types
    assert ray_data.answer_file(tmp_path / "IN.PARQUET", tmp_path / "out", MODEL)["skipped"] == 2


def test_a_type_that_cannot_be_made_is_text(tmp_path):
    store = AnswerStore(tmp_path / "out", "parquet", pa.schema({"x": pa.int8()}))
    store.write_part([{"key": "1", "x": 300}, {"key": "2", "x": None}], keys="12")
    assert [row["x"] for row in store.read_rows()] == ["300", None]


@pytest.mark.parametrize("numbers", [{"workers": 0}, {"block": 0}, {"workers": -1}])
def test_there_is_at_least_one_worker_and_one_row(folder, numbers):
    (name, number) = next(iter(numbers.items()))
    with pytest.raises(ValueError, match=rf"{name}={number} is less than 1"):
        ray_data.answer_file(folder / "in.jsonl", folder / "out", MODEL, **numbers)
    assert not (folder / "out").exists()
