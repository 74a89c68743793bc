"""What LangChain lets through and the guard does not. Each test fails without the part that it tests."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ToolRetryMiddleware, hook_config
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import BAD, GOOD, WAYS, World, agent, asks, build, call, run, valid

from langchain_sea.middleware import ToolCallSafetyMiddleware, with_guard
from langchain_sea.middleware.opening import GuardOpening
from langchain_sea.safety import AuditLog, GuardConfig, ToolRules, verify

REQUEST = "Please delete notes.txt."


@pytest.mark.parametrize("how", WAYS)
def test_what_is_safe_runs_and_what_is_not_does_not(how):
    world = World()
    calls = asks(call("delete_file", "1", **GOOD), call("delete_file", "2", **BAD))
    messages = run(agent(world, [calls]), how, REQUEST)
    assert world.done == [("delete_file", "notes.txt")]
    assert valid(messages)
    (blocked,) = [m for m in messages if isinstance(m, ToolMessage) and m.status == "error"]
    assert blocked.tool_call_id == "2"
    assert "was not executed" in blocked.content
    assert blocked.artifact["sea_safety"]["outcome"] == "blocked"


@pytest.mark.parametrize("bad", range(5))
def test_k_of_n_unsafe_calls_leave_the_rest(bad):
    world = World()
    calls = [call("delete_file", str(i), **(BAD if i < bad else {"path": f"{i}.txt"})) for i in range(4)]
    messages = run(agent(world, [asks(*calls)]), text="Delete 0.txt, 1.txt, 2.txt and 3.txt.")
    assert sorted(path for _, path in world.done) == [f"{i}.txt" for i in range(bad, 4)]
    assert valid(messages)


class Rewrites(AgentMiddleware):
    """Replaces a call's arguments when it is about to run."""

    def __init__(self, arguments=BAD):
        super().__init__()
        self.arguments = arguments

    def wrap_tool_call(self, request, handler):
        return handler(request.override(tool_call={**request.tool_call, "args": dict(self.arguments)}))

    async def awrap_tool_call(self, request, handler):
        return await handler(request.override(tool_call={**request.tool_call, "args": dict(self.arguments)}))


@pytest.mark.parametrize("how", WAYS)
def test_a_call_that_was_rewritten_is_judged_again(how):
    world = World()
    messages = run(agent(world, [asks(call("delete_file", **GOOD))], outer=[Rewrites()]), how)
    assert world.done == []
    assert valid(messages)


class Mutates(AgentMiddleware):
    """Changes the arguments in place after they were judged."""

    def after_model(self, state, runtime):
        for each in state["messages"][-1].tool_calls:
            each["args"].clear()
            each["args"].update(BAD)


@pytest.mark.parametrize("is_behind", [False, True])
def test_arguments_changed_in_place_do_not_run(is_behind):
    world, guard = World(), ToolCallSafetyMiddleware(checks="rules")
    middleware = [guard, Mutates()] if is_behind else [Mutates(), guard]
    messages = run(build(world, [asks(call("delete_file", **GOOD))], middleware))
    assert world.done == []
    assert valid(messages)


def test_with_guard_puts_the_guard_last():
    guard, first, second = ToolCallSafetyMiddleware(checks="rules"), Rewrites(), Mutates()
    for given in ([first, second], [guard, first, second], with_guard([first, second], guard)):
        opening, *rest = with_guard(given, guard)
        assert isinstance(opening, GuardOpening)
        assert rest == [first, second, guard]
    assert with_guard([], guard) == [guard]


@pytest.mark.parametrize("how", WAYS)
def test_with_guard_a_rewritten_call_is_judged_as_it_will_run(how):
    """In the order `[guard, Rewrites()]` the call would be rewritten after its last check."""
    world, guard = World(), ToolCallSafetyMiddleware(checks="rules")
    messages = run(build(world, [asks(call("delete_file", **GOOD))], with_guard([guard, Rewrites()], guard)), how)
    assert world.done == []
    assert valid(messages)
    (blocked,) = [m for m in messages if isinstance(m, ToolMessage)]
    assert blocked.artifact["sea_safety"]["outcome"] == "blocked"


@pytest.mark.parametrize("how", WAYS)
def test_with_guard_a_rewritten_call_that_is_safe_runs(how):
    world, guard = World(), ToolCallSafetyMiddleware(checks="rules")
    middleware = with_guard([Rewrites(GOOD), guard], guard)
    messages = run(build(world, [asks(call("delete_file", **BAD))], middleware), how, REQUEST)
    assert world.done == [("delete_file", GOOD["path"])]
    assert valid(messages)


class Jumps(AgentMiddleware):
    """Goes to the tools whatever others have said."""

    @hook_config(can_jump_to=["tools"])
    def after_model(self, state, runtime):
        return {"jump_to": "tools"} if state["messages"][-1].type == "ai" and state["messages"][-1].tool_calls else None


def test_what_a_human_rejected_does_not_run():
    world = World()
    outer = [Jumps(), HumanInTheLoopMiddleware({"note": {"allowed_decisions": ["reject"]}})]
    built = agent(world, [asks(call("note", text="x"))], outer=outer, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    built.invoke({"messages": [HumanMessage("Please.")]}, config)
    built.invoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), config)
    assert world.done == []


@pytest.mark.parametrize(("edit", "runs"), [(GOOD, True), (BAD, False)])
def test_what_a_human_edited_is_judged_again(edit, runs):
    world = World()
    outer = [HumanInTheLoopMiddleware({"delete_file": {"allowed_decisions": ["edit"]}})]
    built = agent(world, [asks(call("delete_file", path="old.txt"))], outer=outer, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    built.invoke({"messages": [HumanMessage("Delete old.txt or notes.txt.")]}, config)
    action = {"name": "delete_file", "args": edit}
    built.invoke(Command(resume={"decisions": [{"type": "edit", "edited_action": action}]}), config)
    assert world.done == ([("delete_file", edit["path"])] if runs else [])


@pytest.mark.parametrize(
    ("calls", "runs"),
    [
        ([call("note", "1", text="a"), call("note", "1", text="b")], 0),
        ([call("danger ", text="a")], 0),
        ([call("Note", text="a")], 0),
        ([call("nоte", text="a")], 0),  # Cyrillic o
        ([call("note", text="a", extra=1)], 0),
        ([call("note", text=True)], 0),
        ([call("note", text=1)], 0),
        ([call("note")], 0),
        ([call("note", text=float("nan"))], 0),
        ([call("note", "", text="a")], 0),
        ([call("note", text="a")], 1),
    ],
)
def test_calls_of_no_tool_do_not_run(calls, runs):
    world = World()
    run(agent(world, [asks(*calls)]))
    assert len(world.done) == runs


def test_keys_that_stand_there_twice_do_not_run():
    world, twice = World(), '{"path": "notes.txt", "path": "../x"}'
    raw = [{"id": "1", "type": "function", "function": {"name": "delete_file", "arguments": twice}}]
    run(agent(world, [asks(call("delete_file", **GOOD), additional_kwargs={"tool_calls": raw})]))
    assert world.done == []


def test_retries_around_it_run_no_more_than_was_judged():
    world, tries = World(), []

    def broken(text):
        tries.append(text)
        raise ConnectionError("again")

    world.tools[3].func = broken
    outer = [ToolRetryMiddleware(max_retries=2, initial_delay=0, on_failure="continue")]
    messages = run(agent(world, [asks(call("note", text="a"))], outer=outer))
    assert tries == ["a"] * 3
    assert valid(messages)


def test_a_call_without_a_verdict_is_judged_when_it_is_about_to_run():
    """As where a process was lost between verdict and execution."""
    world = World()
    calls = asks(call("note", "1", text="a"), call("delete_file", "2", **BAD))
    messages = run(agent(world, [calls], safety=_Silent(checks="rules")))
    assert world.done == [("note", "a")]
    assert valid(messages)


class _Silent(ToolCallSafetyMiddleware):
    def after_model(self, state, runtime):
        return None


def test_a_review_waits_for_a_human(tmp_path):
    policy = GuardConfig(tools={"delete_file": ToolRules(review=True)})
    for answer, done in (("approve", 1), ("reject", 0), ({"edit": {"path": "b.txt"}}, 1), ({"edit": BAD}, 0)):
        world, audit = World(), AuditLog(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl")
        guard = ToolCallSafetyMiddleware(policy, checks="rules", audit=audit)
        script = [asks(call("delete_file", path="a.txt"))]
        built = agent(world, script, safety=guard, checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        waiting = built.invoke({"messages": [HumanMessage("Please.")]}, config)["__interrupt__"][0]
        assert waiting.value["action_requests"][0]["args"] == {"path": "a.txt"}
        messages = built.invoke(Command(resume=answer), config)["messages"]
        assert len(world.done) == done
        assert valid(messages)
        rows = [json.loads(line) for line in audit.path.read_text().splitlines()]
        assert len(rows) == 1
        assert not verify(audit.path)


def test_calls_that_cannot_be_read_are_written_down(tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl")
    guard = ToolCallSafetyMiddleware(checks="rules", audit=audit)
    broken = {"name": "note", "args": '{"text": ', "id": "1", "error": "no JSON", "type": "invalid_tool_call"}
    run(agent(World(), [AIMessage("", invalid_tool_calls=[broken])], safety=guard))
    (row,) = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert row["outcome"] == "blocked"
    assert not row["runs"]


@pytest.mark.parametrize("how", WAYS)
def test_an_agent_within_a_graph_is_guarded(how):
    from langgraph.graph import END, START, MessagesState, StateGraph

    world = World()
    inner = agent(world, [asks(call("delete_file", "1", **BAD), call("note", "2", text="a"))])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", inner)
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    assert valid(run(graph.compile(), how))
    assert world.done == [("note", "a")]


def test_commands_of_tools_pass():
    @tool
    def finish(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Finish."""
        return Command(update={"messages": [ToolMessage(f"done {text}", tool_call_id=tool_call_id)]})

    world = World()
    world.tools = [finish]
    messages = run(agent(world, [asks(call("finish", text="a"))]))
    assert [m.content for m in messages if isinstance(m, ToolMessage)] == ["done a"]
