"""Agents, graphs, chains and tracers around the model: each test fails where its feature is taken away."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Annotated, TypedDict

import pytest
from blockbuster import blockbuster_ctx
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from pydantic import BaseModel
from unit_tests.doubles import SMALL_PRESET

from langchain_sea import Budget, SEAChatModel

BUDGET = {"budget": Budget(max_steps=1, max_time=None), "preset": SMALL_PRESET, "max_tokens": 64}
QUESTION = "What is 14 + 23?"


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return "sunny"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def send_note(to: str, body: str) -> str:
    """Send a note to a person."""
    return f"sent to {to}: {body}"


TOOLS = [get_weather, add, send_note]


@pytest.fixture(scope="module")
def model():
    return SEAChatModel(model="tiny", **BUDGET, temperature=0)


def kinds(messages):
    return [type(message).__name__ for message in messages]


def test_an_agent_calls_reads_the_result_and_answers(model):
    agent = create_agent(model, TOOLS)
    found = agent.invoke({"messages": [HumanMessage("What is the weather in Paris?")]})["messages"]
    assert kinds(found) == ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage"]
    assert found[1].tool_calls[0]["name"] == "get_weather"
    assert found[2].content == "sunny"
    assert found[3].content.startswith("Here is the result")
    assert not found[3].tool_calls


async def test_the_same_beside_a_loop(model):
    agent = create_agent(model, TOOLS)
    found = (await agent.ainvoke({"messages": [HumanMessage("What is the weather in Paris?")]}))["messages"]
    assert kinds(found) == ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage"]


def test_an_agent_streams_messages_and_steps(model):
    agent = create_agent(model, TOOLS)
    stream = agent.stream({"messages": [HumanMessage(QUESTION)]}, stream_mode="messages")
    chunks = [chunk for chunk, _ in stream if isinstance(chunk, AIMessageChunk)]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content
    assert len([c for c in chunks if c.content]) > 1
    assert [chunk.chunk_position for chunk in chunks].count("last") == 1


class Reading(BaseModel):
    """The weather as it is."""

    city: str
    sunny: bool


def test_an_agent_gives_structured_answers(model):
    agent = create_agent(model, [], response_format=ToolStrategy(Reading))
    found = agent.invoke({"messages": [HumanMessage("It is sunny in Paris.")]})
    assert isinstance(found["structured_response"], Reading)


def test_a_conversation_is_checkpointed(model):
    agent = create_agent(model, TOOLS, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage(QUESTION)]}, config)
    found = agent.invoke({"messages": [HumanMessage("What is 2 + 3?")]}, config)["messages"]
    assert kinds(found) == ["HumanMessage", "AIMessage"] * 2
    assert found[1].response_metadata["sea"]["preset"] == "default"


RESUMED = """
    import pathlib, pickle, sys
    from langchain_core.messages import HumanMessage
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.types import Command, interrupt
    from langchain_sea import Budget, SEAChatModel

    model = SEAChatModel(model="tiny", budget=Budget(max_time=None, max_evaluations=1), max_tokens=12)

    def write(state):
        return {"messages": [model.invoke(state["messages"])]}

    def ask(state):
        return {"messages": [HumanMessage(interrupt("more?"))]}

    graph = StateGraph(MessagesState)
    for name, node in (("write", write), ("ask", ask), ("again", write)):
        graph.add_node(name, node)
    for start, end in ((START, "write"), ("write", "ask"), ("ask", "again"), ("again", END)):
        graph.add_edge(start, end)
    saver, file = InMemorySaver(), pathlib.Path(sys.argv[1])
    app = graph.compile(checkpointer=saver)
    if file.exists():
        storage, saver_writes, blobs = pickle.loads(file.read_bytes())
        for thread, spaces in storage.items():
            saver.storage[thread].update(spaces)
        saver.writes.update(saver_writes)
        saver.blobs.update(blobs)
    config = {"configurable": {"thread_id": "1"}}
    given = Command(resume=sys.argv[2]) if len(sys.argv) > 2 else {"messages": [HumanMessage("What is 14 + 23?")]}
    for message in app.invoke(given, config)["messages"]:
        print(message.type, "|", str(message.text).replace(chr(10), " "))
    storage = {thread: dict(spaces) for thread, spaces in saver.storage.items()}
    file.write_bytes(pickle.dumps([storage, dict(saver.writes), dict(saver.blobs)]))
"""


def test_an_interrupted_graph_resumes_in_another_process(tmp_path, monkeypatch, capsys):
    program, saved = textwrap.dedent(RESUMED), str(tmp_path / "saved")
    monkeypatch.setattr(sys, "argv", ["-c", saved])
    exec(program, {})  # noqa: S102 - it begins in this process: another would only take longer
    first = capsys.readouterr().out.splitlines()
    command = [sys.executable, "-c", program, saved, "What is 2 + 3?"]
    second = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split(" |")[0] for line in first] == ["human", "ai"]
    assert second[:2] == first
    assert [line.split(" |")[0] for line in second] == ["human", "ai", "human", "ai"]


class State(TypedDict):
    messages: Annotated[list, add_messages]


def test_it_answers_within_a_subgraph(model):
    inner = StateGraph(State)
    inner.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    inner.add_edge(START, "model")
    inner.add_edge("model", END)
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    app = outer.compile()
    found = app.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    assert found[-1].content == model.invoke(QUESTION).content
    events = list(app.stream({"messages": [HumanMessage(QUESTION)]}, subgraphs=True, stream_mode="messages"))
    assert any(path and message.content for path, (message, _) in events)


def test_a_human_decides_before_a_tool_runs(model):
    def approve(state):
        return {"messages": [HumanMessage(interrupt(state["messages"][-1].content))]}

    graph = StateGraph(State)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("approve", approve)
    graph.add_edge(START, "model")
    graph.add_edge("model", "approve")
    graph.add_edge("approve", END)
    app, config = graph.compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "1"}}
    waiting = app.invoke({"messages": [HumanMessage(QUESTION)]}, config)["__interrupt__"][0]
    assert waiting.value == model.invoke(QUESTION).content
    found = app.invoke(Command(resume="good"), config)["messages"]
    assert [message.content for message in found][-1] == "good"


def test_several_chains_side_by_side(model):
    chain = RunnableParallel(
        said=model | StrOutputParser(), again=model.bind(seed=1) | StrOutputParser(), asked=RunnablePassthrough()
    )
    found = chain.invoke(QUESTION)
    assert found["asked"] == QUESTION
    assert found["said"] == model.invoke(QUESTION).content


def test_a_fallback_takes_over():
    def broken(prompt, completions):
        raise RuntimeError("no scores today")

    strict = SEAChatModel(model="tiny", rewards=[broken], on_reward_error="error", **BUDGET)
    chain = strict.with_fallbacks([SEAChatModel(model="tiny", **BUDGET)])
    assert chain.invoke(QUESTION).content
    with pytest.raises(Exception, match="no scores today"):
        strict.invoke(QUESTION)


def test_a_retry_asks_again():
    calls = []

    def once(prompt, completions):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("not yet")
        return [1.0] * len(completions)

    strict = SEAChatModel(model="tiny", rewards=[once], on_reward_error="error", **BUDGET)
    assert strict.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(QUESTION).content


class Traced(BaseTracer):
    """Keeps runs as a tracer that sends them away would."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)


def test_a_tracer_sees_inputs_outputs_and_usage(model):
    tracer = Traced()
    (RunnableLambda(lambda text: text) | model).invoke(QUESTION, {"callbacks": [tracer]})
    (root,) = tracer.runs
    (run,) = [child for child in root.child_runs if child.run_type in ("chat_model", "llm")]
    assert run.extra["metadata"]["ls_provider"] == "sea"
    assert run.extra["metadata"]["ls_model_name"] == "tiny"
    (((generation,),),) = ([run.outputs["generations"][0]],)
    assert generation["message"]["kwargs"]["usage_metadata"]["total_tokens"] > 0
    assert json.dumps(run.outputs, default=str)
    assert not run.error


def test_parallel_calls_and_their_results_make_a_valid_history(model):
    calls = [
        {"name": "add", "args": {"a": 1, "b": 2}, "id": "1", "type": "tool_call"},
        {"name": "get_weather", "args": {"city": "Rome"}, "id": "2", "type": "tool_call"},
    ]
    history = [
        HumanMessage("Both, please."),
        AIMessage("", tool_calls=calls),
        ToolMessage("3", tool_call_id="1"),
        ToolMessage("no such city", tool_call_id="2", status="error"),
    ]
    assert model.bind_tools(TOOLS).invoke(history).content is not None


async def test_the_loop_is_never_blocked(model):
    with blockbuster_ctx():
        assert (await model.ainvoke(QUESTION)).content
        assert [chunk async for chunk in model.astream(QUESTION)]
        assert await model.abatch([QUESTION, "What is 2 + 3?"])
