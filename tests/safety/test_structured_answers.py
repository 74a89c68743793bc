"""An agent may give its answer as a call of its own form, alone or beside calls of tools."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from pydantic import BaseModel
from scripted import BAD, GOOD, Scripted, World, asks, call

from langchain_sea.middleware import ToolCallSafetyMiddleware


class Report(BaseModel):
    """The agent's answer."""

    city: str


REPORT = call("Report", "9", city="Rome")


def ask(script):
    """Return what ran, and the agent's last state."""
    world = World()
    guard = ToolCallSafetyMiddleware(checks="rules")
    options = {"middleware": [guard], "response_format": ToolStrategy(Report)}
    state = create_agent(Scripted(script=script), world.tools, **options).invoke(
        {"messages": [("user", "Delete notes.txt.")]}
    )
    return world.done, state


@pytest.mark.parametrize("calls", [[call("delete_file", **GOOD), REPORT], [REPORT, call("delete_file", **GOOD)]])
def test_a_call_beside_the_answer_is_judged_like_any_other(calls):
    """The answer has a result before any call runs, which is not a result of the other call."""
    done, state = ask([asks(*calls)])
    assert done == [("delete_file", GOOD["path"])]
    assert state["structured_response"] == Report(city="Rome")


def test_an_unsafe_call_beside_the_answer_does_not_run():
    """The answer is still read."""
    done, state = ask([asks(call("delete_file", **BAD), REPORT)])
    assert done == []
    assert state["structured_response"] == Report(city="Rome")


def test_the_answer_alone_is_read():
    """No call is judged then."""
    done, state = ask([asks(REPORT)])
    assert done == []
    assert state["structured_response"] == Report(city="Rome")
