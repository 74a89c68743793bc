"""The conversations of the benchmark of chat templates, and how often each of their words must be in a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

Count = tuple[int, int | None]
ONCE: Count = (1, 1)
NEVER: Count = (0, 0)  # thoughts of earlier answers
_LONG_IDS = ("call_" + "a" * 24, "call_" + "b" * 24)


@dataclass(frozen=True)
class Conversation:
    """A conversation.

    Attributes:
        name: what is special about it.
        messages: LangChain's.
        counts: for each word, how often it must be in the prompt, and how often at most; None is no limit.
        order: words that must come one after another. The words of the system are not among them: templates put
            them first, or before the last question.
        tools: OpenAI's dicts of the tools that the model may call.
    """

    name: str
    messages: Sequence[BaseMessage]
    counts: Mapping[str, Count]
    order: Sequence[str]
    tools: Sequence[dict[str, Any]] = field(default=())


def make_tool(name: str, key: str) -> dict[str, Any]:
    """Return a tool with one text argument, as OpenAI describes it."""
    parameters = {
        "type": "object",
        "properties": {key: {"type": "string", "description": f"{key}."}},
        "required": [key],
    }
    return {"type": "function", "function": {"name": name, "description": f"About {key}.", "parameters": parameters}}


def _calls(*values: str, ids: Sequence[str] = _LONG_IDS, words: str = "") -> AIMessage:
    names = (("look_weather", "placekey"), ("look_clock", "zonekey"))
    calls = [
        {"name": name, "args": {key: value}, "id": id_, "type": "tool_call"}
        for (name, key), value, id_ in zip(names, values, ids, strict=False)
    ]
    return AIMessage(words, tool_calls=calls)


def _results(*values: str, ids: Sequence[str] = _LONG_IDS) -> list[BaseMessage]:
    return [ToolMessage(value, tool_call_id=id_) for value, id_ in zip(values, ids, strict=False)]


TOOLS = (make_tool("look_weather", "placekey"), make_tool("look_clock", "zonekey"))
SYSTEM, ASKED, NEXT = (
    SystemMessage("Sysword guides."),
    HumanMessage("Firstask, please?"),
    HumanMessage("Nextask, please?"),
)
ANSWERED = AIMessage("Replyword.")
_CALLED: dict[str, Count] = {"Sysword": ONCE, "Firstask": ONCE, "Romeplace": ONCE, "Rainresult": ONCE}
_BOTH: dict[str, Count] = {**_CALLED, "Oslozone": ONCE, "Noonresult": ONCE}
_BOUND: dict[str, Count] = {
    "look_weather": (2, None),
    "look_clock": (2, None),
    "placekey": (2, None),
    "zonekey": (2, None),
}

CONVERSATIONS = (
    Conversation("system and user", (SYSTEM, ASKED), {"Sysword": ONCE, "Firstask": ONCE}, ()),
    Conversation("user", (ASKED,), {"Firstask": ONCE}, ()),
    Conversation(
        "two turns",
        (SYSTEM, ASKED, ANSWERED, NEXT),
        {"Sysword": ONCE, "Firstask": ONCE, "Replyword": ONCE, "Nextask": ONCE},
        ("Firstask", "Replyword", "Nextask"),
    ),
    Conversation(
        "one call",
        (SYSTEM, ASKED, _calls("Romeplace"), *_results("Rainresult")),
        {**_CALLED, "look_weather": (2, None), "look_clock": (1, None), "placekey": (2, None), "zonekey": (1, None)},
        ("Firstask", "Romeplace", "Rainresult"),
        TOOLS,
    ),
    Conversation(
        "two calls",
        (SYSTEM, ASKED, _calls("Romeplace", "Oslozone"), *_results("Rainresult", "Noonresult")),
        {**_BOTH, **_BOUND},
        ("Firstask", "Romeplace", "Rainresult", "Noonresult"),
        TOOLS,
    ),
    Conversation(
        "two results and a question",
        (
            SYSTEM,
            ASKED,
            _calls("Romeplace", "Oslozone", words="Besideword."),
            *_results("Rainresult", "Noonresult"),
            NEXT,
        ),
        {**_BOTH, **_BOUND, "Besideword": ONCE, "Nextask": ONCE},
        ("Firstask", "Besideword", "Romeplace", "Rainresult", "Noonresult", "Nextask"),
        TOOLS,
    ),
    Conversation(
        "calls without tools",
        (SYSTEM, ASKED, _calls("Romeplace", "Oslozone"), *_results("Rainresult", "Noonresult"), ANSWERED, NEXT),
        {**_BOTH, "look_weather": (1, None), "look_clock": (1, None), "Replyword": ONCE, "Nextask": ONCE},
        ("Firstask", "Romeplace", "Rainresult", "Noonresult", "Replyword", "Nextask"),
    ),
    Conversation(
        "reasoning",
        (
            ASKED,
            AIMessage([{"type": "reasoning", "reasoning": "Blockthought."}, {"type": "text", "text": "Replyword."}]),
            HumanMessage("Midask?"),
            AIMessage("Otherword.", additional_kwargs={"reasoning_content": "Keptthought."}),
            HumanMessage("Lateask?"),
            AIMessage("<think>\nTagthought.\n</think>\n\nThirdword."),
            NEXT,
        ),
        {
            **dict.fromkeys(("Firstask", "Replyword", "Midask", "Otherword", "Lateask", "Thirdword", "Nextask"), ONCE),
            **dict.fromkeys(("Blockthought", "Keptthought", "Tagthought"), NEVER),
        },
        ("Firstask", "Replyword", "Midask", "Otherword", "Lateask", "Thirdword", "Nextask"),
    ),
    Conversation(
        "parts",
        (
            SystemMessage([{"type": "text", "text": "Sysword guides."}]),
            HumanMessage([{"type": "text", "text": "Firstask."}, {"type": "text", "text": " Secondpart."}]),
            AIMessage([{"type": "text", "text": "Replyword."}]),
            HumanMessage(["Nextask?"]),
        ),
        dict.fromkeys(("Sysword", "Firstask", "Secondpart", "Replyword", "Nextask"), ONCE),
        ("Firstask", "Secondpart", "Replyword", "Nextask"),
    ),
    Conversation(
        "system in the middle",
        (SYSTEM, ASKED, ANSWERED, SystemMessage("Laterrule holds."), NEXT),
        dict.fromkeys(("Sysword", "Firstask", "Replyword", "Laterrule", "Nextask"), ONCE),
        ("Firstask", "Replyword", "Nextask"),
    ),
    Conversation(
        "names and ids",
        (
            HumanMessage("Firstask?", name="ada", id="message-1"),
            _calls("Romeplace", "Oslozone", ids=("1", "2")).model_copy(update={"name": "helper", "id": "message-2"}),
            ToolMessage("Noonresult", tool_call_id="2", name="look_clock"),
            ToolMessage("Rainresult", tool_call_id="1", name="look_weather"),
            NEXT,
        ),
        {**{key: count for key, count in _BOTH.items() if key != "Sysword"}, **_BOUND, "Nextask": ONCE},
        ("Firstask", "Romeplace", "Rainresult", "Nextask"),
        TOOLS,
    ),
)
