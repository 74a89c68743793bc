"""Doubles of machines of any speed: passes and rewards move a clock, which is a number."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import torch
from doubles import DoublePrompt, MarkovPolicy, PrefixReward, TokenReward, V, Vowels, could_end, shrunk, with_fields

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.protocols import SteeringVector
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler

SLACK = 1.15
ROUNDING = 1e-3  # of seconds in a report


@dataclass
class Clock:
    """Stands still unless a pass moves it.

    Attributes:
        now: in seconds.
        longest_call: of a reward that is a function.
    """

    now: float = 0.0
    longest_call: float = 0.0

    def __call__(self):
        return self.now

    def call(self, seconds):
        """Let a function take so many seconds."""
        self.longest_call = max(self.longest_call, seconds)
        self.now += seconds


@dataclass(frozen=True)
class Machine:
    """How long passes take.

    Attributes:
        base: seconds of any pass.
        row: of that, more for each row that gets a token.
        token: of that, more for each token that is read.
        gradient: how many times as long a pass takes of which a gradient is taken.
        jitter: how many times more a pass may take, by chance.
        busy_after: passes after which each takes five times as long; None: the machine stays idle.
    """

    base: float
    row: float
    token: float
    gradient: float = 2.5
    jitter: float = 0.0
    busy_after: int | None = None


@dataclass(eq=False)
class TimedPolicy(MarkovPolicy):
    """A policy whose passes take the time of a machine. It remembers which answers it has ended by itself."""

    machine: Machine
    clock: Clock
    seed: int = 0
    ended: set[tuple[int, ...]] = field(default_factory=set)

    def __post_init__(self):
        super().__init__(self.seed % 50)
        self.rng, self.passes = random.Random(self.seed), 0  # noqa: S311 - a test's own draws

    def spend(self, share):
        machine = self.machine
        self.passes += 1
        is_busy = machine.busy_after is not None and self.passes > machine.busy_after
        self.clock.now += machine.base * share * (1 + machine.jitter * self.rng.random()) * (5 if is_busy else 1)

    def generate_step(self, writings):
        rows = sum(writing.num_unfinished for writing in writings)
        super().generate_step(writings)
        self.spend(1 + self.machine.row * rows)

    def _write(self, writing, row):
        super()._write(writing, row)
        if row not in writing.alive and len(writing.written[row]) < writing.tokens:
            self.ended.add((*writing.prompt.answer, *writing.prefixes[row], *writing.written[row]))

    def forward_all(self, asks):
        tokens = sum(int(ask.tokens.mask.sum()) for ask in asks)
        needs_gradient = any(ask.steering is not None and ask.steering.vectors.requires_grad for ask in asks)
        self.spend((self.machine.gradient if needs_gradient else 1) * (1 + self.machine.token * tokens))
        return super().forward_all(asks)

    def prefill(self, prompt, ids, output_spec):
        self.spend(1 + self.machine.token * len(ids))
        return super().prefill(prompt, ids, output_spec)


@dataclass(frozen=True)
class SlowReward(TokenReward):
    """Judges texts in the engine's own thread, and takes its time."""

    clock: Clock = field(default_factory=Clock)
    base: float = 0.0
    each: float = 0.0

    def score(self, view, texts):
        self.clock.call(self.base + self.each * len(texts))
        return super().score(view, texts)


@dataclass(frozen=True)
class SlowFunction(Vowels):
    """A function of texts, which the engine calls in a thread of its own; it takes less than two seconds."""

    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0

    def score(self, view, texts):
        self.clock.call(self.seconds)
        return super().score(view, texts)


class SteeredReward(PrefixReward):
    """Has a steering vector, so that answers are written beside the draft."""

    steering_vector = SteeringVector(1, 3.0 * torch.eye(V)[4])


def make_reward(kind, seed, clock, base, slow):
    """A reward of a kind; `slow` is how many passes one call takes."""
    if kind == "beginnings":
        return PrefixReward.random(seed)
    if kind == "steered":
        return SteeredReward.random(seed)
    if kind == "texts":
        return replace(SlowReward.random(seed), clock=clock, base=base * slow, each=base * slow / 10)
    return SlowFunction(clock=clock, seconds=min(1.9, base * slow))


@dataclass
class Call:
    """Prompts that are refined together on a machine.

    Attributes:
        longest_step: seconds of the longest step of the scheduler.
    """

    machine: Machine
    kind: str
    seed: int
    num_prompts: int = 1
    max_tokens: int = 10
    stride: int = 64
    slow: float = 0.0
    clock: Clock = field(default_factory=Clock)
    longest_step: float = 0.0

    def __post_init__(self):
        self.policy = TimedPolicy(self.machine, self.clock, self.seed)
        reward = make_reward(self.kind, self.seed % 50, self.clock, self.machine.base, self.slow)
        limits = [None, TextLimits(), TextLimits(min_gain_spreads=0.0)][self.seed % 3]
        terms = (RewardTerm(reward=reward, name="r"),)
        self.energy = Energy(policy=self.policy, terms=terms, max_nll_rise=0.5, limits=limits)
        self.langevin, config = shrunk("default")
        self.config = with_fields(config, plan=None, stride=self.stride)

    def requests(self, **limits):
        """A request for each prompt."""
        prompts = [DoublePrompt(f"question {self.seed % 9 + number}") for number in range(self.num_prompts)]
        timeout = limits.pop("timeout", None)
        return [
            RefinementRequest(
                prompt,
                [],
                self.energy,
                self.langevin,
                self.config,
                self.generators(prompt),
                BudgetTracker(Budget(**limits), self.max_tokens, timeout, self.clock),
            )
            for prompt in prompts
        ]

    def generators(self, prompt):
        return generators_for(self.seed, prompt.key, 8, self.policy.device)

    def run(self, **limits):
        """Refine all, and return their requests and refinements."""
        scheduler, requests = Scheduler(self.clock), self.requests(**limits)
        scheduler.add_requests(requests)
        while scheduler.requests:
            started = self.clock()
            scheduler.step(max_wait=0.01)
            self.longest_step = max(self.longest_step, self.clock() - started)
        return [(request, request.future.result()) for request in requests]

    def plain(self, prompt):
        """The policy's own answer, written without the engine, on a machine of its own."""
        policy = TimedPolicy(self.machine, Clock(), self.seed)
        temperature, generators = self.config.drafts.temperature, self.generators(prompt)[:1]
        writing = policy.start_generation(
            prompt, [[]], tokens=self.max_tokens, temperature=temperature, generators=generators
        )
        while writing.num_unfinished:
            policy.generate_step([writing])
        return policy.decode(writing.written[0])

    def faults(self, seconds, request, found):
        """What was promised of one answer, and is not so."""
        faults = []
        is_shortened = not found.is_complete and found.text.endswith(".")
        is_whole = found.ids in self.policy.ended or could_end(self.policy, found.ids)
        if not (is_whole or len(found.ids) == self.max_tokens or is_shortened):
            faults.append(f"cut off: {found.text!r}")
        scores = (-self.energy.evaluate_texts(request.prompt, [found.draft, found.text]).energy).tolist()
        if scores[1] < scores[0] - 1e-5 * (1 + abs(scores[0])):
            faults.append(f"worse: {scores}")
        if found.draft != self.plain(request.prompt):
            faults.append(f"the draft {found.draft!r} is not the policy's own text")
        # an op waits until those of other prompts are done, and is computed together with others
        steps = (1 if self.num_prompts == 1 else 2) * (self.longest_step + self.clock.longest_call)
        late = found.seconds - found.draft_seconds - SLACK * seconds - steps
        if late > ROUNDING:
            faults.append(f"{late} s late, of {seconds} s and steps of {steps} s")
        if found.failure is not None:
            faults.append(repr(found.failure))
        return faults
