"""Whole answers: many at once and one by one, refinement against drafting, long against short, alone and in company."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from speed_clock import Plan, middle, note, ratio, timed
from speed_shapes import PRESET, TEXT, Subject, subject
from tiny_model.data import held_out

from langchain_sea import SEAChatModel, load_model
from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.refine import refine
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler, run_to_completion
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards import registry

if TYPE_CHECKING:
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import PolicyPrompt

QUESTIONS = (
    "Write a detailed guide to baking bread at home, from flour to crust.",
    "Explain in detail how a bicycle stays upright while it moves.",
    "Describe the water cycle for a child, step by step and at length.",
    "Tell me a long story about a lighthouse keeper and a storm.",
    "What should a beginner know before growing tomatoes? Be thorough.",
    "Compare trains and planes for travel inside one country, in several paragraphs.",
    "Explain how vaccines work, with an example, in at least three paragraphs.",
    "Write a long letter to a friend about a week in the mountains.",
)
TOGETHER, SHORT = 32, 32  # requests, tokens
DRAFT = 128
LENGTHS = (512, 2048)
EQUAL, OF_SHAPE = 200, 12
COMPANY = (2, 24)  # requests of one random batch


def ragged(count: int, seed: int) -> list[str]:
    """Questions with 0 to 150 words of text to read before them."""
    rng, words = random.Random(seed), TEXT.split()
    found = []
    for number in range(count):
        start, length = rng.randrange(500), rng.choice((0, 0, rng.randrange(150)))
        read = f"Read this: {' '.join(words[start : start + length])}\n\n" if length else ""
        found.append(f"{read}{QUESTIONS[number % len(QUESTIONS)]} ({number})")
    return found


KINDS = ("Prompt", "Extend", "Look", "Rank", "Climb", "Score")


def kinds(on: Subject) -> Any:
    """Seconds of each kind of work while the block runs."""
    places: dict[str, tuple[Any, str]] = {"Prompt": (CausalLMPolicy, "prompt_from_ids")}
    return timed(places | {"Work": (Scheduler, "_compute_in_groups")}, on.policy.device, {"Work": _kind})


def _kind(_scheduler: Scheduler, _limit: Any, requests: list[Any], _compute: Any) -> str:
    return type(requests[0].op).__name__


def shown(seconds: dict[str, float]) -> dict[str, float]:
    """Rounded, in order."""
    return {kind: round(seconds.get(kind, 0.0), 3) for kind in KINDS}


def batch_speedup(on: Subject, plan: Plan, seed: int) -> dict[str, Any]:
    """The same requests one after another and together, in turns."""
    model = SEAChatModel(
        model=on.policy, rewards=list(on.terms), budget=Budget(max_time=None), max_tokens=SHORT, seed=seed
    )
    requests, spent, texts = ragged(TOGETHER, seed), defaultdict(dict), {}

    def one_by_one() -> None:
        with kinds(on) as spent["one by one"]:
            texts["one by one"] = [model.invoke(request).content for request in requests]

    def together() -> None:
        with kinds(on) as spent["together"]:
            texts["together"] = [message.content for message in model.batch(requests)]

    model.batch(requests[:2])
    times = plan.turns({"one by one": one_by_one, "together": together}, warm=[])
    for way, seconds in spent.items():
        note(f"  {way}: {shown(seconds)}")
    same = [a == b for a, b in zip(texts["one by one"], texts["together"], strict=True)]
    what = (
        f"{TOGETHER} requests with prompts of different lengths through SEAChatModel.invoke one after another ÷ the "
        f"same through SEAChatModel.batch; {on.name}, default preset, {SHORT} tokens, the same seed"
    )
    parts = {way: shown(seconds) for way, seconds in spent.items()}
    return ratio(times, "one by one", "together", what, parts=parts, same_text=statistics.fmean(same))


@dataclass(frozen=True, slots=True)
class Writing:
    """What one refinement and one plain draft of the same prompt took."""

    refine: float
    write: float
    draft: float
    parts: dict[str, float]
    tokens: int


def _written(on: Subject, plan: Plan, question: str, seed: int) -> Writing:
    messages = [{"role": "user", "content": question}]
    with kinds(on) as spent:
        prompt = on.policy.prompt(messages, room=DRAFT)
        refined(on, prompt, DRAFT, seed)
    rngs = generators_for(seed, prompt.key, 1, on.policy.device)
    lengths: list[int] = []

    def draft() -> None:
        options = {"tokens": DRAFT, "temperature": PRESET.search_config.drafts.temperature, "generators": rngs}
        found = on.policy.generate(on.policy.prompt(messages, room=DRAFT), [[]], **options)
        lengths.extend(map(len, found))

    seconds = plan.seconds(draft)
    write = spent.get("Prompt", 0.0) + spent.get("Extend", 0.0)
    return Writing(sum(spent.values()) - write, write, seconds, shown(spent), lengths[0])


def refined(
    on: Subject,
    prompt: PolicyPrompt,
    tokens: int,
    seed: int,
    draft: list[int] | None = None,
    max_steps: int | None = None,
) -> Refinement:
    """One refinement under the default preset."""
    return refine(
        [prompt],
        energy=on.energy,
        preset=PRESET,
        seed=seed,
        drafts=[[draft] if draft else []],
        budget=Budget(max_time=None, max_steps=max_steps),
        max_new_tokens=tokens,
    )[0]


def refine_over_draft(on: Subject, plan: Plan, seed: int) -> dict[str, dict[str, Any]]:
    """Both figures, of the same refinements."""
    _written(on, plan, "Hello", seed)
    found = []
    for number in range(plan.repeats):
        found.append(_written(on, plan, QUESTIONS[number % len(QUESTIONS)], seed + number // len(QUESTIONS)))
        note(f"  {number + 1}/{plan.repeats} {found[-1].parts}; one draft {found[-1].draft:.2f}")
    times = {
        "refine": [w.refine for w in found],
        "write": [w.write for w in found],
        "one draft": [w.draft for w in found],
    }
    parts = {kind: round(statistics.median(w.parts[kind] for w in found), 3) for kind in KINDS}
    more = {"parts": parts, "draft_tokens": [w.tokens for w in found]}
    above = "the seconds of one refinement in reading, ranking, stepping and scoring"
    beside = f"median over prompts; {on.name}, default preset, {DRAFT} tokens"
    whats = {
        "refine_over_draft": f"{above} ÷ those in which the policy writes in the same refinement, its reading of the "
        f"prompt included; {beside}",
        "refine_over_one_draft": f"{above} ÷ those of one plain draft by the policy alone, its reading of the prompt "
        f"included; {beside}",
    }
    return {
        name: middle([a / b for a, b in zip(times["refine"], times[under], strict=True)], what, times, **more)
        for (name, what), under in zip(whats.items(), ("write", "one draft"), strict=True)
    }


def window_ratio(plan: Plan, device: str | None, seed: int) -> dict[str, Any]:
    """A long given answer and a short one, in turns; random weights, which end no answer early."""
    on = subject("random", device)
    prompt, spent = on.prompt(64), {}

    def work(length: int) -> Any:
        def call() -> None:
            with kinds(on) as spent[length]:
                refined(on, prompt, length, seed, on.text(length))

        return call

    short, long = LENGTHS
    times = plan.turns({"short": work(short), "long": work(long)}, warm=["short"])
    for length, seconds in spent.items():
        note(f"  {length} tokens: {shown(seconds)}")
    what = (
        f"refining a given answer of {long} tokens ÷ one of {short}, each with a budget of its length; {on.name}, "
        "default preset, prompt 64"
    )
    return ratio(times, "long", "short", what, parts={str(n): shown(s) for n, s in spent.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Repeated:
    """One refinement to be compared with itself."""

    on: Subject
    messages: tuple[dict[str, Any], ...]
    tokens: int
    seed: int

    def request(self) -> RefinementRequest:
        """Anew, with everything that it has alone."""
        policy, tracker = self.on.policy, BudgetTracker(Budget(max_time=None), self.tokens)
        prompt = policy.prompt(self.messages, room=self.tokens)
        search_config = PRESET.search_config
        rngs = generators_for(
            self.seed, prompt.key, max(search_config.chains.num_chains, search_config.drafts.num_drafts), policy.device
        )
        return RefinementRequest(prompt, [], self.on.energy, PRESET.langevin, search_config, rngs, tracker)

    def alone(self) -> Any:
        """What it gives by itself."""
        return kept(run_to_completion(self.request().steps()))


def kept(found: Refinement) -> Any:
    """All of a refinement but its seconds."""
    trace = tuple(step._replace(seconds=0.0) for step in found.trace)
    return found._replace(seconds=0.0, trace=trace)


def in_company(requests: list[Repeated], rng: random.Random) -> list[Any]:
    """What each gives while others join at random rounds; those of different policies share the rounds too."""
    made, scheduler = [request.request() for request in requests], Scheduler()
    waiting = list(made)
    while waiting or scheduler.requests:
        if waiting and (not scheduler.requests or rng.random() < 0.3):
            for _ in range(min(len(waiting), rng.randint(1, 4))):
                scheduler.add_requests([waiting.pop(0)])
        scheduler.step()
    return [kept(request.future.result()) for request in made]


def equal_share(requests: list[Repeated], rng: random.Random) -> list[bool]:
    """Whether each gives alone what it gives in a random batch."""
    expected = [request.alone() for request in requests]
    order, found = list(range(len(requests))), {}
    rng.shuffle(order)
    while order:
        size = rng.randint(*COMPANY)
        batch, order = order[:size], order[size:]
        found |= dict(zip(batch, in_company([requests[i] for i in batch], rng), strict=True))
    return [found[i] == value for i, value in enumerate(expected)]


def batch_equal(on: Subject, device: str | None, seed: int) -> dict[str, Any]:
    """The tiny policy's requests, and the shape's, in float32; beside them the shape's own dtype."""
    rng = random.Random(seed)
    policy = load_model("tiny", device)
    tiny = Subject("tiny", policy, registry.make_terms(["tiny"], policy))
    problems = [p for kind in ("arithmetic", "polite") for p in held_out(kind, EQUAL // 2, seed)]
    rng.shuffle(problems)
    parts: dict[str, list[Repeated]] = {
        tiny.name: [
            Repeated(tiny, tuple(p.messages), rng.randint(8, 24), rng.randrange(1000))
            for p in problems[: EQUAL - OF_SHAPE]
        ]
    }
    for whose in dict.fromkeys((subject(on.shape, device, torch.float32), on)):
        parts[whose.name] = [
            Repeated(whose, ({"role": "user", "content": text},), rng.randint(8, 16), rng.randrange(1000))
            for text in ragged(OF_SHAPE, seed)
        ]
    shares = {}
    for name, requests in parts.items():
        shares[name] = equal_share(requests, rng)
        note(f"  {name}: {sum(shares[name])} of {len(requests)} equal")
    exact = [equal for name, found in shares.items() if "float32" in name for equal in found]
    what = (
        f"requests whose answer alone (text, ids, scores, trace) equals that in a random batch which others join at "
        f"random rounds ÷ all {len(exact)}; default preset, float32; the other dtype stands beside, uncounted"
    )
    return {
        "value": sum(exact) / len(exact),
        "spread": [min(map(statistics.fmean, shares.values())), max(map(statistics.fmean, shares.values()))],
        "repeats": len(exact),
        "what": what,
        "parts": {name: f"{sum(found)} of {len(found)}" for name, found in shares.items()},
    }
