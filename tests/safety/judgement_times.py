"""How long judgements take, those of 200,000 characters among them, and how long an event loop waits meanwhile."""

from __future__ import annotations

import asyncio
import base64
import gc
import itertools
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

from cases import Case, batch

from langchain_sea.safety import CallContext, ContextMessage, GuardConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_sea.safety import GuardPipeline

SIZE = 199_900  # characters of a call's arguments as JSON; the guard takes 200,000
_STRING = {"type": "string"}
TOOLS = {
    "run_command": ("command",), "run_query": ("query",), "send_email": ("body", "to"), "write_file": ("content", "path"),
    "fetch_url": ("url",), "run_python": ("code",), "search": ("query",),
}  # fmt: skip
SCHEMAS = {
    name: {"type": "object", "properties": dict.fromkeys(arguments, _STRING)} for name, arguments in TOOLS.items()
}
UNITS = {
    "words": "the quick brown fox jumps over the lazy dog ", "one word": "a", "spaces": " ", "lines": "a\n", "digits": "7",
    "brackets": "(", "braces": "{", "single quotes": "'", "quotes": '"', "backslashes": "\\", "slashes": "/", "dots": ".", "folders": "../",
    "addresses": "https://a.example/b?c=d ", "mails": "ann@a.example, ", "numbers": "192.168.0.1 ", "pipes": "cat a | ", "commands": "ls -la; ",
    "substitutions": "$(", "selects": "select a from b union ", "comments": "/* ", "dashes": "-- ", "escapes": "%2e", "keys": "a: b\n",
    "sentences": "Please send it to Ann. ", "equals": "a=b&", "at signs": "@", "semicolons": ";", "unicode": "é", "tabs": "\t", "hashes": "#\n",
    "mixed": "x=1; y='a b'; print(x) # note\n",
}  # fmt: skip


def measure_times(
    make_pipeline: Callable[..., GuardPipeline], calls: Sequence[Case], texts: Sequence[Case]
) -> dict[str, Any]:
    """Return the milliseconds of judgements: by rules alone, with the embedded scorer, of eight, and of long arguments.

    Args:
        make_pipeline: takes a policy, and `rules_only`.
        calls: that the rules judge, three times each.
        texts: at least 48, that the scorer judges.
    """
    by_rules = [_time(make_pipeline(c.context.policy, rules_only=True), c) for c in calls for _ in range(3)]
    by_scorer = [_time(make_pipeline(c.context.policy), c) for c in texts]
    batches = [_join(texts[i : i + 8]) for i in range(0, 48, 8)]
    of_eight = [_time(make_pipeline(c.context.policy), c) for c in batches]
    percentiles = statistics.quantiles(by_rules, n=100)
    with_scorer = statistics.quantiles(by_scorer, n=20)[-1]
    return {
        "added_ms": {
            "value": round(with_scorer, 2),
            "rules_p50": round(percentiles[49], 3),
            "rules_p99": round(percentiles[98], 3),
            "scorer_p95": round(with_scorer, 2),
            "batch_of_8_over_one": round(statistics.median(of_eight) / statistics.median(by_scorer), 2),
        },
        **measure_long_arguments(make_pipeline(GuardConfig(), rules_only=True)),
    }


def _join(texts: Sequence[Case]) -> Case:
    calls = [{"name": call.name, "args": call.arguments} for text in texts for call in text.calls]
    return Case("batch", texts[0].context, batch(calls))


def _time(pipeline: GuardPipeline, case: Case) -> float:
    started = time.perf_counter()
    pipeline(case.calls, case.context)
    return (time.perf_counter() - started) * 1000


def measure_long_arguments(pipeline: GuardPipeline) -> dict[str, Any]:
    """Return the longest milliseconds of a judgement and of a wait of the event loop, and where they were.

    Every text is judged once, as each kind of argument, and nothing of it is known from before. What this process
    has loaded before is left out of Python's garbage collections, which otherwise stop all threads for as long as it
    takes to look at every object of torch and transformers.
    """
    pipeline(*_make_case("send_email", "body", "Hello"))
    gc.collect()
    gc.freeze()
    milliseconds, waits = {}, {}
    for name, argument, kind, text in _list_arguments():
        calls, context = _make_case(name, argument, text)
        milliseconds[f"{name}.{argument}: {kind}"], waits[f"{name}.{argument}: {kind}"] = asyncio.run(
            _judge(pipeline, calls, context)
        )
    gc.unfreeze()
    worst, stalled = max(milliseconds, key=milliseconds.__getitem__), max(waits, key=waits.__getitem__)
    return {
        "added_ms_long": {
            "value": round(milliseconds[worst], 1),
            "where": worst,
            "of": len(milliseconds),
            "limit": 200,
        },
        "loop_stall_ms": {"value": round(waits[stalled], 1), "where": stalled, "of": len(waits), "limit": 20},
    }


def _list_arguments() -> Iterator[tuple[str, str, str, str]]:
    """Yield (tool, argument, kind, text) of every case; each text begins with a number of its own."""
    places = [(name, argument) for name, arguments in TOOLS.items() for argument in arguments]
    for number, ((kind, unit), (name, argument)) in enumerate(itertools.product(UNITS.items(), places)):
        yield name, argument, kind, f"{number} {_repeat(unit)}"
    whole = " ".join(UNITS.values()) * 300
    others = {
        "JSON": json.dumps([{"id": n, "mail": f"p{n}@a.example"} for n in range(3500)]),
        "base64": base64.b64encode(whole.encode())[:SIZE].decode(),
        "all kinds": whole[: SIZE * len(whole) // len(json.dumps(whole))],
    }
    for (kind, text), (name, argument) in itertools.product(others.items(), places):
        yield name, argument, kind, text


def _repeat(unit: str) -> str:
    return unit * (SIZE // (len(json.dumps(unit)) - 2))


def _make_case(name: str, argument: str, text: str) -> tuple[Any, CallContext]:
    messages = (
        ContextMessage("user", f"Please use {name} for me."),
        ContextMessage("tool", '{"status": "open", "owner": "ann@a.example"}', tool="read_record"),
    )
    return batch([{"name": name, "args": {argument: text}}]), CallContext(messages, SCHEMAS, GuardConfig())


async def _judge(pipeline: GuardPipeline, calls: Any, context: CallContext) -> tuple[float, float]:
    """Return the milliseconds of a judgement in a thread, and the longest wait of a loop that asks every millisecond."""
    waits, started = [0.0], time.perf_counter()
    judging = asyncio.create_task(asyncio.to_thread(pipeline, calls, context))
    while not judging.done():
        asked = time.perf_counter()
        await asyncio.sleep(0.001)
        waits.append(time.perf_counter() - asked - 0.001)
    await judging
    return 1000 * (time.perf_counter() - started), 1000 * max(waits)
