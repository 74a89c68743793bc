"""Drafts of another chat model, and how the policy's weights are loaded."""

from __future__ import annotations

import asyncio

import pytest
import torch
from doubles import SMALL_PRESET
from langchain_core.language_models import FakeListChatModel
from slow_cases import first_fast

from langchain_sea import Budget, SEAChatModel, load_model

SMALL = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 4}
QUESTION = "What is 14 + 23?"
DRAFT = "38"


class Down(FakeListChatModel):
    """A server that is not there."""

    def _call(self, *_args, **_kwargs):
        raise ConnectionError("no route to host")


def sea(message):
    return message.response_metadata["sea"]


def with_drafter(draft_model, **options):
    return SEAChatModel(model="tiny", draft_model=draft_model, **SMALL, **options)


def ways(model):
    """The answers of every way to ask."""
    return [model.invoke(QUESTION), *model.batch([QUESTION] * 2), asyncio.run(model.ainvoke(QUESTION))]


def test_the_drafter_s_text_is_the_draft():
    for message in ways(with_drafter(FakeListChatModel(responses=[DRAFT]))):
        assert sea(message)["draft"] == DRAFT
        assert sea(message)["draft_model_error"] is None
        assert sea(message)["score_after"] >= sea(message)["score_before"]


@pytest.mark.parametrize(
    ("draft_model", "error"),
    [(Down(responses=["x"]), "ConnectionError: no route"), (FakeListChatModel(responses=[""]), "no text")],
)
def test_a_drafter_that_fails_costs_nothing_but_its_draft(draft_model, error):
    expected = SEAChatModel(model="tiny", **SMALL).invoke(QUESTION)
    for message in ways(with_drafter(draft_model)):
        assert message.content == expected.content
        assert error in sea(message)["draft_model_error"]


def test_a_drafter_that_fails_raises_where_asked_to():
    with pytest.raises(ConnectionError):
        with_drafter(Down(responses=["x"]), on_reward_error="error").invoke(QUESTION)


def test_a_draft_keeps_to_the_budget_s_length():
    message = with_drafter(FakeListChatModel(responses=["12 " * 50])).invoke(QUESTION)
    policy = load_model("tiny")
    assert len(policy.encode(sea(message)["draft"])) <= SMALL["max_tokens"]


def equally_good(_prompt, completions):
    return [0.0 for _ in completions]


@pytest.mark.parametrize(("draft", "reason"), [("12 " * 50, "length"), (DRAFT, "stop")])
def test_a_draft_that_the_limit_cuts_says_so(draft, reason):
    """As an answer of the policy does."""
    model = with_drafter(FakeListChatModel(responses=[draft]), rewards=[equally_good])
    message = model.invoke(QUESTION)
    assert message.content == sea(message)["draft"]
    assert message.response_metadata["finish_reason"] == reason


@pytest.mark.parametrize(
    "how",
    first_fast([{"dtype": "float32"}, {"quantization": "int4"}, {"dtype": "bfloat16"}, {"quantization": "int8"}], 2),
)
def test_weights_are_loaded_as_asked(how):
    model = SEAChatModel(model="tiny", **SMALL, **how)
    found = sea(model.invoke(QUESTION))
    assert found["score_after"] >= found["score_before"]
    policy = load_model("tiny", **how)
    assert policy.model.dtype == getattr(torch, how.get("dtype", "float32"))
    assert (policy is load_model("tiny")) == (how == {"dtype": "float32"})


def test_a_policy_that_is_loaded_is_not_loaded_otherwise():
    with pytest.raises(ValueError, match="quantization"):
        SEAChatModel(model=load_model("tiny"), quantization="int8")
    with pytest.raises(ValueError, match="one of them"):
        SEAChatModel(model="tiny", device="cpu", device_map="auto")
