"""The benchmark of the paper's tables: figures, rows that go on, rows without texts, and the page that shows them. Loads no model but `tiny`."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

import paper
import paper_cases
import paper_readings
import paper_rows
from paper_figures import METRICS, MISSING, compute_figures, wilson, write_markdown

from langchain_sea import load_model
from langchain_sea.evaluation import Evaluation, read_rows
from langchain_sea.rewards import registry

ABOUT = {
    "device": "a CPU",
    "torch": "2",
    "threads": 1,
    "dtype": "float32",
    "seed": 0,
    "max_time": 1.0,
    "max_tokens": 50,
}
PLANS = ("none: too slow", "tiny: 2 groups", "none: the draft is good", "tiny: 2 groups")
PAGE = Path(__file__).parents[2] / "docs/paper.md"
KEPT = Path(__file__).parents[1] / "benchmarks/results/paper.jsonl.gz"


def row(method: str, question: str, **more: Any) -> dict[str, Any]:
    fields = {
        "set": "advbench",
        "tier": "p",
        "question": question,
        "method": method,
        "seconds": 2.0,
        "draft_seconds": 0.5,
    }
    fields |= {
        "text": "a secret text",
        "draft": "a secret text",
        "gold": None,
        "candidates": 3,
        "plan": None,
        "about": ABOUT,
    }
    fields |= {"nll": 1.0, "nll_before": 1.0, "score": 0.5, "score_before": 0.5}
    return fields | {"harmful": False, "refused": False, "blank": False, "outside_nats": 2.0} | more


def test_an_interval_has_a_width_where_nothing_was_counted():
    assert wilson(0, 10) == [0.0, 0.2775]
    assert wilson(10, 10) == [0.7225, 1.0]
    low, high = wilson(5, 10)
    assert low == pytest.approx(1 - high, abs=1e-4)


def test_figures_are_of_each_table_policy_and_method():
    rows = [row("draft", str(i), harmful=i < 6) for i in range(8)]
    rows += [
        row("default", str(i), harmful=i < 2, outside_nats=None, seconds=4.0, plan=PLANS[i], text="ab"[i % 2])
        for i in range(4)
    ]
    rows += [row("draft", "1", set="gsm8k", right=True)]
    found = compute_figures(rows)
    draft, default = found["advbench"]["p"]["draft"], found["advbench"]["p"]["default"]
    assert (draft["n"], draft["value"], draft["seconds"], draft["outside_nats"]) == (8, 0.75, 2.0, 2.0)
    assert (default["n"], default["value"], default["outside_nats"]) == (4, 0.5, None)
    assert draft["lead_minus_this"]["value"] == -0.5  # of the four questions that both answered: 2 against 4
    assert draft["lead_minus_this"]["n"] == 4
    assert "lead_minus_this" not in default
    assert (default["is_draft"], default["no_plan"]) == (0.0, 0.5)
    assert (draft["is_draft"], draft["no_plan"]) == (1.0, None)
    assert list(found) == ["advbench", "gsm8k"]
    assert found["gsm8k"]["p"]["draft"]["value"] == 1.0


def test_what_is_not_measured_is_named():
    rows = [row("draft", "1", harmful=True)]
    text = write_markdown(compute_figures(rows), rows, ("advbench", "gsm8k"), ("p", "q"), ("default", "draft"))
    assert f"| `default` | {MISSING} | – | – |\n" in text
    assert "| `draft` | 100.0 (20.6 to 100.0), n = 1 | 2.0 | 2.00 |\n" in text
    assert "### GSM8K" not in text
    assert f"{MISSING.capitalize()}: AdvBench with `q`; GSM8K with `p` and `q`.\n" in text
    assert "1 answers: a CPU, torch 2, 1 threads, seed 0, 1.0 s of refinement." in text


def test_packed_rows_have_no_texts_and_the_same_figures(tmp_path):
    rows = [
        row(method, f"how to {i}", harmful=i > 1, plan="tiny: a secret")
        for method in ("default", "draft")
        for i in range(3)
    ]
    rows += [row("draft", "how to 1", set="gsm8k", right=True, about=ABOUT | {"threads": 2})]
    path = tmp_path / "packed.jsonl.gz"
    assert paper_rows.pack(rows, path) == path.stat().st_size
    plain = gzip.decompress(path.read_bytes()).decode()
    assert "secret" not in plain
    assert "how to" not in plain
    found = paper_rows.read(path)
    assert compute_figures(found) == compute_figures(rows)
    assert found[0]["about"] == ABOUT
    assert found[-1]["about"]["threads"] == 2
    assert found[0]["is_draft"]
    assert found[0]["plan"] == "tiny"
    again = tmp_path / "again.jsonl.gz"
    paper_rows.pack(found, again)
    assert again.read_bytes() == path.read_bytes()
    assert paper_readings.add_readings(found, path, None, None) == found


def test_rows_that_are_too_large_are_not_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_rows, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="pack fewer tables"):
        paper_rows.pack([row("draft", "1")], tmp_path / "x.jsonl.gz")
    assert not (tmp_path / "x.jsonl.gz").exists()


def test_rows_of_other_settings_are_not_mixed():
    asked = {"advbench": ABOUT | {"device": "another CPU", "threads": 8}}
    assert paper_rows.find_conflict([row("draft", "1")], asked) is None
    conflict = paper_rows.find_conflict([row("draft", "1")], {"advbench": ABOUT | {"seed": 3}})
    assert conflict == "advbench has rows of seed 0, and 3 is asked for"
    assert paper_rows.find_conflict([row("draft", "1", set="gsm8k")], {"advbench": ABOUT | {"seed": 3}}) is None


def test_compressed_rows_cannot_be_extended(capsys):
    with pytest.raises(SystemExit):
        paper.parse_options(["--rows", "x.jsonl.gz"])
    assert "pass --minutes 0" in capsys.readouterr().err
    assert paper.parse_options(["--rows", "x.jsonl.gz", "--minutes", "0"]).minutes == 0
    with pytest.raises(SystemExit):
        paper.parse_options(["--tables", "advbench,alpaca"])
    assert "no alpaca" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path):
    """Return a folder of public sets with three questions each."""
    folder = tmp_path / "data"
    for name in ("advbench", "truthfulqa", "gsm8k"):
        (folder / name).mkdir(parents=True)
    (folder / "advbench/harmful_behaviors.csv").write_text("goal\nWhat is 1?\nWhat is 2?\nWhat is 3?\n")
    lines = [json.dumps({"question": f"What is {i} + 1?", "answer": f"... #### {i + 1}"}) for i in range(3)]
    (folder / "gsm8k/test.jsonl").write_text("\n".join(lines))
    (folder / "truthfulqa/TruthfulQA.csv").write_text(
        "Question,Best Answer,Correct Answers,Incorrect Answers\nWhy?,So,So; Thus; So,No; Never\n"
    )
    return folder


def make_tiny(name, options):
    policy = load_model("tiny")
    terms = registry.make_terms(["tiny"], policy)
    return Evaluation(policy=policy, terms=terms, seed=options["seed"], max_time=options["max_time"])


def test_a_run_takes_the_tables_in_turn_and_goes_on_from_its_rows(tmp_path, data, monkeypatch):
    asked = []

    def answer(self, case, name, seconds):
        asked.append((case.set, name))
        return row(name, case.question, set=case.set, tier=case.tier, about=self.about)

    monkeypatch.setattr(paper, "make_evaluation", make_tiny)
    monkeypatch.setattr(Evaluation, "answer", lambda *_: {})
    monkeypatch.setattr(paper_cases.PaperEvaluation, "answer", answer)
    path = tmp_path / "rows.jsonl"
    arguments = ["--rows", str(path), "--data", str(data), "--tables", "advbench,prefix", "--policies", "tiny"]
    arguments += ["--threads", str(torch.get_num_threads()), "--seconds", "1"]
    paper.answer_all(paper.parse_options([*arguments, "--prompts", "2"]), ["default", "draft"])
    assert asked == [(table, name) for table in ("advbench", "prefix") * 2 for name in ("default", "draft")]
    first = path.read_text()
    asked.clear()
    options = paper.parse_options([*arguments, "--prompts", "3"])
    paper.require_same_settings(options, read_rows(path))
    paper.answer_all(options, ["default", "draft"])
    assert asked == [(table, name) for table in ("advbench", "prefix") for name in ("default", "draft")]
    assert path.read_text().startswith(first)
    assert len({row["question"] for row in read_rows(path)}) == 3
    with pytest.raises(SystemExit, match="seed 0, and 7 is asked for"):
        paper.require_same_settings(paper.parse_options([*arguments, "--seed", "7"]), read_rows(path))


def test_cases_are_those_of_the_tables(data):
    attacked = paper_cases.make_cases("prefix", "smollm2-135m", 2, 0, data)
    assert [case.opening for case in attacked] == ["Sure, here is"] * 2
    assert paper_cases.make_cases("prefix", paper_cases.GEMMA, 1, 0, data)[0].opening == " Sure, here is"
    plain = [case.question for case in paper_cases.make_cases("advbench", "p", 3, 0, data)]
    assert [case.question for case in attacked] == plain[:2]
    sums = paper_cases.make_cases("gsm8k", "p", 2, 0, data)
    assert [(case.question, case.gold, case.tier) for case in sums] == [
        ("What is 0 + 1?", "1", "p"),
        ("What is 1 + 1?", "2", "p"),
    ]
    evaluation = paper_cases.fit_to_case(make_tiny("", {"seed": 0, "max_time": 1.0}), sums[0], {"device": "d"}, None)
    assert [term.name for term in evaluation.terms] == ["verifier"]
    assert evaluation.about == {"device": "d", "max_tokens": 200}


def test_readings_are_made_once(tmp_path, data, monkeypatch):
    """TruthfulQA's by the nearest reference; a blank answer is near to none."""
    vectors = {
        "So": [1.0, 0.0],
        "Thus": [0.8, 0.6],
        "No": [0.0, 1.0],
        "Never": [0.0, 1.0],
        "fine": [0.9, 0.1],
        " ": [1.0, 0.0],
    }
    monkeypatch.setattr(paper_readings, "_SentenceEncoder", lambda: lambda texts: [vectors[text] for text in texts])
    monkeypatch.setattr(paper_readings, "read_nats", lambda rows, *_: [1.5] * len(rows))
    raw = [
        {key: value for key, value in row(name, "Why?", set="truthfulqa", text=text).items() if key in RAW}
        for name, text in (("default", "fine"), ("draft", "No"), ("bo64", " "))
    ]
    path = tmp_path / "rows.jsonl"
    found = paper_readings.add_readings(raw, path, data, None)
    assert [row["truthful"] for row in found] == [True, False, False]
    assert [row["blank"] for row in found] == [False, False, True]
    assert {row["outside_nats"] for row in found} == {1.5}
    monkeypatch.setattr(paper_readings, "judge", lambda *_: pytest.fail("judged again"))
    assert paper_readings.add_readings(raw, path, data, None) == found
    judged = paper_readings.check_nearness(data, 1)
    assert judged["correct_answers"] == {"n": 2, "judged_right": 1.0}
    assert judged["incorrect_answers"] == {"n": 2, "judged_right": 1.0}


RAW = {"set", "tier", "question", "method", "seconds", "text", "draft", "gold", "about"}


def test_the_page_shows_what_the_command_prints():
    """Of the rows in the repository; where there are none, that nothing is measured."""
    rows = paper_rows.read(KEPT) if KEPT.exists() else []
    printed = write_markdown(compute_figures(rows), rows, paper_cases.TABLES, paper_cases.POLICIES, paper.USUAL)
    assert printed in PAGE.read_text(encoding="utf-8")
    assert set(METRICS) == set(paper_cases.TABLES) == set(paper_cases.MAX_TOKENS)
