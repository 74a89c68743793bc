"""What a user's mistake ends in: an error that names the mistake, and the line of the user's own function."""

from __future__ import annotations

import asyncio
import traceback

import pytest
from doubles import SMALL_PRESET

from langchain_sea import SEAChatModel, load_model, make_energy, refine
from langchain_sea.chat.errors import raise_langchain_error
from langchain_sea.errors import RewardUnavailableError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.safety import CallContext, ContextMessage, GuardConfig, GuardPipeline, ToolRules
from langchain_sea.safety.tool_call import freeze_calls


def divide(prompt, completions):
    """A reward or a gate with a mistake in it."""
    return [1 / len(prompt[:0]) for _ in completions]


class Dividing:
    """The same mistake in an object."""

    def score(self, view, texts):
        return divide("", texts)


def make_model(**settings):
    return SEAChatModel(model="tiny", preset=SMALL_PRESET, plan="tiny", max_tokens=8, max_retries=0, **settings)


def refine_once(reward):
    policy = load_model("tiny")
    prompt = policy.prompt([{"role": "user", "content": "What is 1 + 2?"}])
    (found,) = refine([prompt], energy=make_energy(policy, reward), preset=SMALL_PRESET, max_new_tokens=8)
    raise found.failure


CALLS = {
    "invoke": lambda model: model.invoke("1"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("1")),
    "stream": lambda model: list(model.stream("1")),
    "batch": lambda model: model.batch(["1", "2"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("reward", [divide, Dividing()], ids=["function", "object"])
def test_an_error_of_a_reward_shows_the_user_s_own_line(call, reward):
    """Whichever thread called the reward."""
    with pytest.raises(RewardUnavailableError, match="ZeroDivisionError: division by zero") as raised:
        call(make_model(rewards=[reward], on_reward_error="error"))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "1 / len(prompt[:0])" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("reward", [divide, Dividing()], ids=["function", "object"])
def test_the_failure_of_a_refinement_shows_it_too(reward):
    """`refine` raises nothing by itself."""
    with pytest.raises(RewardUnavailableError) as raised:
        refine_once(reward)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("settings", [{"rewards": [divide]}, {"gate": divide}], ids=["reward", "gate"])
def test_where_the_call_goes_on_the_log_shows_it(settings, caplog):
    """A function that fails leaves the draft, a gate that fails a refusal."""
    make_model(**settings).invoke("What is 2 + 2?")
    assert "1 / len(prompt[:0])" in caplog.text


@pytest.mark.parametrize("kind", [WeightsCorruptError, WeightsNotFoundError, RewardUnavailableError])
def test_an_error_keeps_its_cause(kind):
    """Also where LangChain has no error of this meaning, and the error is raised as it is."""
    cause, error = OSError("disk"), kind("unreadable")
    error.__cause__ = cause
    with pytest.raises(kind) as raised:
        raise_langchain_error(error)
    shown = "".join(traceback.format_exception(raised.value))
    assert "OSError: disk" in shown


class DividingCheck:
    """The same mistake in a check of tool calls."""

    name = "own"
    uses_model = False

    def __call__(self, calls, context):
        return divide("", calls)


@pytest.mark.parametrize(("fail_open", "outcome"), [((), "unavailable"), (("own",), "allowed")])
def test_the_log_shows_the_line_of_a_check(fail_open, outcome, caplog):
    """Whether its failure stops the call or not."""
    policy = GuardConfig(tools={"read": ToolRules(fail_open=fail_open)})
    pipeline = GuardPipeline(policy=policy, checks=[DividingCheck()])
    context = CallContext((ContextMessage("user", "Read it."),), {"read": {"type": "object"}}, policy)
    (decision,) = pipeline(freeze_calls([{"id": "1", "name": "read", "args": {}, "type": "tool_call"}]), context)
    assert decision.outcome == outcome
    assert "1 / len(prompt[:0])" in caplog.text
