"""Methods side by side: rows that go on, one clock for all, and figures that are what they say."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from langchain_sea import load_model
from langchain_sea.cli import main
from langchain_sea.errors import FileError, RewardUnavailableError
from langchain_sea.evaluation import (
    CONTROLS,
    METHODS,
    SEARCHES,
    Case,
    Evaluation,
    Table,
    add_gate_scores,
    read_cases,
    read_rows,
    summarize,
)
from langchain_sea.evaluation.comparison import make_control
from langchain_sea.evaluation.metrics import count_distinct
from langchain_sea.evaluation.report import render_page
from langchain_sea.evaluation.rows import describe_term
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import FunctionReward, registry
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward

OPENING = "Sure, here is"


def evaluation():
    policy = load_model("tiny")
    return Evaluation(policy=policy, terms=registry.make_terms(["tiny"], policy), max_tokens=16)


def row(method: str, question: str, **more: Any) -> dict[str, Any]:
    fields = {"set": "s", "tier": "plain", "question": question, "method": method, "text": "fine", "nll": 1.0}
    return fields | {"rewards": {"r": 1.0}, "score": 1.0, "score_before": 0.5, "seconds": 2.0} | more


@pytest.mark.slow
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
    assert set(METHODS) >= set(methods)


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


def test_an_answer_that_cannot_be_scored_is_left_out(tmp_path, caplog) -> None:
    """The other questions are answered; the next run tries again what failed."""
    policy = load_model("tiny")

    def fails_once(prompt: str, completions: list[str]) -> list[float]:
        if "2 + 2" in prompt and fails:
            raise ConnectionError("the judge is gone")
        return [float(len(text)) for text in completions]

    cases = [Case(set="s", question=f"What is {number} + 2?") for number in (1, 2, 3)]
    rows, fails = tmp_path / "rows", [True]
    default = PRESETS["default"]
    presets = {"default": replace(default, search_config=replace(default.search_config, plan="tiny"))}
    subject = Evaluation(policy=policy, terms=registry.make_terms([fails_once], policy), presets=presets, max_tokens=4)
    first = subject.run(cases, ["draft"], rows)
    assert [r["question"] for r in first if r["method"] == "draft"] == ["What is 1 + 2?", "What is 3 + 2?"]
    assert "default is left out for the question 'What is 2 + 2?'" in caplog.text
    fails.clear()
    assert len(subject.run(cases, ["draft"], rows)) == 6


def test_an_answer_whose_reward_fails_in_the_search_is_left_out() -> None:
    """It would be the draft, reported as the answer of the method."""
    policy, calls = load_model("tiny"), []

    def fails_later(_prompt: str, completions: list[str]) -> list[float]:
        calls.append(len(completions))
        if len(calls) > 1:
            raise ConnectionError("the judge is gone")
        return [float(len(text)) for text in completions]

    subject = Evaluation(policy=policy, terms=registry.make_terms([fails_later], policy), max_tokens=16)
    with pytest.raises(RewardUnavailableError):
        subject.answer(Case(set="s", question="What is 1 + 2?"), "bo64", None)
    assert len(calls) > 1


def test_a_question_that_is_too_long_is_left_out(tmp_path, caplog) -> None:
    """The questions after it are answered."""
    cases = [Case(set="s", question="What is 1 + 2? " * 500), Case(set="s", question="What is 1 + 2?")]
    subject = replace(evaluation(), max_tokens=4, max_time=1e-6)
    assert [r["question"] for r in subject.run(cases, [], tmp_path / "rows")] == ["What is 1 + 2?"]
    assert "default is left out" in caplog.text


def test_a_fraction_of_best_of_64_needs_its_time(tmp_path, monkeypatch) -> None:
    """It is measured although it was not asked for; where that fails, the fraction is left out."""

    def answer(self: Evaluation, case: Case, name: str, seconds: float | None) -> dict[str, Any]:
        if name == "bo64" and case.question == "2":
            raise RewardUnavailableError("gone")
        return answer_by_name(self, case, name, seconds)

    monkeypatch.setattr(Evaluation, "answer", answer)
    cases = [Case(set="s", question=question) for question in ("1", "2", "3")]
    found = evaluation().run(cases, ["default@0.5"], tmp_path / "rows")
    assert [r["question"] for r in found if r["method"] == "default@0.5"] == ["1", "3"]


def test_a_row_that_a_killed_process_began_is_written_anew(tmp_path, monkeypatch) -> None:
    """Half of it is on disk."""
    monkeypatch.setattr(Evaluation, "answer", answer_by_name)
    rows, cases = tmp_path / "rows", [Case(set="s", question=question) for question in ("1", "2")]
    whole = evaluation().run(cases, [], rows)
    text = rows.read_text()
    rows.write_text(text[: len(text) - 20])
    assert evaluation().run(cases, [], rows) == whole
    assert rows.read_text() == text


def test_without_a_draft_of_its_own_an_answer_is_compared_with_its_search_s() -> None:
    """Else nothing would be broken."""
    answer = row("default", "q", nll=9.0, nll_before=1.0)
    (found,) = add_gate_scores([answer], lambda _prompt, completions: [1.0] * len(completions), 0.5)
    assert (found["broken"], found["nll_rise"]) == (True, 8.0)


def answer_by_name(evaluation: Evaluation, case: Case, name: str, seconds: float | None) -> dict[str, Any]:
    text = f"{case.system} {case.opening} {evaluation.seed}"
    return row(name, case.question, set=case.set, tier=case.tier, text=text, draft_seconds=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", 1), ("max_tokens", 17), ("max_time", 2.0), ("temperature", 0.5), ("model", "other")),
        ("rewards", lambda prompt, completions: [1.0] * len(completions)),
        ("preset", replace(PRESETS["default"], policy_weight=0.5)),
    ],
)
def test_rows_of_another_run_are_not_reported_as_those_of_this_one(tmp_path, monkeypatch, name, value) -> None:
    """The error says which setting differs; rows that do not say how they were made are taken as they are."""
    monkeypatch.setattr(Evaluation, "answer", answer_by_name)
    rows, cases, first = tmp_path / "rows", [Case(set="s", question="q")], evaluation()
    made = first.run(cases, ["draft"], rows)
    assert evaluation().run(cases, ["draft"], rows) == made
    changes = {"rewards": "terms", "preset": "presets", "model": "policy"}
    if name == "model":
        value = copy.copy(first.policy)
        value.name = "other"
    elif name == "rewards":
        value = registry.make_terms([value], first.policy)
    elif name == "preset":
        value = PRESETS | {"default": value}
    other = replace(first, **{changes.get(name, name): value})
    with pytest.raises(FileError, match=rf"rows: .* were made with {name} .* is asked for: .* Pass another file"):
        other.run([replace(cases[0], question="another")], ["draft"], rows)
    assert len(read_rows(rows)) == 2
    assert len(other.run([replace(cases[0], set="another")], ["draft"], rows)) == 2
    old = [{key: r[key] for key in r if key not in {"settings", "system", "opening"}} for r in made]
    rows.write_text("".join(f"{json.dumps(r)}\n" for r in old))
    asked = replace(cases[0], system="Be brief.")
    assert [r["text"] for r in other.run([asked], ["draft"], rows)] == [r["text"] for r in made]
    assert len(read_rows(rows)) == 2


def test_cases_that_differ_in_system_or_opening_have_answers_of_their_own(tmp_path, monkeypatch) -> None:
    """And figures of their own; an old row could be either's, and is nobody's."""
    monkeypatch.setattr(Evaluation, "answer", answer_by_name)
    plain = Case(set="s", question="q")
    cases = [plain, replace(plain, system="Be brief."), replace(plain, opening="Sure,")]
    (tmp_path / "rows").write_text(json.dumps(row("default", "q", text="old", draft_seconds=0.1)) + "\n")
    found = evaluation().run(cases, [], tmp_path / "rows")
    assert [r["text"] for r in found] == ["None  0", "Be brief.  0", "None Sure, 0"]
    assert len(Table(found, ["default"]).rows["default"]) == 3


def test_a_reward_is_known_by_its_settings_its_code_and_its_weights() -> None:
    """Files of one name may hold others; in another process the description is equal."""
    policy = load_model("tiny")
    (tiny,) = registry.make_terms(["tiny"], policy)
    head = HiddenStateHead(HeadInfo(policy="tiny", layer=1, hidden_size=8, members=1, width=4))
    terms = [tiny, replace(tiny, weight=2.0)]
    for bias in (0.0, 1.0):
        other = copy.deepcopy(head)
        torch.nn.init.constant_(next(other.parameters()), bias)
        terms.append(replace(tiny, reward=HiddenStateReward(other)))
    functions = (lambda p, c: [0.0] * len(c), lambda p, c: [1.0] * len(c))
    terms += [replace(tiny, reward=FunctionReward(function)) for function in functions]
    assert len({describe_term(term) for term in terms}) == len(terms)
    assert describe_term(replace(tiny, reward=copy.deepcopy(terms[2].reward))) == describe_term(terms[2])


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
    (found,) = add_gate_scores([row("draft", "a")], lambda messages, completions: seen.extend(messages) or [0.7], 0.7)
    assert (seen, found["gate"], found["passes"]) == ([{"role": "user", "content": "a"}], 0.7, True)
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
