"""Methods side by side: rows that go on, one clock for all, and figures that are what they say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_sea import load_model
from langchain_sea.cli import evaluate, main
from langchain_sea.evaluation import METHODS, datasets, read_rows, with_presets
from langchain_sea.evaluation.datasets import ATTACK, Case
from langchain_sea.evaluation.metrics import (
    Table,
    bootstrap,
    distinct,
    equal_search,
    judged,
    reduction,
    summary,
    time_to,
)
from langchain_sea.evaluation.refusals import refused
from langchain_sea.evaluation.report import page
from langchain_sea.rewards import registry


def evaluation():
    policy = load_model("tiny")
    return with_presets(policy, registry.make_terms(["tiny"], "tiny", policy), tokens=16)


def row(method: str, question: str, **more: Any) -> dict[str, Any]:
    found = {"set": "s", "tier": "weak", "question": question, "method": method, "text": "fine", "nll": 1.0}
    return found | {"rewards": {"r": 1.0}, "score": 1.0, "score_before": 0.5, "seconds": 2.0} | more


def test_a_run_goes_on_from_its_rows_and_everyone_has_the_leaders_time(tmp_path) -> None:
    """The second run adds what the first lacked, and changes nothing."""
    rows, cases = tmp_path / "rows", [Case(set="s", question="What is 1 + 2?")]
    first = evaluation().run(cases, ["draft"], rows)
    assert [r["method"] for r in first] == ["default", "draft"]
    methods = ["draft", "bo64", "best_of_n", "prefix_search", "paper", "default@0.5"]
    found = evaluation().run(cases, methods, rows)
    assert found[:2] == first
    assert [r["method"] for r in found[2:]] == ["bo64", "best_of_n", "prefix_search", "paper", "default@0.5"]
    assert all(r["score"] >= r["score_before"] for r in found if r["method"].startswith("default"))
    assert len({text for text, _, _ in found[2]["drafts"]}) == len(found[2]["drafts"])
    assert evaluation()._seconds("best_of_n", ("s",), {("s", "default"): 3.0}) == 3.0
    assert evaluation()._seconds("default@0.5", ("s",), {("s", "bo64"): 3.0}) == 1.5
    assert set(METHODS) >= set(methods)


def test_an_attacked_answer_begins_with_what_was_put_into_its_mouth() -> None:
    """The policy goes on from it, and the judge sees it."""
    case = Case(set="s", question="What is 1 + 2?", tier="attacked")
    assert evaluation().answer(case, "draft", None)["text"].startswith(ATTACK)
    assert Case(set="s", question="q", tier="strong").messages[0]["role"] == "system"


def test_a_failure_is_what_the_gate_blocks_or_what_is_broken() -> None:
    """Beside the prompt's own draft."""
    rows = [row("draft", "a"), row("x", "a", text="bad"), row("y", "a", nll=2.5), row("z", "a", nll=1.9)]
    found = judged(rows, lambda _, texts: [float(text != "bad") for text in texts], 0.5)
    assert [(r["passes"], r["broken"], r["failed"]) for r in found] == [
        (True, False, False),
        (False, False, True),
        (True, True, True),
        (True, False, False),
    ]


def test_a_table_holds_only_prompts_that_all_answered() -> None:
    """And its means are theirs."""
    rows = [row("a", "1", nll=1.0), row("a", "2", nll=3.0), row("b", "2", nll=5.0)]
    table = Table(rows, ["a", "b"])
    assert table.mean("a", "nll") == 3.0
    assert table.best(["a", "b"], "nll", lowest=True) == "a"
    seen = judged(rows, lambda _, texts: [1.0] * len(texts), 0.5)
    assert summary(Table(seen, ["a", "b"]))["b"]["nll"] == 5.0


@given(st.lists(st.booleans(), min_size=5, max_size=40))
def test_the_bootstrap_holds_the_mean(values: list[bool]) -> None:
    """Of what it resamples, and is the same again."""
    low, high = bootstrap(lambda rows: sum(values[i] for i in rows) / len(rows), len(values), resamples=300)
    assert low - 1e-9 <= sum(values) / len(values) + 0.25
    assert high + 1e-9 >= sum(values) / len(values) - 0.25
    assert 0 <= low <= high <= 1


def test_figures_without_a_denominator() -> None:
    """Say so, and raise nothing."""
    assert reduction([1, 1], [1, 1]) == 0
    assert reduction([0, 1], [1, 1]) == 0.5
    assert reduction([0], [0]) == 0
    assert reduction([1], [0]) == -math.inf
    assert all(map(math.isnan, bootstrap(lambda _: math.nan, 3, resamples=5)))


def test_the_time_to_a_level_is_read_off_the_curve() -> None:
    """Between its points; none where it is never reached."""
    points = [(1.0, 0.0), (3.0, 1.0), (5.0, 1.0)]
    assert time_to(points, 0.5) == 2.0
    assert time_to(points, -1.0) == 1.0
    assert time_to(points, 2.0) is None


@given(st.floats(0.2, 2.0), st.floats(-3, 0), st.integers(100, 2000))
def test_the_search_that_would_be_needed_is_found_again(slope: float, start: float, needed: int) -> None:
    """From a curve whose log-odds rise with log N."""

    def share(n: int) -> float:
        return 1 / (1 + math.exp(-(start + slope * math.log(n))))

    level = share(needed)
    if level < 0.99 and share(64) > 0.01 and share(1) > 0.006:
        found = equal_search({n: share(n) for n in (1, 4, 16, 64)}, level)
        assert found == pytest.approx(needed, rel=1e-3) or share(64) > 0.994
    assert equal_search({1: 0.5, 64: 0.5}, 0.9) == math.inf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist. However, here is how you start", False),
        ("I'm sorry to hear that. Let me help", False),
        ("I don't have the ability to write this", True),
        ("I don't have any trees in my garden", False),
        ("Sure! First, take a screwdriver", False),
    ],
)
def test_refusals_are_told_by_their_words(text: str, expected: bool) -> None:  # noqa: FBT001
    """Those that slide into help are none."""
    assert refused(text) is expected


def test_distinct_counts_different_runs() -> None:
    """Of two words, over all texts."""
    assert distinct(["a b c", "a b d"]) == 0.75
    assert distinct([""]) == 0.0


def test_a_page_is_inert() -> None:
    """Whatever an answer holds."""
    nasty = "<script>alert(1)</script>"
    text = page("t", {"s": {nasty: {"failed": 0.5}}}, [row(nasty, nasty, text=nasty)])
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_files_of_ones_own_are_read(tmp_path) -> None:
    """JSON lines and CSV; what has no question is named."""
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": 3}\n{"prompt": "p"}\n')
    (tmp_path / "b.csv").write_text("question\nq\n")
    (tmp_path / "c.jsonl").write_text('{"text": "q"}\n')
    assert [c.gold for c in datasets.own(tmp_path / "a.jsonl")] == ["3", None]
    assert datasets.own(tmp_path / "b.csv")[0].question == "q"
    with pytest.raises(ValueError, match="case 1"):
        datasets.own(tmp_path / "c.jsonl")
    with pytest.raises(ValueError, match="no suite"):
        evaluate.suite("nothing", None, 3, 0)


def test_the_data_folder_is_named_where_there_is_none(tmp_path, monkeypatch) -> None:
    """By argument, by environment, or found."""
    assert datasets.folder(tmp_path) == tmp_path
    monkeypatch.setenv("SEA_DATA", str(tmp_path / "x"))
    assert datasets.folder() == tmp_path / "x"


def test_the_command_compares_on_a_file(tmp_path, monkeypatch, capsys) -> None:
    """Figures on standard output, a page beside them."""
    monkeypatch.setattr(registry, "load_gate", lambda _: lambda _q, texts: [1.0] * len(texts))
    (tmp_path / "mine.jsonl").write_text('{"question": "What is 1 + 2?"}\n')
    rows, out = tmp_path / "rows", tmp_path / "page.html"
    options = [
        "eval",
        str(tmp_path / "mine.jsonl"),
        "--policy",
        "tiny",
        "--methods",
        "draft",
        "--tokens",
        "12",
    ]
    assert main([*options, "--rows", str(rows), "--html", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["mine, weak"]) == {"default", "draft"}
    assert len(read_rows(rows)) == 2
    assert "What is 1 + 2?" in out.read_text()
    assert main(["eval", str(tmp_path / "mine.jsonl"), "--methods", "nothing"]) == 1
