"""Decision models of langchain-core 1.8 as rewards and back; on an older core there is nothing to test."""

from __future__ import annotations

import json
import pickle
import sys
from functools import partial

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage
from test_interop import TEXTS, scores, share, turns

from langchain_sea.errors import ExtraMissingError, RewardUnavailableError
from langchain_sea.interop import as_decision_model, from_decision_model

decisions = pytest.importorskip("langchain_core.decisions")


@pytest.mark.parametrize("yes_is_good", [True, False])
@pytest.mark.parametrize("reward", [share, turns])
def test_out_and_in_again_changes_no_score(reward, yes_is_good):
    sign = {"yes_is_good": yes_is_good}
    found = from_decision_model(as_decision_model(reward, **sign), **sign)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes
    assert scores(found) == scores(again) == pytest.approx(scores(reward), abs=1e-6)
    assert found.__name__ == again.__name__ == reward.__name__


class Deciding(decisions.BaseDecisionModel):
    """Yes by the length of the last message; every kind of answer."""

    model: str = "double"

    @property
    def _provider(self):
        return "double"

    def _classify(self, state, questions):
        part = min(1.0, len(state[-1]["content"]) / 20)
        spread = {"probabilities": {0: 1 - part, 1: part}, "confidence": 1.0}
        kinds = {
            "noul": {"noul": part},
            "score": {"score": part, "legend": {0: "bad", 1: "good"}, **spread},
            "choice": {"choice": "b", "probabilities": {"a": part, "b": 1 - part}, "confidence": 1.0},
            "box": {"box": dict.fromkeys(("top", "bottom", "left", "right"), 0.0)},
        }
        answers = {
            name: kinds[question.type] | {"type": question.type} for name, question in questions.items()
        }
        return decisions.ClassifierResponse.model_validate({"model": self.model, "answers": answers})


def test_a_decision_models_answers_are_scores():
    parts = pytest.approx([len(text) / 20 for text in TEXTS])
    choice = decisions.Choice(instructions="which?", criteria={"a": None, "b": None})
    level = decisions.Score(instructions="how good?", criteria=["bad", "good"])
    assert scores(from_decision_model(Deciding())) == parts
    assert scores(from_decision_model(Deciding(), "Is it long?")) == parts
    assert scores(from_decision_model(Deciding(), level)) == parts
    assert scores(from_decision_model(Deciding(), choice, label="a")) == parts
    risky = from_decision_model(Deciding(), "Is it risky?", yes_is_good=False)
    assert scores(risky) == pytest.approx([1 - len(text) / 20 for text in TEXTS])
    for question in (choice, decisions.Box(instructions="where?")):
        with pytest.raises(RewardUnavailableError, match="holds no score"):
            scores(from_decision_model(Deciding(), question))


def asked(model, state):
    response = model.invoke({"state": state, "questions": {"q": decisions.Noul(instructions="is it?")}})
    return response.nouls["q"].noul


def test_our_decision_model_answers_yes_or_no_of_any_state():
    model, risky = as_decision_model(share), as_decision_model(share, yes_is_good=False)
    good = share("why?", ["no"])[0]
    for state in (
        [HumanMessage("why?"), AIMessage("no")],
        {"prompt": "why?", "completion": "no"},
        {"messages": [HumanMessage("why?"), AIMessage("no")]},
    ):
        assert asked(model, state) == pytest.approx(good, abs=1e-7)
        assert asked(risky, state) == pytest.approx(1 - good, abs=1e-7)
    call = {"name": "delete", "args": {"path": "/"}}
    state = {"messages": [HumanMessage("why?")], "tool_call": call, "tool_description": "Deletes."}
    assert asked(model, state) == pytest.approx(share("why?", [json.dumps(call)])[0], abs=1e-7)
    assert asked(model, "no") == pytest.approx(share("", ["no"])[0], abs=1e-7)
    with pytest.raises(ValueError, match="no message"):
        asked(model, [])
    with pytest.raises(ValueError, match="answers yes or no"):
        model.invoke({"state": "no", "questions": {"q": decisions.Box(instructions="where?")}})


def test_a_reward_that_is_no_probability_needs_a_center():
    def length(prompt, completions):
        return [10.0 * len(text) for text in completions]

    with pytest.raises(RewardUnavailableError, match=r"20\.0, which is no probability.*center="):
        asked(as_decision_model(length), "no")
    expected = torch.sigmoid(torch.tensor((20.0 - 15) / 4)).item()
    assert asked(as_decision_model(length, center=15, scale=4), "no") == pytest.approx(expected)
    assert asked(as_decision_model(length, center=1e4), "no") == 0


def test_without_decision_models_the_error_names_what_is_missing(monkeypatch):
    """As on langchain-core 1.7, which has no such module."""
    monkeypatch.delitem(sys.modules, "langchain_sea.interop.decisions", raising=False)
    monkeypatch.delattr("langchain_sea.interop.decisions", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_core.decisions", None)
    for call in (partial(from_decision_model, Deciding()), partial(as_decision_model, share)):
        with pytest.raises(ExtraMissingError, match=r"langchain-core>=1\.8"):
            call()
