"""Reasoning is left as the model wrote it: the answer behind it is refined, judged and returned."""

from __future__ import annotations

import pytest
from architectures import tiny_tokenizer
from doubles import SMALL_PLAN
from scripted_policy import make_scripted_policy
from tokenizers import AddedToken

from langchain_sea import Budget, SEAChatModel
from langchain_sea.engine.reasoning import ReasoningConfig, split_ids, write_reasoned_answer

OPEN, CLOSE = "<think>", "</think>"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
OPENS = TEMPLATE + "{{ '<think>' }}"
ANSWERS = TEMPLATE + "{{ 'Q' }}"
THOUGHT, ANSWER = ["x", "y", "z"], ["3", "7"]


def ask(texts, template, *, rewards=(), **options):
    """Return the message of a model that writes one text, and what the reward saw."""
    tags = [AddedToken(tag, special=False, normalized=False) for tag in (OPEN, CLOSE)]
    policy = make_scripted_policy(tiny_tokenizer(chat_template=template, extra=tags), *texts)
    seen = []

    def judge(prompt, completions):
        seen.extend(completions)
        return [float(len(text)) for text in completions]

    settings = {"budget": Budget(max_steps=0), "plan": SMALL_PLAN, "max_tokens": 12, "temperature": 0.1, **options}
    message = SEAChatModel(model=policy, rewards=[judge, *rewards], **settings).invoke("What is 14 + 23?")
    return message, set(seen)


OPENED = ([[OPEN, *THOUGHT, CLOSE, *ANSWER]], OPENS)  # by the template
OWN = ([["Q", OPEN, *THOUGHT, CLOSE, *ANSWER]], ANSWERS)  # by the model


@pytest.mark.parametrize("case", [OPENED, OWN], ids=["opened", "own"])
def test_rewards_read_the_answer_alone(case):
    """Whoever opened the reasoning."""
    message, seen = ask(*case)
    assert message.content == "37"
    assert message.additional_kwargs["reasoning_content"] == "xyz"
    assert seen == {"37"}
    assert message.response_metadata["sea"]["draft"] == "37"
    assert message.usage_metadata["output_tokens"] == 6 if case is OPENED else 7
    assert message.usage_metadata["output_token_details"]["reasoning"] == 4 if case is OPENED else 5


@pytest.mark.parametrize("case", [OPENED, OWN], ids=["opened", "own"])
def test_reasoning_is_refined_if_asked_for(case):
    """Rewards then read both."""
    message, seen = ask(*case, refine_reasoning=True)
    assert message.content == "37"
    assert message.additional_kwargs["reasoning_content"] == "xyz"
    assert all("xyz" in text for text in seen)


@pytest.mark.parametrize(("limit", "thought"), [(1, "x"), (2, "xy"), (3, "xyz"), (9, "xyz")])
def test_reasoning_that_is_too_long_is_cut_and_the_answer_follows(limit, thought):
    """The tag that closes it is written for the model."""
    message, seen = ask(*OPENED, max_reasoning_tokens=limit)
    assert message.additional_kwargs["reasoning_content"] == thought
    assert (message.content, seen) == ("37", {"37"})
    assert message.response_metadata["finish_reason"] == "stop"


def test_an_answer_without_reasoning_is_whole():
    """A limit on reasoning is none on answers."""
    message, seen = ask([["Q", *THOUGHT, *ANSWER]], ANSWERS, max_reasoning_tokens=2)
    assert (message.content, seen) == ("xyz37", {"xyz37"})
    assert "reasoning_content" not in message.additional_kwargs


def test_reasoning_that_uses_up_the_tokens_leaves_no_answer():
    """The message says which limit it was."""
    message, _ = ask(*OPENED, max_tokens=2)
    assert message.content == ""
    assert message.additional_kwargs["reasoning_content"] == "xy"
    assert message.response_metadata["finish_reason"] == "length"
    assert message.response_metadata["sea"]["cut_off_by"] == "max_tokens=2"


def test_the_gate_reads_the_answer_alone():
    """Its question is what the user gets to see."""
    asked = []

    def gate(prompt, completions):
        asked.extend(completions)
        return [1.0] * len(completions)

    ask(*OPENED, gate=gate)
    assert set(asked) == {"37"}


def test_streams_begin_with_the_reasoning():
    """And say the answer behind it."""
    tags = [AddedToken(tag, special=False, normalized=False) for tag in (OPEN, CLOSE)]
    policy = make_scripted_policy(tiny_tokenizer(chat_template=OPENS, extra=tags), *OPENED[0])
    model = SEAChatModel(model=policy, rewards=lambda p, c: [0.0] * len(c), max_tokens=12, temperature=0.1)
    chunks = list(model.stream("What is 14 + 23?"))
    texts = [(chunk.additional_kwargs.get("reasoning_content", ""), chunk.text) for chunk in chunks]
    assert [each for each in texts if any(each)] == [("xyz", ""), ("", "37")]


CONFIG = ReasoningConfig(tags=(((1,), (2, 3)),), is_open=False, max_tokens=4, extend=lambda ids: ids)


@pytest.mark.parametrize(
    ("written", "reasoning", "answer"),
    [
        ([1, 7, 2, 3, 8, 9], [1, 7, 2, 3], [8, 9]),
        ([1, 7, 7, 7, 7, 7, 2, 3, 8], [1, 7, 7, 7, 2, 3], [7, 7, 2, 3, 8]),  # cut after four, and closed
        ([1, 7, 7], [], [1, 7, 7]),  # the model ended within its reasoning
        ([7, 1, 2, 3, 8, 8], [], [7, 1, 2, 3, 8, 8]),  # no reasoning at the beginning
    ],
)
def test_what_a_policy_writes_is_split_by_ids(written, reasoning, answer):
    """The second writing goes on where the first ended."""

    def write_on(ids, tokens):
        yield
        start = len(ids) - (2 if ids[4:] == [2, 3] else 0)
        new_ids = written[start : start + tokens]
        return new_ids, start + tokens > len(written)

    steps = write_reasoned_answer(write_on, CONFIG, 20)
    result = None
    while result is None:
        try:
            next(steps)
        except StopIteration as end:
            result = end.value
    assert (result.reasoning, result.answer) == (reasoning, answer)
    assert split_ids([*reasoning, *answer], CONFIG) == (reasoning, answer)
