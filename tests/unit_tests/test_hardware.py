"""Which precision is chosen from which times, and how many threads a container gets. No clock decides here."""

from __future__ import annotations

import logging
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import ARCHS, save_folder, tiny_model

from langchain_sea import load_model, unload, weights
from langchain_sea.cli import main
from langchain_sea.models import hardware
from langchain_sea.models.loading.precision import find_layer_shapes, measure_model

LAYER = ((1024, 1024), (512, 1024))
TWICE_AS_FAST, SIX_TIMES_AS_SLOW = (1.0, 0.5), (1.0, 6.0)
seconds = st.floats(1e-6, 10)


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Neither measurements nor threads."""
    threads = torch.get_num_threads()
    for remembered in (hardware.measure_dtype, hardware.limit_threads):
        remembered.cache_clear()
    yield
    unload()
    for remembered in (hardware.measure_dtype, hardware.limit_threads):
        remembered.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def measured(monkeypatch):
    """Makes every layer worth measuring, and its times those that are passed; returns what was measured."""

    def fake(times):
        asked = []

        def measure(shapes, num_rows):
            asked.append((shapes, num_rows))
            return times

        monkeypatch.setattr(hardware, "_MIN_WEIGHTS", 1)
        monkeypatch.setattr(hardware, "measure_products", measure)
        return asked

    return fake


@given(st.lists(st.tuples(seconds, seconds), min_size=2, max_size=2))
def test_bfloat16_has_to_be_clearly_faster(times):
    """A fifth on average of the two numbers of rows, each relative to float32."""
    asked = dict(zip((4, 64), times, strict=True))
    choice = hardware.choose_dtype(LAYER, lambda _, rows: asked[rows])
    relative = {rows: narrow / exact for rows, (exact, narrow) in asked.items()}
    assert choice.relative_times == relative
    assert choice.dtype == (torch.bfloat16 if sum(relative.values()) / 2 <= 0.8 else torch.float32)


@pytest.mark.parametrize(
    ("few", "many", "chosen"),
    [
        (TWICE_AS_FAST, TWICE_AS_FAST, torch.bfloat16),
        (TWICE_AS_FAST, SIX_TIMES_AS_SLOW, torch.float32),  # emulated, where only reading is faster
        (SIX_TIMES_AS_SLOW, TWICE_AS_FAST, torch.float32),
        ((1.0, 0.95), (1.0, 0.95), torch.float32),  # within the noise: the exact one
    ],
)
def test_both_numbers_of_rows_count(few, many, chosen):
    assert hardware.choose_dtype(LAYER, lambda _, rows: few if rows == 4 else many).dtype == chosen


def test_small_layers_are_not_measured():
    def never(shapes, num_rows):
        raise AssertionError

    assert hardware.choose_dtype(((1023, 1024),), never) == (torch.float32, {})
    assert hardware.choose_dtype((), never) == (torch.float32, {})


def test_the_least_of_turns_is_taken():
    """The precisions are timed in turns, and neither the first call nor an interruption counts."""
    exact, narrow = [1, 2, 3, 2, 90, 4], [0, 80, 1, 70, 3, 3]
    spans = [span for pair in zip(exact, narrow, strict=True) for span in pair]
    ticks = iter([tick for number, span in enumerate(spans) for tick in (1000 * number, 1000 * number + span)])
    threads = torch.get_num_threads()
    assert hardware.measure_products(((8, 4),), 2, lambda: next(ticks)) == (2, 1)
    assert next(ticks, None) is None
    assert torch.get_num_threads() == threads


def test_one_thread_is_measured():
    """Several wait for each other where other processes are busy; the number is given back, after an error, too."""
    torch.set_num_threads(2)
    seen = []

    def clock():
        seen.append(torch.get_num_threads())
        if len(seen) == 3:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        hardware.measure_products(((8, 4),), 2, clock)
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2


def test_real_products_are_timed():
    """The measured path runs, on weights of both kinds of size."""
    for shapes in (LAYER, ((2**14, 2**14),)):
        choice = hardware.measure_dtype(shapes)
        assert choice.dtype in {torch.float32, torch.bfloat16}
        assert set(choice.relative_times) == {4, 64}
        assert all(time > 0 for time in choice.relative_times.values())


@given(st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)), max_size=8))
def test_a_large_layer_is_cut(shapes):
    """The first weights, each of a real width, and not more than fit into the measurement."""
    cut = list(hardware._cut(tuple(shapes)))
    assert bool(cut) == bool(shapes)
    assert all(outs <= shape[0] and ins == shape[1] for (outs, ins), shape in zip(cut, shapes, strict=False))
    assert sum(outs * ins for outs, ins in cut) <= 2**22 + sum(64 * ins for _, ins in cut[-1:])
    assert cut[:-1] == shapes[: len(cut[:-1])]  # the last alone may be cut


def test_a_policy_is_loaded_in_what_was_measured(measured, tmp_path):
    """Once for each shape and process; a precision that the user names wins, and rewards stay exact."""
    folder = save_folder(tmp_path / "model")
    asked = measured(TWICE_AS_FAST)
    policy = load_model(folder, "cpu")
    assert policy.model.dtype == torch.bfloat16
    assert {shapes for shapes, _ in asked} == {find_layer_shapes(tiny_model("llama"))}
    num_asked = len(asked)
    assert load_model(folder, "cpu") is policy
    assert load_model(folder, "cpu", dtype="bfloat16") is policy
    assert load_model(folder, "cpu", dtype="float32").model.dtype == torch.float32
    assert weights.load(folder, device="cpu").model.dtype == torch.float32
    assert load_model("tiny", "cpu").model.dtype == torch.float32
    weights.unload()
    assert load_model(folder, "cpu").model.dtype == torch.bfloat16
    assert len(asked) == num_asked


def test_a_policy_that_was_loaded_by_its_precision_is_used_again(measured, tmp_path):
    folder = save_folder(tmp_path / "model")
    exact = load_model(folder, "cpu", dtype="float32")
    measured(SIX_TIMES_AS_SLOW)
    assert load_model(folder, "cpu") is exact


@pytest.mark.parametrize("arch", ARCHS)
def test_the_shapes_are_those_of_one_layer(arch):
    """Whatever a layer is called, and however its weights lie."""
    model = tiny_model(arch)
    layer = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList))[0]
    found = find_layer_shapes(model)
    matrices = [p for p in layer.parameters() if p.dim() == 2]
    assert sum(outs * ins for outs, ins in found) == sum(p.numel() for p in matrices)
    states = {ins: torch.zeros(1, ins) for _, ins in found}
    assert {32, 48 if arch != "gpt2" else 128} == set(states)
    assert measure_model(model).dtype == torch.float32


def test_a_model_without_layers_is_not_measured():
    assert find_layer_shapes(torch.nn.Linear(2, 2)) == ()


def test_the_choice_is_logged_and_in_words(measured, caplog):
    measured(TWICE_AS_FAST)
    with caplog.at_level(logging.DEBUG, "langchain_sea.models.hardware"):
        hardware.measure_dtype(LAYER)
    assert "bfloat16 takes 0.50 with 4 rows, 0.50 with 64 rows" in caplog.text
    assert "too small" in str(hardware.DtypeChoice(torch.float32, {}))


def group(root, files, cgroup="0::/\n"):
    """A file tree with `/proc/self/cgroup` and the files of control groups."""
    texts = {"proc/self/cgroup": cgroup} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


V1 = "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2),  # the parent's is less
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000", "a/cpu.max": "max 100000"}, 1),
        ("0::/not/seen/here\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/../../outside\n", {"cpu.max": "300000 100000"}, 3),
        ("1:cpu:/\n0::/\n", {"unified/cpu.max": "50000 100000"}, 0.5),
        (
            V1,
            {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "250000", "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "80000\n", "cpu/cpu.cfs_period_us": "40000\n"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"memory/docker/ab/cpu.cfs_quota_us": "1", "memory/docker/ab/cpu.cfs_period_us": "1"}, None),
    ],
)
def test_the_quota_is_read_from_control_groups(tmp_path, cgroup, files, quota):
    assert hardware.find_quota(group(tmp_path, files, cgroup)) == quota


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert hardware.find_quota(tmp_path) is None


def chosen(now, cpus, quota, defaults=(8, 16), **environ):
    return hardware.choose_num_threads(now, cpus, quota, defaults=defaults, environ=environ)


@pytest.mark.parametrize(
    ("now", "cpus", "quota", "threads"),
    [
        (16, 16, 2, 2),
        (16, 16, 1.5, 2),  # one thread would leave a third of it
        (16, 16, 0.2, 1),
        (16, 4, None, 4),
        (16, 4, 8, 4),
        (8, 16, None, 8),
        (8, 16, 12, 8),  # never raised
    ],
)
def test_threads_follow_the_quota_downwards(now, cpus, quota, threads):
    assert chosen(now, cpus, quota) == threads


def test_what_the_user_chose_is_left():
    """By an environment variable, or by a number that torch does not take by itself."""
    assert chosen(16, 16, 2, OMP_NUM_THREADS="16") == 16
    assert chosen(16, 16, 2, MKL_NUM_THREADS="16") == 16
    assert chosen(16, 16, 2, OMP_NUM_THREADS="") == 2
    assert chosen(5, 16, 2) == 5


@given(st.integers(1, 256), st.integers(1, 256), st.none() | st.floats(0.01, 256))
def test_threads_are_only_lowered_and_one_is_left(now, cpus, quota):
    threads = chosen(now, cpus, quota, defaults=(now,))
    assert 1 <= threads <= now
    assert threads <= cpus
    assert quota is None or threads < quota + 1


def test_the_first_load_lowers_torchs_threads_once(monkeypatch):
    for name in hardware._THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(hardware, "find_quota", lambda: 2.0)
    monkeypatch.setattr(hardware, "count_cpus", lambda: 3)
    torch.set_num_threads(3)
    load_model("tiny", "cpu")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(3)
    weights.unload()
    load_model("tiny", "cpu")
    assert torch.get_num_threads() == 3


def test_cores_are_counted_by_their_threads(tmp_path):
    """Two threads of a core are one core; without a topology each CPU is one."""
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        path = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(f"{siblings}\n", encoding="utf-8")
    assert hardware._count_cores([0, 1, 2, 3], tmp_path) == 2
    assert hardware._count_cores([0, 2], tmp_path) == 1
    assert hardware._count_cores([0, 1, 2], tmp_path / "none") == 3


def test_cpus_are_those_of_this_process(monkeypatch):
    assert hardware.count_cpus() >= 1
    monkeypatch.setattr(os, "process_cpu_count", lambda: 7, raising=False)
    assert hardware.count_cpus() == 7
    monkeypatch.setattr(os, "process_cpu_count", lambda: None, raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert hardware.count_cpus() == 5


def test_doctor_shows_threads_and_precision(measured, monkeypatch, tmp_path, capsys):
    measured(SIX_TIMES_AS_SLOW)
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path))
    monkeypatch.setattr(hardware, "find_quota", lambda: 1.5)
    main(["doctor"])
    assert "measured when the weights are loaded" in capsys.readouterr().out
    save_folder(tmp_path / "smollm2-135m-0.1.2")
    main(["doctor"])
    out = capsys.readouterr().out
    assert "quota of 1.5 CPUs" in out
    assert "float32 (bfloat16 takes 6.00 with 4 rows" in out
