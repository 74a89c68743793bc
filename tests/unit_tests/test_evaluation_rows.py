"""The rows of an evaluation: a run goes on from its own, and only from those."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from evaluation_cases import evaluation, row

from langchain_sea import load_model
from langchain_sea.errors import FileError, RewardUnavailableError
from langchain_sea.evaluation import METHODS, Case, Evaluation, Table, read_rows
from langchain_sea.evaluation.rows import describe_term
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import FunctionReward, registry
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward


def answer_by_name(evaluation: Evaluation, case: Case, name: str, seconds: float | None) -> dict[str, Any]:
    text = f"{case.system} {case.opening} {evaluation.seed}"
    return row(name, case.question, set=case.set, tier=case.tier, text=text, draft_seconds=0.1)


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
    rows = evaluation().run(cases, ["default@0.5"], tmp_path / "rows")
    assert [r["question"] for r in rows if r["method"] == "default@0.5"] == ["1", "3"]


def test_a_row_that_a_killed_process_began_is_written_anew(tmp_path, monkeypatch) -> None:
    """Half of it is on disk."""
    monkeypatch.setattr(Evaluation, "answer", answer_by_name)
    rows, cases = tmp_path / "rows", [Case(set="s", question=question) for question in ("1", "2")]
    whole = evaluation().run(cases, [], rows)
    text = rows.read_text()
    rows.write_text(text[: len(text) - 20])
    assert evaluation().run(cases, [], rows) == whole
    assert rows.read_text() == text
    rows.write_text(text.rstrip())  # a whole row without a line break, as an editor may leave it
    monkeypatch.setattr(Evaluation, "answer", None)  # nothing is answered again
    assert evaluation().run(cases, [], rows) == whole
    assert rows.read_text() == text


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
    rows = evaluation().run(cases, [], tmp_path / "rows")
    assert [r["text"] for r in rows] == ["None  0", "Be brief.  0", "None Sure, 0"]
    assert len(Table(rows, ["default"]).rows["default"]) == 3


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
