"""Problems about tools: which one to call, with arguments copied from the question; knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiny_model import scripts
from tiny_model.kinds import KINDS, Kind
from tiny_model.problem import Message, Problem, ToolProblem, tool_call_text
from tiny_model.scripts import words

if TYPE_CHECKING:
    import random

REFUSAL = "Sorry, none of my tools can do that."
RESULT = "Here is the result: {}"

_VERBS = words("get set find make send list check open start stop show fetch count sort move load")
_NOUNS = words("order ticket page task image price report room car book key list table score event map")
_TYPES = {True: "integer", False: "string"}


@dataclass(frozen=True)
class _Drawn:
    schema: Message
    question: str
    call: Message


def tool_call(rng: random.Random) -> Problem:
    """A question with one to three tools: mostly a call, else a refusal or the telling of a result."""
    kinds = rng.sample(KINDS, rng.choice((1, 2, 2, 3)) + 1)
    drawn = [_pseudo(rng) if rng.random() < 0.25 else _draw(rng, kind) for kind in kinds]
    target, others = drawn[0], drawn[1:]
    messages = [{"role": "user", "content": target.question}]
    if rng.random() < 0.15:
        return Problem(messages, REFUSAL, [tool.schema for tool in others])
    offered = [tool.schema for tool in [target, *others[:-1]]]
    rng.shuffle(offered)
    if rng.random() < 0.15:
        return _told(rng, messages, target.call, offered)
    return ToolProblem(messages, tool_call_text(target.call), offered, target.call)


def schemas(rng: random.Random) -> list[Message]:
    """One or two tool schemas, for questions that need no tool."""
    return [_draw(rng, kind).schema for kind in rng.sample(KINDS, rng.choice((1, 2)))]


def _told(rng: random.Random, messages: list[Message], call: Message, offered: list[Message]) -> Problem:
    number = str(rng.randint(0, 9999))
    result = rng.choice((scripts.value(rng), scripts.value(rng), number, f"{scripts.value(rng)}: {number}"))
    calls = [{"type": "function", "function": call}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    conversation = [*messages, turn, {"role": "tool", "content": result}]
    return Problem(conversation, RESULT.format(result), offered)


def _draw(rng: random.Random, kind: Kind) -> _Drawn:
    parameters = {rng.choice(_split(parameter)): parameter.endswith("*") for parameter in kind.parameters}
    values = {key: _value(rng, whole=whole) for key, whole in parameters.items()}
    name = rng.choice(kind.names.split("|"))
    question = rng.choice(kind.asks.split("|"))
    plain = rng.random() < 0.1
    question = _plain(rng, name, values) if plain else question.format(*values.values())
    schema = _schema(rng, name, rng.choice(kind.descriptions.split("|")), parameters)
    return _Drawn(schema, question, {"name": name, "arguments": values})


def _pseudo(rng: random.Random) -> _Drawn:
    """A tool of a made-up name, asked for by that name."""
    verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS)
    name = f"{verb}_{noun}" if rng.random() < 0.6 else scripts.identifier(rng)
    keys = rng.sample(
        [*_NOUNS, scripts.identifier(rng), scripts.identifier(rng), "name", "text", "number"], rng.choice((1, 2))
    )
    parameters = {key: rng.random() < 0.3 for key in keys}
    values = {key: _value(rng, whole=whole) for key, whole in parameters.items()}
    schema = _schema(rng, name, f"{verb.title()} the {noun}.", parameters)
    return _Drawn(schema, _plain(rng, name, values), {"name": name, "arguments": values})


def _plain(rng: random.Random, name: str, values: dict[str, Any]) -> str:
    joint = rng.choice((" ", "=", " = ", ": "))
    given = " and ".join(f"{key}{joint}{value}" for key, value in values.items())
    return rng.choice(("Call {} with {}.", "Use {} with {}.", "Please use the tool {} with {}.")).format(name, given)


def _schema(rng: random.Random, name: str, description: str, parameters: dict[str, bool]) -> Message:
    properties: Message = {key: {"type": _TYPES[whole]} for key, whole in parameters.items()}
    if rng.random() < 0.15:
        for key, entry in properties.items():
            entry["description"] = f"The {key}."
    required = list(parameters)
    # Both orders occur in practice: hand-written schemas open with the type, pydantic closes with it.
    body: Message = {"properties": properties, "required": required, "type": "object"}
    if rng.random() < 0.5:
        body = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": body}}


def _value(rng: random.Random, *, whole: bool) -> str | int:
    return rng.randint(0, 10 ** rng.randint(1, 4)) if whole else scripts.value(rng)


def _split(parameter: str) -> list[str]:
    return parameter.removesuffix("*").split("|")
