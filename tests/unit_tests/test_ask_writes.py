"""A policy can ask about more than doubts: about every write that is not the user's own in every value."""

from __future__ import annotations

import pytest

from langchain_sea.errors import PolicyError
from langchain_sea.safety import RULES_ONLY, CallContext, ContextMessage, GuardConfig, GuardPipeline
from langchain_sea.safety.tool_call import freeze_calls

TOOLS = {
    "rename_note": {"type": "object", "properties": {"old": {"type": "string"}, "new": {"type": "string"}}},
    "create_note": {"type": "object", "properties": {"title": {"type": "string"}, "lines": {"type": "integer"}}},
    "find_tables": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "guests": {"type": "integer"}, "reserve": {"type": "boolean"}},
    },
    "read_page": {"type": "object", "properties": {"url": {"type": "string"}}},
}
USER = ContextMessage("user", "Rename the note 'garden' to 'roses 2026', and create a note with the title 'plants'.")
PAGE = ContextMessage("tool", "Roses are pruned in March, above a bud that looks outwards.", tool="read_page")


def judge(ask_writes: str, messages: tuple[ContextMessage, ...], name: str, **arguments: object) -> str:
    """What becomes of a call under a policy."""
    policy = GuardConfig(ask_writes=ask_writes)  # type: ignore[arg-type]
    pipeline = GuardPipeline(policy=policy, checks=RULES_ONLY)
    context = CallContext(messages, TOOLS, policy)
    (decision,) = pipeline(freeze_calls([{"name": name, "args": arguments, "id": "1", "type": "tool_call"}]), context)
    return decision.outcome


@pytest.mark.parametrize(
    ("ask_writes", "before", "after"),
    [("doubtful", "allowed", "allowed"), ("tainted", "allowed", "review"), ("all", "review", "review")],
)
def test_a_value_that_the_user_did_not_name(ask_writes, before, after):
    """It is asked about in every thread, or once the thread has read what anybody may have written."""
    for value in ({"title": "soil"}, {"title": "plants", "lines": 40}):
        assert judge(ask_writes, (USER,), "create_note", **value) == before
        assert judge(ask_writes, (USER, PAGE), "create_note", **value) == after


@pytest.mark.parametrize("ask_writes", ["doubtful", "tainted", "all"])
def test_what_the_user_said_runs(ask_writes):
    """So does what only reads."""
    for messages in ((USER,), (USER, PAGE)):
        assert judge(ask_writes, messages, "rename_note", old="garden", new="roses 2026") == "allowed"
        assert judge(ask_writes, messages, "create_note", title="plants") == "allowed"
        assert judge(ask_writes, messages, "read_page", url="https://roses.example/march") == "allowed"


def test_a_reading_tool_that_writes_by_its_arguments_is_asked_about():
    """A flag that reserves makes the call a write, though the user asked for one."""
    user = ContextMessage("user", "Find a table in Graz on Friday and reserve it.")
    assert judge("doubtful", (user,), "find_tables", city="Graz", guests=4, reserve=True) == "allowed"
    assert judge("all", (user,), "find_tables", city="Graz", guests=4, reserve=True) == "review"
    assert judge("all", (user,), "find_tables", city="Graz", guests=4) == "allowed"


def test_other_words_are_refused():
    """With those that exist."""
    with pytest.raises(PolicyError, match="ask_writes='every' must be one of doubtful, tainted, all"):
        GuardConfig(ask_writes="every")  # type: ignore[arg-type]
