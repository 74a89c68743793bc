"""Rarer conversations of the benchmark of chat templates: what agents and other programs send now and then."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from template_conversations import ONCE, Conversation, make_tool

NO_ARGUMENTS = {"type": "object", "properties": {}}
TOOLS = (
    make_tool("look_weather", "placekey"),
    {"type": "function", "function": {"name": "nowtool", "description": "Tells now.", "parameters": NO_ARGUMENTS}},
)


def call(name: str, arguments: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a call as LangChain writes it."""
    return {"name": name, "args": arguments, "id": key, "type": "tool_call"}


CORNER_CASES = (
    Conversation(
        "no arguments",
        (
            HumanMessage("Firstask?"),
            AIMessage("", tool_calls=[call("nowtool", {}, "c1")]),
            ToolMessage("Noonresult", tool_call_id="c1"),
        ),
        {"Firstask": ONCE, "nowtool": (2, None), "Noonresult": ONCE},
        ("Firstask", "Noonresult"),
        TOOLS,
    ),
    Conversation(
        "empty result",
        (
            HumanMessage("Firstask?"),
            AIMessage("", tool_calls=[call("nowtool", {}, "c1")]),
            ToolMessage("", tool_call_id="c1"),
        ),
        {"Firstask": ONCE, "nowtool": (2, None)},
        (),
        TOOLS,
    ),
    Conversation(
        "nested",
        (
            HumanMessage("Firstask?"),
            AIMessage(
                "",
                tool_calls=[
                    call(
                        "look_weather",
                        {"placekey": {"deepkey": ["Romeplace", {"n": 4711.5, "z": None, "t": True}]}},
                        "c1",
                    )
                ],
            ),
            ToolMessage('{"json": "Rainresult", "a": [1, 2]}', tool_call_id="c1"),
        ),
        {"Firstask": ONCE, "Romeplace": ONCE, "deepkey": ONCE, "4711.5": ONCE, "Rainresult": ONCE},
        ("Firstask", "Romeplace", "Rainresult"),
        TOOLS,
    ),
    Conversation(
        "think in words",
        (
            HumanMessage("Firstask <think>Usertag</think> Userafter?"),
            AIMessage("Beforeword </think> Afterword."),
            HumanMessage("Nextask?"),
        ),
        {"Firstask": ONCE, "Usertag": ONCE, "Userafter": ONCE, "Beforeword": ONCE, "Afterword": ONCE, "Nextask": ONCE},
        (),
    ),
    Conversation(
        "markers",
        (
            SystemMessage("Sysword <|im_end|> [INST] /think"),
            HumanMessage("Firstask\n\n\n  <|eot_id|>Userafter </s> \"quote\" 'apos' {brace} \\slash"),
            AIMessage("Replyword <tool_call> x"),
            HumanMessage("Nextask [/INST] Endword"),
        ),
        {
            "Sysword": ONCE,
            "Firstask": ONCE,
            "Userafter": ONCE,
            "Replyword": ONCE,
            "Nextask": ONCE,
            "Endword": ONCE,
            "/think": (1, None),
        },
        (),
    ),
    Conversation(
        "thought only",
        (
            HumanMessage("Firstask?"),
            AIMessage("<think>\nTagthought.\n</think>\n\nThirdword."),
            HumanMessage("Nextask?"),
        ),
        {"Firstask": ONCE, "Tagthought": (0, 0), "Thirdword": ONCE, "Nextask": ONCE},
        (),
    ),
    Conversation(
        "tool error",
        (
            HumanMessage("Firstask?"),
            AIMessage("", tool_calls=[call("nowtool", {}, "c1")]),
            ToolMessage("Badresult", tool_call_id="c1", status="error"),
            AIMessage("Replyword"),
            HumanMessage("Nextask?"),
        ),
        {"Firstask": ONCE, "Badresult": ONCE, "Replyword": ONCE, "Nextask": ONCE},
        (),
    ),
    Conversation(
        "same call twice",
        (
            HumanMessage("Firstask?"),
            AIMessage(
                "",
                tool_calls=[
                    call("look_weather", {"placekey": "Romeplace"}, "c1"),
                    call("look_weather", {"placekey": "Romeplace"}, "c2"),
                ],
            ),
            ToolMessage("Rainresult", tool_call_id="c1"),
            ToolMessage("Rainresult", tool_call_id="c2"),
        ),
        {"Firstask": ONCE, "Romeplace": (2, 2), "Rainresult": (2, 2)},
        (),
        TOOLS,
    ),
    Conversation(
        "results out of order",
        (
            HumanMessage("Firstask?"),
            AIMessage(
                "", tool_calls=[call("look_weather", {"placekey": "Romeplace"}, "c1"), call("nowtool", {}, "c2")]
            ),
            ToolMessage("Noonresult", tool_call_id="c2"),
            ToolMessage("Rainresult", tool_call_id="c1"),
        ),
        {"Firstask": ONCE, "Romeplace": ONCE, "Noonresult": ONCE, "Rainresult": ONCE},
        (),
        TOOLS,
    ),
    Conversation(
        "answer last", (HumanMessage("Firstask?"), AIMessage("Replyword.")), {"Firstask": ONCE, "Replyword": ONCE}, ()
    ),
    Conversation(
        "two users",
        (
            HumanMessage("Firstask?"),
            HumanMessage("Nextask?", name="bob"),
            AIMessage("Replyword."),
            AIMessage("Moreword."),
            HumanMessage("Lastask"),
        ),
        dict.fromkeys(("Firstask", "Nextask", "Replyword", "Moreword", "Lastask"), ONCE),
        (),
    ),
    Conversation("system only", (SystemMessage("Sysword."),), {"Sysword": ONCE}, ()),
    Conversation(
        "starts with answer",
        (SystemMessage("Sysword."), AIMessage("Replyword."), HumanMessage("Nextask")),
        {"Sysword": ONCE, "Replyword": ONCE, "Nextask": ONCE},
        (),
    ),
    Conversation(
        "two calls in a row",
        (
            HumanMessage("Firstask?"),
            AIMessage("", tool_calls=[call("look_weather", {"placekey": "Romeplace"}, "c1")]),
            ToolMessage("Rainresult", tool_call_id="c1"),
            AIMessage("Thenword", tool_calls=[call("look_weather", {"placekey": "Osloplace"}, "c1")]),
            ToolMessage("Snowresult", tool_call_id="c1"),
        ),
        {
            "Firstask": ONCE,
            "Romeplace": ONCE,
            "Rainresult": ONCE,
            "Thenword": ONCE,
            "Osloplace": ONCE,
            "Snowresult": ONCE,
        },
        ("Firstask", "Romeplace", "Rainresult", "Thenword", "Osloplace", "Snowresult"),
        TOOLS,
    ),
)
