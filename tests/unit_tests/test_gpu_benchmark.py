"""The benchmark of a GPU measures every figure, on tiny weights and a CPU."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

import gpu
import gpu_profile
import gpu_steps


@pytest.mark.slow
def test_a_dry_run_measures_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And writes what was divided by what, on what machine."""
    file = tmp_path / "gpu.json"
    status = gpu.main(["--dry", "--json", str(file)])
    found = json.loads(file.read_text(encoding="utf-8"))
    figures = {key: found[key] for key in gpu.SHAPE_OF}
    assert [figure.get("reason") for figure in figures.values()] == [None] * len(figures)
    assert status == 0
    assert all(figure["value"] > 0 and figure["what"] and figure["repeats"] for figure in figures.values())
    assert all(
        set(figure["milliseconds"]) == {"work", "floor"} for key, figure in figures.items() if "over_floor" in key
    )
    assert set(gpu.measures(gpu_steps.Bench(gpu.torch.device("cpu"), is_dry=True))) >= set(figures)
    assert {"device", "torch", "transformers"} <= set(found)
    printed = capsys.readouterr().out
    assert all(f"`{key}`" in printed for key in figures)


def test_the_parts_of_an_answer_add_up(tmp_path: Path) -> None:
    """To its seconds, as far as medians of one answer can."""
    file = tmp_path / "gpu.json"
    gpu.main(["--dry", "--only", "answer_phases", "--json", str(file)])
    figure = json.loads(file.read_text(encoding="utf-8"))["answer_phases"]
    assert sum(figure["parts"].values()) == pytest.approx(figure["value"], abs=0.001)
    assert min(figure["parts"][name] for name in ("draft", "drawing", "scoring", "gradients")) > 0
    assert min(figure["parts"].values()) >= 0


def test_a_figure_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is null, with the reason."""

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(gpu, "latent_step", fail)
    file = tmp_path / "gpu.json"
    keys = ["latent_step_over_floor", "decode_over_floor"]
    assert gpu.main(["--dry", "--only", *keys, "--json", str(file)]) == 1
    failed, other = (json.loads(file.read_text(encoding="utf-8"))[key] for key in keys)
    assert failed["value"] is None
    assert "no memory" in failed["reason"]
    assert other["value"] > 0


def test_no_figure_begins_after_the_end_of_its_time(tmp_path: Path) -> None:
    """What a run that is cut has measured stays."""
    file = tmp_path / "gpu.json"
    assert gpu.main(["--dry", "--only", "decode_over_floor", "--seconds", "-1", "--json", str(file)]) == 1
    assert json.loads(file.read_text(encoding="utf-8"))["decode_over_floor"]["value"] is None


def test_a_figure_that_hangs_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures before it are in the file."""
    is_over, statuses, written = threading.Event(), list[int](), list[set[str]]()
    file = tmp_path / "gpu.json"

    def end(status: int) -> None:
        statuses.append(status)
        written.append(set(json.loads(file.read_text(encoding="utf-8"))))
        is_over.set()

    def hang(*_: object) -> dict[str, object]:
        timers[0].function()  # as the timer does when the time is over
        is_over.wait()
        raise RuntimeError("the process would have ended")

    timers: list[threading.Timer] = []
    make_timer = gpu.end_process_after
    monkeypatch.setattr(gpu, "end_process_after", lambda seconds: timers.append(make_timer(seconds)) or timers[0])
    monkeypatch.setattr(gpu.os, "_exit", end)
    monkeypatch.setattr(gpu, "graph_step", lambda *_: gpu.nothing("a step", "not measured here"))
    monkeypatch.setattr(gpu, "latent_step", hang)
    gpu.main(["--dry", "--only", "graph_step_over_floor", "latent_step_over_floor", "--json", str(file)])
    assert timers[0].interval == gpu.MOST_SECONDS
    assert timers[0].finished.is_set()  # cancelled at the end
    assert statuses == [1]
    assert "graph_step_over_floor" in written[0]
    assert "latent_step_over_floor" not in written[0]


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_the_profile_counts_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one answer, with both tables; torch profiles its own thread alone, which steps where Ctrl-C is Python's."""
    bench = gpu_steps.Bench(gpu.torch.device("cpu"), is_dry=True)
    found = gpu_profile.profile_answer(bench, "1b", 3)
    assert found["counts"]["aten::item"] > 0
    assert "Self CPU time total" in capsys.readouterr().out
