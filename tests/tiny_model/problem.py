"""What a tiny problem is: a conversation, its right answer and an exact check; knows no generator."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

_HELD_OUT_IN = 8
_TOOL_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """A conversation that awaits one assistant turn; the base check is equality of text."""

    messages: list[Message]
    answer: str
    tools: list[Message] | None = None

    @property
    def held_out(self) -> bool:
        """Whether training never sees this conversation: one in eight, by the checksum of its messages."""
        return zlib.crc32(json.dumps(self.messages).encode()) % _HELD_OUT_IN == 0

    def check(self, text: str) -> bool:
        """Whether `text` is the right answer."""
        return text.strip() == self.answer


@dataclass(frozen=True)
class ArithmeticProblem(Problem):
    """A worded calculation; only the last number of the text counts."""

    value: int = 0

    def check(self, text: str) -> bool:
        """Whether the last number in `text` is the value."""
        numbers = re.findall(r"\d+", text)
        return bool(numbers) and numbers[-1] == str(self.value)


@dataclass(frozen=True)
class ToolProblem(Problem):
    """A question that one offered tool answers; `call` is its name and arguments."""

    call: Message | None = None

    def check(self, text: str) -> bool:
        """Whether `text` holds exactly one call, and that with equal name and arguments."""
        return parse_tool_calls(text) == [self.call]


def tool_call_text(call: Message) -> str:
    """A call as the chat template renders it."""
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def parse_tool_calls(text: str) -> list[Any]:
    """The calls in `text`, in order; one that is not JSON becomes None."""
    return [_json_or_none(body) for body in _TOOL_CALL.findall(text)]


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
