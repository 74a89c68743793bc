"""Failures of the guard itself: each must end with nothing executed, a row in the audit log, and a valid history.

`Fault(name, options)` holds options of a middleware that fails in one way; the calls are harmless, so that only the
failure can stop them.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from langchain_core.messages import AIMessage
from scripted import World, agent, asks, call, run, valid

from langchain_sea.middleware import ToolCallSafetyMiddleware
from langchain_sea.safety import RULES_ONLY, Action, Finding, GuardConfig, HarmCheck, PolicyError, ToolRules
from langchain_sea.safety.checks import PerCallCheck

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "please write down that the meeting is on monday"


@dataclass(frozen=True)
class Fault:
    """One way to fail; `options` make the middleware."""

    name: str
    options: Callable[[Path], dict[str, Any]]
    jumps: bool = False  # whether the wall clock goes back an hour meanwhile: deadlines must not wait for it


def _scorer(function: Callable[[Any], Any]) -> Callable[[Path], dict[str, Any]]:
    return lambda path: {"checks": [*RULES_ONLY, HarmCheck(function, 0.9)]}


def _raises(error: BaseException) -> Callable[[Any], Any]:
    def function(texts: Any) -> Any:
        raise error

    return function


def _hangs(texts: Any) -> Any:
    time.sleep(2.0)
    return [0.0] * len(texts)


class _AsksForRepair(PerCallCheck):
    """Asks for the repair of every note that does not say `fine`."""

    name = "asks_for_repair"

    def check(self, call: Any, context: Any) -> list[Finding]:
        fine = call.arguments.get("text") == "fine"
        return (
            []
            if fine
            else [Finding(action=Action.REPAIR, check="asks_for_repair", reason="text: not fine", arguments=("text",))]
        )


class _Says:
    name, uses_model = "says", False

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, calls: Any, context: Any) -> Any:
        return self.value


def _repairer(function: Callable[..., Any], verifier: Any = None) -> Callable[[Path], dict[str, Any]]:
    def options(path: Path) -> dict[str, Any]:
        policy = GuardConfig(tools={"note": ToolRules(repairable=("text",))}, budget=0.5, rounds=2)
        return {
            "policy": policy,
            "checks": [*RULES_ONLY, _AsksForRepair()],
            "repairer": function,
            "verifier": verifier or _Says([[]]),
        }

    return options


def _changes(**arguments: Any) -> Callable[..., Any]:
    return lambda call, names, reason, context, attempt: call.with_arguments(arguments)


def _renamed(call: Any, names: Any, reason: str, context: Any, attempt: int) -> Any:
    return type(call)(call.position, call.id, "delete_file", '{"path": "fine"}')


def _nan(call: Any, names: Any, reason: str, context: Any, attempt: int) -> Any:
    return call.with_arguments({"text": math.nan})


class _Full:
    def write(self, decision: Any, context: Any) -> None:
        raise OSError(28, "No space left on device")


def _recursion(texts: Any) -> Any:
    return _recursion(texts)


SHORT = GuardConfig(deadline=0.05, budget=0.2)
FAULTS = (
    Fault("scorer raises", _scorer(_raises(RuntimeError("no")))),
    Fault("scorer gives None", _scorer(lambda texts: None)),
    Fault("scorer gives NaN", _scorer(lambda texts: [math.nan] * len(texts))),
    Fault("scorer gives inf", _scorer(lambda texts: [math.inf] * len(texts))),
    Fault("scorer gives a string", _scorer(lambda texts: ["safe"] * len(texts))),
    Fault("scorer gives one for many", _scorer(lambda texts: [0.0] * (len(texts) + 1))),
    Fault("scorer out of range", _scorer(lambda texts: [-3.0] * len(texts))),
    Fault("scorer hangs", lambda path: {"policy": SHORT, "checks": [*RULES_ONLY, HarmCheck(_hangs, 0.9)]}),
    Fault("scorer answers late", lambda path: {"policy": SHORT, "checks": [*RULES_ONLY, HarmCheck(lambda t: (time.sleep(0.15), [0.0] * len(t))[1], 0.9)]}),
    Fault("one of three scorers is down", lambda path: {"checks": [*RULES_ONLY, HarmCheck(lambda t: [0.0] * len(t), 0.9), HarmCheck(_raises(ConnectionError("down")), 0.9, "second"), HarmCheck(lambda t: [0.0] * len(t), 0.9, "third")]}),
    Fault("scorer is out of memory", _scorer(_raises(MemoryError("CUDA out of memory")))),
    Fault("tokenizer fails", _scorer(_raises(UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates")))),
    Fault("scorer recurses", _scorer(_recursion)),
    Fault("check gives no list", lambda path: {"checks": [*RULES_ONLY, _Says(None)]}),
    Fault("clock jumps", lambda path: {"policy": SHORT, "checks": [*RULES_ONLY, HarmCheck(_hangs, 0.9)]}, jumps=True),
    Fault("repair diverges", _repairer(_nan)),
    Fault("repair raises", _repairer(lambda *a: 1 / 0)),
    Fault("repair names another tool", _repairer(_renamed)),
    Fault("repair adds arguments", _repairer(_changes(text="fine", more=1))),
    Fault("repair breaks the schema", _repairer(_changes(text=3))),
    Fault("repair takes too long", _repairer(lambda *a: time.sleep(1.0))),
    Fault("verifier is missing", lambda path: {**_repairer(_changes(text="fine"))(path), "verifier": None}),
    Fault("verifier fails", _repairer(_changes(text="fine"), HarmCheck(_raises(RuntimeError("no")), 0.9, "verifier"))),
    Fault("audit is full", lambda path: {"checks": "rules", "audit": _Full()}),
)  # fmt: skip
"""24. A policy that cannot be read, and state without messages, are errors before anything runs: see `refused`."""


def refused(path: Path) -> bool:
    """Whether a policy with a misspelt key, a wrong value, or no file at all, is an error at once."""
    bad = path / "bad.toml"
    for text in ("[tools.note]\nreveiw = true\n", "[default]\neffect = 'writes'\n", "deadlin = 3\n", "[tools.note\n"):
        bad.write_text(text, encoding="utf-8")
        try:
            GuardConfig.read(bad)
        except PolicyError:
            continue
        return False
    try:
        GuardConfig.read(path / "missing.toml")
    except PolicyError:
        return True
    return False


def closed(fault: Fault, count: int, how: str, path: Path) -> bool:
    """Whether nothing ran, every call has its one row, and the history is valid."""
    options = fault.options(path)
    rows = _Rows(options.get("audit"))
    world = World()
    guard = ToolCallSafetyMiddleware(options.pop("policy", None), **{**options, "audit": rows})
    calls = [call("note", str(i), text=f"{TEXT} {i}") for i in range(count)]
    back = mock.patch("time.time", lambda now=time.time: now() - 3600) if fault.jumps else nullcontext()
    with back:
        messages = run(agent(world, [asks(*calls)], safety=guard), how)
    answers = [m for m in messages if isinstance(m, AIMessage)]
    return not world.done and valid(messages) and rows.count == count and len(answers) == 2


class _Rows:
    """Counts what an audit was asked to write."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count = inner, 0

    def write(self, decision: Any, context: Any) -> None:
        self.count += 1
        if self.inner is not None:
            self.inner.write(decision, context)
        assert not decision.is_allowed


__all__ = ["FAULTS", "Fault", "closed", "refused"]
