"""Tool calls in 18 forms, each disturbed in six ways, and what is read of them: `--json FILE`.

`lost` counts texts of which a call, or a word, is missing in what was read; `phantom` those that gave a call that nobody
wrote, or whose words hold a part of a call.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.chat.tools import read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Call = tuple[str, dict[str, Any]]
CUT_OFF = "cut off by max_tokens=8: raise it"


def _object(call: Call, arguments: str = "arguments") -> str:
    return json.dumps({"name": call[0], arguments: call[1]}, ensure_ascii=False)


def _objects(calls: Sequence[Call], arguments: str = "arguments") -> str:
    return f"[{', '.join(_object(call, arguments) for call in calls)}]"


def _python(calls: Sequence[Call]) -> str:
    words = {"True": "true", "False": "false", "None": "null"}
    written = [
        f"{name}({', '.join(f'{key}={words.get(str(value), repr(value))}' for key, value in arguments.items())})"
        for name, arguments in calls
    ]
    return f"[{', '.join(written)}]"


def _each(form: Callable[[Call], str], between: str = "\n") -> Callable[[Sequence[Call]], str]:
    return lambda calls: between.join(form(call) for call in calls)


def _deepseek(call: Call, *, is_fenced: bool) -> str:
    arguments = json.dumps(call[1], ensure_ascii=False)
    inside = (
        f"function<｜tool▁sep｜>{call[0]}\n```json\n{arguments}\n```"
        if is_fenced
        else f"{call[0]}<｜tool▁sep｜>{arguments}"
    )
    return f"<｜tool▁call▁begin｜>{inside}<｜tool▁call▁end｜>"


FORMS: dict[str, Callable[[Sequence[Call]], str]] = {
    "hermes": _each(lambda call: f"<tool_call>\n{_object(call)}\n</tool_call>"),
    "hermes, one tag": lambda calls: f"<tool_call>\n{_each(_object)(calls)}\n</tool_call>",
    "hermes, list": lambda calls: f"<tool_call>{_objects(calls)}</tool_call>",
    "mistral, list": lambda calls: f"[TOOL_CALLS] {_objects(calls)}",
    "mistral, named": _each(lambda call: f"[TOOL_CALLS]{call[0]}{json.dumps(call[1])}", ""),
    "mistral, ids": _each(lambda call: f"[TOOL_CALLS]{call[0]}[CALL_ID]a1b2c3d4e[ARGS]{json.dumps(call[1])}", ""),
    "granite": lambda calls: f"<|tool_call|>{_objects(calls)}",
    "phi": lambda calls: f"<|tool_call|>{_objects(calls, 'parameters')}<|/tool_call|>",
    "phi-4": lambda calls: f"functools{_objects(calls)}",
    "llama 3": lambda calls: f"<|python_tag|>{_each(lambda call: _object(call, 'parameters'), '; ')(calls)}",
    "llama 3, pythonic": lambda calls: f"<|python_tag|>{_python(calls)}",
    "llama 4": lambda calls: f"<|python_start|>{_python(calls)}<|python_end|>",
    "deepseek r1": lambda calls: (
        f"<｜tool▁calls▁begin｜>{_each(lambda c: _deepseek(c, is_fenced=True))(calls)}<｜tool▁calls▁end｜>"
    ),
    "deepseek v3.1": lambda calls: (
        f"<｜tool▁calls▁begin｜>{_each(lambda c: _deepseek(c, is_fenced=False), '')(calls)}<｜tool▁calls▁end｜>"
    ),
    "command-r": lambda calls: (
        f"<|START_ACTION|>{_objects(calls, 'parameters').replace('name', 'tool_name', 1)}<|END_ACTION|>"
    ),
    "gpt-oss": _each(
        lambda call: (
            f"<|channel|>commentary to=functions.{call[0]} <|constrain|>json<|message|>{json.dumps(call[1])}<|call|>"
        ),
        "",
    ),
    "bare list": _objects,
    "bare, pythonic": _python,
}
MARKED = tuple(name for name in FORMS if not name.startswith("bare"))
CLOSINGS = "</tool_call> <|/tool_call|> <|python_end|> <｜tool▁call▁end｜> <|END_ACTION|> <|call|> ] } )"
PLAIN: list[Call] = [("get_weather", {"city": "Rome"})]
CASES: dict[str, list[Call]] = {
    "words before": PLAIN,
    "words behind": PLAIN,
    "closing tag in a string": [("write_file", {"path": "a.md", "content": CLOSINGS})],
    "two calls": [("get_weather", {"city": "Rome"}), ("add", {"a": 1, "b": 2})],
    "no arguments": [("now", {})],
    "cut off": PLAIN,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "write_file", "add", "now")
]


def disturb(form: str, case: str) -> tuple[str, list[Call], str]:
    """Return a text, the calls in it, and the words beside them."""
    calls = CASES[case]
    text = FORMS[form](calls)
    if case == "words before":
        text, words = f"I will look it up. {text}", "I will look it up."
    elif case == "words behind":
        text, words = f"{text}\nThat was my call.", "That was my call."
    elif case == "cut off":
        return text[: text.index("Rome") + 2], [], ""
    else:
        words = ""
    is_call = form in MARKED or not words
    return text, calls if is_call else [], words if is_call else text


def judge(text: str, calls: Sequence[Call], words: str) -> tuple[bool, bool]:
    """Return whether something of a text was lost, and whether something was read that is not there."""
    is_cut = not calls and text != words
    read = read_answer(text, TOOLS, cut_off=CUT_OFF if is_cut else None)
    calls_read = [(call["name"], call["args"]) for call in read.calls]
    kept = " ".join(
        [read.content, json.dumps(calls_read, ensure_ascii=False), *(str(call["args"]) for call in read.invalid)]
    )
    missing = [word for word in re.findall(r"[A-Za-z]{2,}", words if not is_cut else "Ro") if word not in kept]
    is_lost = bool(missing) or any(call not in calls_read for call in calls)
    is_phantom = any(call not in calls for call in calls_read) or (bool(read.invalid) and not is_cut)
    return is_lost, is_phantom or (not is_cut and read.content != words)


def measure() -> dict[str, Any]:
    """Return the figures, with the texts that were read wrongly."""
    judged = {(form, case): judge(*disturb(form, case)) for form in FORMS for case in CASES}
    return {
        key: {"value": sum(each[number] for each in judged.values()), "of": len(judged)}
        | {"texts": [f"{form}, {case}" for (form, case), each in judged.items() if each[number]]}
        for number, key in enumerate(("lost", "phantom"))
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    text = json.dumps(measure(), indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
