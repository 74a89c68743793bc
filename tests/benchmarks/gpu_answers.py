"""Whole answers on a GPU: their seconds, where those go, and transformers' own generation beside them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from speed_answers import QUESTIONS
from speed_clock import note, ratio
from speed_shapes import PRESET, Subject

from langchain_sea import SEAChatModel
from langchain_sea.engine.latent_refiner import LatentRefiner
from langchain_sea.engine.latent_search import LatentSearch
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_steps import Bench

PHASES = {
    "draft": (RefinementRequest, "_write_draft"),
    "rounds": (LatentSearch, "steps"),
    "continuation": (LatentRefiner, "_write_to_end"),
}
LONGEST = 50.0  # seconds of answers of one shape, after which no further question is asked


@contextmanager
def watch_phases() -> Iterator[dict[str, float]]:
    """Seconds of each phase of one answer, and of the kinds of work in it, while the block runs.

    Nothing waits for the device that would not wait anyhow: each kind of work ends with numbers that are read.
    """
    seconds: dict[str, float] = defaultdict(float)
    phase = ["rest"]

    def steps_of(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def steps(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            phase.append(name)
            try:
                return (yield from make(*args, **kwargs))
            finally:
                phase.pop()
                seconds[name] += time.perf_counter() - began

        return steps

    compute = Scheduler._compute_in_groups

    def computed(scheduler: Any, limit: Any, requests: list[Any], function: Any) -> None:
        kind, began = f"{phase[-1]}: {type(requests[0].op).__name__}", time.perf_counter()
        compute(scheduler, limit, requests, function)
        seconds[kind] += time.perf_counter() - began

    with ExitStack() as stack:
        for name, (holder, attribute) in PHASES.items():
            stack.enter_context(patch.object(holder, attribute, steps_of(name, getattr(holder, attribute))))
        stack.enter_context(patch.object(Scheduler, "_compute_in_groups", computed))
        yield seconds


def split(seconds: float, phases: dict[str, float]) -> dict[str, float]:
    """The parts of one answer's seconds; what rounds do beside drawing and gradients is scoring."""
    drawing, gradients = phases["rounds: GenerateOp"], phases["rounds: LatentGradientOp"]
    parts = {
        "draft": phases["draft"],
        "drawing": drawing,
        "scoring": phases["rounds"] - drawing - gradients,
        "gradients": gradients,
        "continuation": phases["continuation"],
    }
    return parts | {"rest": seconds - sum(parts.values())}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that was timed."""

    question: str
    seconds: float
    tokens: int
    parts: dict[str, float]
    kinds: dict[str, float]
    report: dict[str, Any]


def make_model(bench: Bench, on: Subject, tokens: int, **settings: Any) -> SEAChatModel:
    """The chat model of the default preset; real weights get the rewards that are theirs by default.

    Of random weights any gain counts, so that the search goes on to its end instead of finding that nothing beats the
    draft.
    """
    rewards = None if on.policy.name else [replace(term, min_gain=0.0) for term in on.terms]
    return SEAChatModel(model=on.policy, rewards=rewards, max_tokens=tokens, **{"plan": bench.sizes.plan} | settings)


def count_tokens(on: Subject, message: Any, limit: int) -> int:
    """Tokens of an answer. Random weights draw an end once in many thousand tokens, and their text encodes anew."""
    return message.usage_metadata["output_tokens"] if on.policy.name else limit


@cache
def answers(bench: Bench, shape: str) -> tuple[list[Answer], int]:
    """The answers to the questions of a shape, and the limit on their tokens; the first questions only warm up."""
    on, tokens = bench.subject(shape), bench.sizes.answer[shape]
    model, warm = make_model(bench, on, tokens), bench.sizes.warm[shape]
    began = time.monotonic()
    for question in QUESTIONS[:warm]:
        model.invoke(question)
        if time.monotonic() - began > LONGEST / 2:
            break
    timed, began = [], time.monotonic()
    for question in QUESTIONS[warm : warm + bench.sizes.questions[shape]]:
        if timed and time.monotonic() - began > LONGEST:
            break
        kept: list[Any] = []
        with watch_phases() as phases:
            seconds = bench.plan.seconds(lambda question=question, kept=kept: kept.append(model.invoke(question)))
        report = kept[0].response_metadata["sea"]
        parts = split(seconds, phases)
        kinds = {name: value for name, value in phases.items() if ":" in name}
        timed.append(Answer(question, seconds, count_tokens(on, kept[0], tokens), parts, kinds, report))
        note(f"  {shape}: {seconds:.3f} s, {rounded(parts)}, {report['plan']}, {report['stop_reason']}")
    return timed, tokens


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """To tenths of a millisecond."""
    return {name: round(value, 4) for name, value in seconds.items()}


def means(each: list[dict[str, float]]) -> dict[str, float]:
    """Of each part, over answers, so that the parts add up; one that an answer does not have took it no time."""
    names = dict.fromkeys(name for parts in each for name in parts)
    return rounded({name: statistics.fmean(parts.get(name, 0.0) for parts in each) for name in names})


def describe(timed: list[Answer]) -> dict[str, Any]:
    """The phases, tokens, steps and plans of answers, to report with their seconds."""
    return {
        "parts": means([answer.parts for answer in timed]),
        "kinds": means([answer.kinds for answer in timed]),
        "tokens": [answer.tokens for answer in timed],
        "steps": [answer.report["steps"] for answer in timed],
        "plans": sorted({answer.report["plan"] for answer in timed}),
        "stopped_by": [answer.report["stop_reason"] for answer in timed],
    }


def answer_seconds(bench: Bench, shape: str) -> dict[str, Any]:
    """The median over questions."""
    timed, tokens = answers(bench, shape)
    each = [answer.seconds for answer in timed]
    name = bench.subject(shape).name
    what = (
        f"median seconds of one answer of at most {tokens} tokens by SEAChatModel with everything at its default, warm; "
        f"{name}; nothing is divided"
    )
    return one_sided(statistics.median(each), each, what, {"answer": statistics.median(each)}, **describe(timed))


def one_sided(
    value: float, each: list[float], what: str, seconds: dict[str, float], digits: int = 4, **more: Any
) -> dict[str, Any]:
    """A figure that is no ratio of times."""
    return {
        "value": round(value, digits),
        "spread": [round(min(each), digits), round(max(each), digits)],
        "repeats": len(each),
        "what": what,
        "seconds": rounded(seconds),
        **more,
    }


def answer_phases(bench: Bench, shape: str) -> dict[str, Any]:
    """Where the seconds of an answer go."""
    timed, tokens = answers(bench, shape)
    each = [answer.seconds for answer in timed]
    parts = means([answer.parts for answer in timed])
    what = (
        f"mean seconds of one answer of at most {tokens} tokens, and of its parts; of the rounds: drawing, scoring and "
        f"gradients; {bench.subject(shape).name}; nothing is divided"
    )
    return one_sided(statistics.fmean(each), each, what, parts, **describe(timed))


def generate(on: Subject, question: str, tokens: int, rows: int = 1) -> int:
    """Let transformers write so many tokens into each row, with its own cache; returns their number."""
    ids = on.policy.prompt([{"role": "user", "content": question}], room=tokens).ids
    given = torch.tensor([ids] * rows, device=on.policy.device)
    written = on.policy.model.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=True,
        temperature=PRESET.search_config.drafts.temperature,
        top_k=0,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
    )
    return written[:, len(ids) :].numel()


def refine_over_draft(bench: Bench, shape: str) -> dict[str, Any]:
    """The same questions, each answer as long as the refined one."""
    on = bench.subject(shape)
    timed, limit = answers(bench, shape)
    generate(on, timed[0].question, min(limit, 16))
    times: dict[str, list[float]] = {"refined": [], "generated": []}
    for answer in timed:
        seconds = bench.plan.seconds(
            lambda answer=answer: generate(on, answer.question, max(1, min(limit, answer.tokens)))
        )
        times["refined"].append(answer.seconds)
        times["generated"].append(seconds)
    what = (
        f"one refined answer of SEAChatModel ÷ a sampled answer of as many tokens, at most {limit}, by transformers' "
        f"generate; {on.name}"
    )
    return ratio(times, "refined", "generated", what, tokens=[answer.tokens for answer in timed])
