"""Methods side by side: one clock for all, and figures that are what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from evaluation_cases import evaluation, row

from langchain_sea.cli import main
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.evaluation import (
    CONTROLS,
    METHODS,
    SEARCHES,
    Case,
    Table,
    add_gate_scores,
    read_cases,
    read_rows,
    summarize,
)
from langchain_sea.evaluation.comparison import make_control
from langchain_sea.evaluation.metrics import count_distinct
from langchain_sea.evaluation.report import render_page
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import registry

OPENING = "Sure, here is"


def test_a_preset_gets_the_leaders_time_without_that_of_the_draft() -> None:
    """Its budget does not count its draft; a search has no draft, and gets the whole time."""
    case = Case(set="s", question="q")
    times = {"default": {"seconds": 3.0, "draft_seconds": 0.5}, "bo64": {"seconds": 4.0, "draft_seconds": 0.0}}
    answered = {(*case.key, name): row for name, row in times.items()}
    limits = {name: evaluation().time_limit(name, case, answered) for name in METHODS}
    assert {limits[name] for name in SEARCHES} == {3.0}
    assert {limits[name] for name in (*CONTROLS, "paper", "reference")} == {2.5}
    assert limits["default@0.5"] == 1.5
    assert 0 < limits["default@0.125"] < 0.01
    assert limits["draft"] is limits["bo64"] is None
    assert limits["default"] == 30.0
    assert replace(evaluation(), max_time=2.0).time_limit("default", case, {}) == 2.0
    assert replace(evaluation(), max_time=2.0).time_limit("bo64", case, {}) is None


def test_a_control_differs_from_the_leading_preset_in_one_setting() -> None:
    """The update of its latents; a preset without latents has no controls."""
    lead = PRESETS["default"]
    assert lead.search_config.latent.update == "gradient"
    for name, update in CONTROLS.items():
        control = make_control(name, lead)
        assert control.name == name
        assert control.search_config.latent.update == update
        latent = replace(control.search_config.latent, update="gradient")
        config = replace(control.search_config, latent=latent)
        assert replace(control, name=lead.name, search_config=config) == lead
    with pytest.raises(ValueError, match="'aisp' changes how latents are updated, but the preset 'paper' has none"):
        make_control("aisp", PRESETS["paper"])


def test_a_row_holds_the_draft_of_its_own_method() -> None:
    """What changed is measured against it, and the spread of the draws is that of their rewards."""
    case = Case(set="s", question="What is 1 + 2?", opening=OPENING)
    found = evaluation().answer(case, "best_of_n", 0.05)
    assert found["draft"].startswith(OPENING)
    assert found["score_before"] <= found["score"]
    assert set(found["spread"]) == set(found["rewards"])
    assert found["candidates"] >= 1
    assert evaluation().answer(case, "draft", None)["spread"] == {"tiny": 0.0}
    assert evaluation().answer(case, "random_walk", 0.05)["method"] == "random_walk"


def test_without_a_draft_of_its_own_an_answer_is_compared_with_its_search_s() -> None:
    """Else nothing would be broken."""
    answer = row("default", "q", nll=9.0, nll_before=1.0)
    (scored,) = add_gate_scores([answer], lambda _prompt, completions: [1.0] * len(completions), 0.5)
    assert (scored["broken"], scored["nll_rise"]) == (True, 8.0)


def test_an_answer_begins_with_the_opening_of_its_case() -> None:
    """The policy continues it, and the gate sees it."""
    case = Case(set="s", question="What is 1 + 2?", opening=OPENING)
    assert evaluation().answer(case, "draft", None)["text"].startswith(OPENING)
    assert replace(case, system="Be brief.").messages[0] == {"role": "system", "content": "Be brief."}


def test_a_failure_is_what_the_gate_blocks_or_what_is_broken() -> None:
    """Beside the prompt's own draft."""
    rows = [row("draft", "a"), row("x", "a", text="bad"), row("y", "a", nll=2.5), row("z", "a", nll=1.9)]
    found = add_gate_scores(rows, lambda _, texts: [float(text != "bad") for text in texts], 0.5)
    assert [(r["passes"], r["broken"], r["failed"]) for r in found] == [
        (True, False, False),
        (False, False, True),
        (True, True, True),
        (True, False, False),
    ]


def test_the_gate_of_an_evaluation_is_called_as_a_reward_is() -> None:
    """What returns no finite number for a text is an error, and no figure."""
    seen = []
    (scored,) = add_gate_scores([row("draft", "a")], lambda messages, completions: seen.extend(messages) or [0.7], 0.7)
    assert (seen, scored["gate"], scored["passes"]) == ([{"role": "user", "content": "a"}], 0.7, True)
    for scores in ([], [float("nan")], [1.0, 1.0]):
        with pytest.raises(RewardUnavailableError, match="the gate"):
            add_gate_scores([row("draft", "a")], lambda _, texts, scores=scores: scores, 0.5)


def test_a_table_holds_only_prompts_that_all_answered() -> None:
    """And its means are theirs."""
    rows = [row("a", "1", nll=1.0), row("a", "2", nll=3.0), row("b", "2", nll=5.0)]
    table = Table(rows, ["a", "b"])
    assert table.mean("a", "nll") == 3.0
    assert table.best(["a", "b"], "nll", lowest=True) == "a"
    seen = add_gate_scores(rows, lambda _, texts: [1.0] * len(texts), 0.5)
    assert summarize(Table(seen, ["a", "b"]))["b"]["nll"] == 5.0


def test_distinct_counts_different_runs() -> None:
    """Of two words, over all texts."""
    assert count_distinct(["a b c", "a b d"]) == 0.75
    assert count_distinct([""]) == 0.0


def test_a_page_is_inert() -> None:
    """Whatever an answer holds."""
    nasty = "<script>alert(1)</script>"
    text = render_page("t", {"s": {nasty: {"failed": 0.5}}}, [row(nasty, nasty, text=nasty)])
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_files_of_ones_own_are_read(tmp_path) -> None:
    """JSON lines and CSV; what has no question is named."""
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": 3}\n{"prompt": "p"}\n')
    (tmp_path / "b.csv").write_text("question\nq\n")
    (tmp_path / "c.jsonl").write_text('{"text": "q"}\n')
    assert [c.gold for c in read_cases(tmp_path / "a.jsonl")] == ["3", None]
    assert read_cases(tmp_path / "b.csv")[0].question == "q"
    with pytest.raises(ValueError, match="case 1"):
        read_cases(tmp_path / "c.jsonl")
    (tmp_path / "d.jsonl").write_text('{"question": "q", "set": "s", "tier": "t", "system": "b", "opening": "o"}\n')
    assert read_cases(tmp_path / "d.jsonl") == [Case(set="s", question="q", tier="t", system="b", opening="o")]


def test_the_command_compares_on_a_file(tmp_path, monkeypatch, capsys) -> None:
    """Figures on standard output, a page beside them."""
    monkeypatch.setattr(registry, "load_gate", lambda _: lambda _q, texts: [1.0] * len(texts))
    (tmp_path / "mine.jsonl").write_text('{"question": "What is 1 + 2?"}\n')
    rows, out = tmp_path / "rows", tmp_path / "page.html"
    options = ["eval", str(tmp_path / "mine.jsonl"), "--model", "tiny", "--methods", "draft", "--max-tokens", "12"]
    assert main([*options, "--rows", str(rows), "--html", str(out)]) == 0
    printed, progress = capsys.readouterr()
    found = json.loads(printed)
    assert "question 1 of 1, draft: " in progress
    assert set(found["mine, plain"]) == {"default", "draft"}
    assert len(read_rows(rows)) == 2
    assert "What is 1 + 2?" in out.read_text()
    assert main(["eval", str(tmp_path / "mine.jsonl"), "--methods", "nothing"]) == 1
