"""Seeded generators of the three skills' problems: arithmetic, tools, polite answers; knows no model."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

from tiny_model import scripts, tools
from tiny_model.problem import ArithmeticProblem, Message, Problem, ToolProblem
from tiny_model.scripts import words
from tiny_model.tools import tool_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "KINDS",
    "ArithmeticProblem",
    "Problem",
    "ToolProblem",
    "arithmetic",
    "held_out",
    "polite",
    "stream",
    "tool_call",
]

_ITEMS = words("apples pens coins books eggs cards stamps shells cups keys nuts balls plums seeds tickets stones")
_PACKS = words("boxes bags packs rows baskets")
_ADD = ("{n} buys {k} more.", "{n} finds {k} more.", "{n} gets {k} more.", "{f} gives {n} {k} more.")
_SUB = ("{n} loses {k}.", "{n} sells {k}.", "{n} gives away {k}.", "{n} gives {k} to {f}.")
_MUL = ("{n} then has {k} times as many.", "Soon {n} has {k} times as many.")
_STORY = {"+": _ADD, "-": _SUB, "*": _MUL}
_ORDER = {"+": ("add {k}", "plus {k}"), "-": ("take away {k}", "minus {k}"), "*": ("multiply by {k}", "times {k}")}
_SYSTEMS = ("You are a helpful assistant.", "You are a polite assistant.", "Answer briefly.", "Be concise.")
_FACTORS = range(2, 31)

_POLITE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey"), "Hello! How can I help you?"),
    (("Good morning", "Good morning!"), "Good morning! How can I help you?"),
    (("Good evening", "Good evening!"), "Good evening! How can I help you?"),
    (("How are you?", "How are you today?", "How is it going?"), "I am well, thank you. How can I help you?"),
    (("Thank you", "Thanks", "Thanks a lot!", "Thank you very much."), "You are welcome!"),
    (("Sorry", "I am sorry.", "Excuse me."), "No problem at all."),
    (("Goodbye", "Bye", "Bye!", "See you later."), "Goodbye! Have a nice day."),
    (("Good night", "Good night!"), "Good night! Sleep well."),
    (("Who are you?", "What are you?", "What is your name?"), "I am Tiny, a very small language model."),
    (("What can you do?", "How can you help me?"), "I can do short sums, call tools and answer politely."),
    (("Can you help me?", "Please help me.", "I need help."), "Of course. What do you need?"),
    (("You are great.", "Well done!", "Good job!"), "Thank you, that is very kind."),
    (("You are wrong.", "That is wrong."), "I am sorry. Please let me try again."),
    (("My name is {v}.", "I am called {v}."), "Nice to meet you, {v}."),
    (("Please say hello to {v}.", "Say hello to {v}.", "Greet {v}."), "Hello, {v}!"),
    (("Please thank {v}.", "Say thank you to {v}."), "Thank you, {v}!"),
    (("Say goodbye to {v}.", "Please say goodbye to {v}."), "Goodbye, {v}!"),
    (("Please repeat: {v}", "Repeat after me: {v}", "Say: {v}"), "{v}"),
)  # fmt: skip


def arithmetic(rng: random.Random) -> ArithmeticProblem:
    """A calculation of one to three steps, as a story, a list of orders or a bare expression."""
    count = rng.choices((1, 2, 3), (4, 3, 3))[0]
    packs = rng.random() < 0.25
    operands = [("", rng.randint(2, 9) if packs else _start(rng))]
    value, lines = operands[0][1], []
    for index in range(count):
        symbol, operand = ("*", rng.choice(_FACTORS)) if packs and index == 0 else _step(rng, value)
        result = _apply(value, symbol, operand)
        lines.append(f"{value} {symbol} {operand} = {result}.")
        operands.append((symbol, operand))
        value = result
    write = rng.choice((_story, _story, _orders, _expression))
    answer = f"{' '.join(lines)} The answer is {value}."
    return ArithmeticProblem(_conversation(rng, write(rng, operands)), answer, None, value)


def polite(rng: random.Random) -> Problem:
    """A greeting or another courtesy, some with a name or phrase in any script to repeat."""
    questions, answer = rng.choice(_POLITE) if rng.random() < 0.5 else rng.choice(_POLITE[-5:])
    spoken = scripts.value(rng) if answer == "{v}" else scripts.name(rng)
    question = rng.choice(questions).replace("{v}", spoken)
    return Problem(_conversation(rng, question), answer.replace("{v}", spoken))


def copy(rng: random.Random) -> Problem:
    """A longer phrase in any script to repeat: practice that no measurement counts."""
    spoken = " ".join(scripts.value(rng) for _ in range(rng.randint(1, 3)))
    question = rng.choice(("Please repeat: {}", "Repeat after me: {}", "Say: {}")).format(spoken)
    return Problem(_conversation(rng, question), spoken)


KINDS: dict[str, Callable[[random.Random], Problem]] = {"arithmetic": arithmetic, "tool": tool_call, "polite": polite}
_PRACTICE = KINDS | {"copy": copy}


def stream(kind: str, seed: int | str) -> Iterator[Problem]:
    """Endless training problems of one kind: never a held-out one, some with tools that do not fit."""
    rng = random.Random(f"train {kind} {seed}")  # noqa: S311 - not for secrets
    while True:
        problem = _PRACTICE[kind](rng)
        if problem.held_out and kind != "polite":
            continue
        yield _dress(rng, problem)


def held_out(kind: str, count: int, seed: int | str) -> list[Problem]:
    """The first `count` fresh problems of one kind and seed; courtesies are too few to hold any out."""
    rng = random.Random(f"held out {kind} {seed}")  # noqa: S311 - not for secrets
    problems: list[Problem] = []
    while len(problems) < count:
        problem = KINDS[kind](rng)
        if problem.held_out or kind == "polite":
            problems.append(problem)
    return problems


def _dress(rng: random.Random, problem: Problem) -> Problem:
    """Now and then add what real conversations have: idle tools, an earlier turn, a system message."""
    messages = problem.messages
    if problem.tools is None and rng.random() < 0.06:
        problem = dataclasses.replace(problem, tools=tools.schemas(rng))
    if messages[0]["role"] == "system":
        return problem
    if rng.random() < 0.05:
        earlier = polite(rng) if rng.random() < 0.5 else arithmetic(rng)
        messages = [*earlier.messages[-1:], {"role": "assistant", "content": earlier.answer}, *messages]
    if rng.random() < 0.08:
        system = rng.choice((*_SYSTEMS, f"You are {scripts.name(rng)}.", f"{scripts.value(rng)}."))
        messages = [{"role": "system", "content": system}, *messages]
    return dataclasses.replace(problem, messages=messages)


def _start(rng: random.Random) -> int:
    return rng.randint(2, 99) if rng.random() < 0.5 else rng.randint(100, 299)


def _step(rng: random.Random, value: int) -> tuple[str, int]:
    symbols = ["+", "-"] + ["*", "*"] * (value in _FACTORS)
    symbol = rng.choice(symbols)
    if symbol == "*":
        return symbol, rng.randint(2, 9)
    if symbol == "-" and value > 2:
        return symbol, rng.randint(2, min(99, value))
    return "+", rng.randint(2, 99)


def _apply(value: int, symbol: str, operand: int) -> int:
    return {"+": value + operand, "-": value - operand, "*": value * operand}[symbol]


def _conversation(rng: random.Random, question: str) -> list[Message]:
    messages: list[Message] = [{"role": "user", "content": question}]
    if rng.random() < 0.1:
        return [{"role": "system", "content": rng.choice(_SYSTEMS)}, *messages]
    return messages


def _story(rng: random.Random, operands: list[tuple[str, int]]) -> str:
    name, friend = rng.sample(scripts.NAMES, 2)
    item, first = rng.choice(_ITEMS), operands[0][1]
    opening, rest = f"{name} has {first} {item}.", operands[1:]
    if rest[0][0] == "*" and first < 10 and rng.random() < 0.7:
        opening, rest = f"{name} has {first} {rng.choice(_PACKS)} of {rest[0][1]} {item}.", rest[1:]
    steps = [rng.choice(_STORY[symbol]).format(n=name, f=friend, k=operand) for symbol, operand in rest]
    asks = (f"How many {item} does {name} have now?", f"How many {item} are there now?", f"How many {item} has {name}?")
    return " ".join([opening, *steps, rng.choice(asks)])


def _orders(rng: random.Random, operands: list[tuple[str, int]]) -> str:
    steps = [rng.choice(_ORDER[symbol]).format(k=operand) for symbol, operand in operands[1:]]
    opening = rng.choice(("Start with {}", "Take {}")).format(operands[0][1])
    return f"{', '.join([opening, *steps])}. {rng.choice(('What do you get?', 'What is the result?'))}"


def _expression(rng: random.Random, operands: list[tuple[str, int]]) -> str:
    # A product after a sum would read by precedence, not from left to right.
    if any(symbol == "*" for symbol, _ in operands[2:]):
        return _orders(rng, operands)
    body = " ".join(f"{symbol} {operand}".strip() for symbol, operand in operands)
    return rng.choice(("What is {}?", "Compute {}.", "{} = ?", "Calculate {}.")).format(body)
