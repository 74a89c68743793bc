"""An agent's loop of three turns with parallel calls, as the chat templates of eight families print it.

The prompts in `agent_prompts/` are those of the documented formats. Where a template prints no calls (Granite, Phi,
SmolLM3) or no tools (DeepSeek V3), they hold them in words.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

from template_conversations import Conversation, make_tool
from templates import FOLDER, write_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMPTS = Path(__file__).parent / "agent_prompts"
FAMILIES = ("mistral-nemo", "llama-3.1", "qwen-3", "granite-3.3", "deepseek-v3", "gpt-oss", "phi-4-mini", "smollm3")
AGENT_TOOLS = (make_tool("get_weather", "city"), make_tool("get_time", "zone"))


def call(name: str, arguments: dict[str, Any], key: str) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": key, "type": "tool_call"}


LOOP: Sequence[BaseMessage] = (
    SystemMessage("Be brief."),
    HumanMessage("Weather and time in Rome?"),
    AIMessage(
        "", tool_calls=[call("get_weather", {"city": "Rome"}, "call_a1"), call("get_time", {"zone": "CET"}, "call_b2")]
    ),
    ToolMessage("sunny", tool_call_id="call_a1"),
    ToolMessage("12:00", tool_call_id="call_b2"),
    AIMessage("Sunny, noon."),
    HumanMessage("And in Oslo?"),
    AIMessage(
        "", tool_calls=[call("get_weather", {"city": "Oslo"}, "call_c3"), call("get_time", {"zone": "UTC"}, "call_d4")]
    ),
    ToolMessage("snow", tool_call_id="call_c3"),
    ToolMessage("11:00", tool_call_id="call_d4"),
)
TURNS = (2, 5, 7, 10)  # messages before each answer of the model


def write(family: str, messages: Sequence[BaseMessage]) -> str:
    template = (FOLDER / f"{family}.jinja").read_text(encoding="utf-8")
    return write_prompt(template, Conversation("loop", messages, {}, (), AGENT_TOOLS))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_prompt_of_a_loop_is_that_of_the_format(family: str) -> None:
    assert write(family, LOOP) == (PROMPTS / f"{family}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("turn", TURNS)
def test_every_turn_holds_what_was_called_and_returned(family: str, turn: int) -> None:
    text = write(family, LOOP[:turn])
    words = ["Rome?", "sunny", "12:00", "noon", "Oslo?", "snow", "11:00"]
    seen = {2: 1, 5: 3, 7: 5, 10: 7}[turn]
    assert [text.count(word) for word in words] == [1] * seen + [0] * (len(words) - seen)
    assert all(name in text for name in ("get_weather", "get_time"))
