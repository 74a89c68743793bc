"""On a machine of any speed an answer is whole, never worse than its draft, and hardly late. The clock is a number."""

from __future__ import annotations

import random
import re
import sys
import threading
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles import DoublePrompt, MarkovPolicy, PrefixReward, TokenReward, Vowels, shrunk, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea import load_model, make_energy, refine
from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.terms import RewardTerm
from langchain_sea.core.timeouts import LateError
from langchain_sea.engine.chains import generators_for
from langchain_sea.engine.lateness import stop_when_late
from langchain_sea.engine.latent_search import LatentSearch
from langchain_sea.engine.planning import get_speed
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.plans import PLANS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))

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


def make_reward(kind, seed, clock, base, slow):
    """A reward of a kind; `slow` is how many passes one call takes."""
    if kind == "beginnings":
        return PrefixReward.random(seed)
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
        for request in requests:
            scheduler.add_request(request)
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
        if not (found.ids in self.policy.ended or len(found.ids) == self.max_tokens or is_shortened):
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


bases = st.floats(-2, 1).map(lambda power: 10**power)
machines = st.builds(
    Machine,
    base=bases,
    row=st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]),
    token=st.sampled_from([0.001, 0.01, 0.05, 0.3]),
    gradient=st.sampled_from([1.5, 2.5, 6.0]),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    busy_after=st.none() | st.integers(0, 150),
)
steady_machines = st.builds(Machine, base=bases, row=st.floats(0, 0.3), token=st.floats(0, 0.3))
passes = st.floats(-1, 4).map(lambda power: 10**power)
"""How many passes fit into the seconds that are asked for."""
sizes = {
    "seed": st.integers(0, 10_000),
    "max_tokens": st.sampled_from([1, 3, 10, 30]),
    "stride": st.sampled_from([3, 8, 64]),
    "slow": st.sampled_from([0.0, 1.0, 30.0]),
}
kinds = st.sampled_from(["beginnings", "texts", "functions"])


def properties(number):
    return settings(deadline=None, derandomize=True, max_examples=number)


@given(call=st.builds(Call, machine=machines, kind=kinds, **sizes), passes=passes)
@properties(260)
def test_an_answer_is_whole_never_worse_and_hardly_late(call, passes):
    """Whatever the machine and the time, and however long the reward takes."""
    seconds = passes * call.machine.base
    ((request, found),) = call.run(max_time=seconds)
    assert call.faults(seconds, request, found) == []


together = st.builds(
    Call, machine=machines, kind=st.sampled_from(["beginnings", "texts"]), num_prompts=st.integers(2, 4), **sizes
)


@given(call=together, passes=passes)
@properties(120)
def test_so_are_answers_that_are_refined_together(call, passes):
    """Each has its own time, from the end of its own draft."""
    seconds = passes * call.machine.base
    for request, found in call.run(max_time=seconds):
        assert call.faults(seconds, request, found) == []


@given(call=st.builds(Call, machine=steady_machines, kind=kinds, **sizes), passes=passes)
@properties(80)
def test_no_draws_are_begun_that_cannot_be_finished(call, passes):
    """On a machine of constant speed, from the first call on."""
    waves, draw = [], LatentSearch._draw

    def watched(self, rows):
        drawn = yield from draw(self, rows)
        waves.append(drawn is not None)
        return drawn

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LatentSearch, "_draw", watched)
        call.run(max_time=passes * call.machine.base)
    assert all(waves)


@given(call=st.builds(Call, machine=machines, kind=kinds, **sizes), passes=passes)
@properties(60)
def test_only_the_limit_of_the_call_cuts_a_text(call, passes):
    """It is kept to a step, and the report says so."""
    timeout = passes * call.machine.base
    ((_, found),) = call.run(max_time=None, timeout=timeout)
    assert found.seconds <= SLACK * timeout + call.longest_step + call.clock.longest_call + ROUNDING
    is_whole = found.ids in call.policy.ended or len(found.ids) == call.max_tokens or found.text.endswith(".")
    assert is_whole or (found.stop_reason == "timeout" and not found.is_complete)


@pytest.mark.parametrize("kind", ["beginnings", "texts", "functions"])
def test_more_time_is_used(kind):
    """For a larger plan, until the largest fits; on a slower machine the same answer takes more of it."""
    calls = [Call(Machine(0.1, 0.02, 0.002), kind, seed=7, max_tokens=30) for _ in range(4)]
    found = [call.run(max_time=seconds)[0][1] for call, seconds in zip(calls, (1.0, 10.0, 100.0, 1000.0), strict=True)]
    plans = [f.plan.partition(":")[0] for f in found]
    order = ["none", *(plan.name for plan in PLANS)]
    assert [order.index(plan) for plan in plans] == sorted(order.index(plan) for plan in plans)
    assert plans[-1] == PLANS[-1].name
    assert len(set(plans)) >= 3
    slower = Call(Machine(10.0, 0.02, 0.002), kind, seed=7, max_tokens=30).run(max_time=1000.0)[0][1]
    assert slower.plan.partition(":")[0] == plans[1]


def test_the_time_of_a_function_counts_in_the_plan():
    """A slow one leaves time for fewer draws."""
    fast, slow = (Call(Machine(0.01, 0.02, 0.002), "functions", seed=3, slow=slow) for slow in (0.0, 100.0))
    plans = [call.run(max_time=20.0)[0][1].plan.partition(":")[0] for call in (fast, slow)]
    assert plans[0] == PLANS[-1].name
    assert plans[1] in {"none", PLANS[0].name, PLANS[1].name}


@dataclass(frozen=True)
class Stuck(Vowels):
    """A function that returns for one text alone."""

    clock: Clock = field(default_factory=Clock)
    released: threading.Event = field(default_factory=threading.Event)

    def score(self, view, texts):
        if len(texts) > 1:
            self.clock.now += 1e6
            self.released.wait()
        return super().score(view, texts)


def test_a_function_that_does_not_return_in_time_ends_the_search():
    """With the best answer so far, and no failure: the draft was scored."""
    call = Call(Machine(0.01, 0.02, 0.002), "functions", seed=3)
    reward = Stuck(clock=call.clock)
    call.energy = replace(call.energy, terms=(RewardTerm(reward=reward, name="r"),))
    ((_, found),) = call.run(max_time=20.0)
    reward.released.set()
    assert (found.stop_reason, found.failure) == ("seconds", None)
    assert found.text == found.draft == found.before.text


# Steps that begin nothing when it is too late


def late_tracker(**limits):
    clock = Clock()
    tracker = BudgetTracker(Budget(**limits), clock=clock)
    tracker.start_refinement()
    return tracker, clock


@pytest.mark.parametrize(("seconds", "is_late"), [(0.0, False), (11.4, False), (11.5, True), (100.0, True)])
def test_an_op_begins_until_little_more_than_the_time_is_over(seconds, is_late):
    """A seventh more; then the steps are closed, and the tracker says why."""
    tracker, clock = late_tracker(max_time=10.0)
    events = []

    def steps():
        try:
            events.append((yield "first"))
            events.append((yield "second"))
        finally:
            events.append("end")

    running = stop_when_late(steps(), tracker)
    assert next(running) == "first"
    clock.now = seconds
    if is_late:
        with pytest.raises(StopIteration):
            running.send(1)
        assert (events, tracker.stop_reason) == ([1, "end"], StopReason.SECONDS)
    else:
        assert running.send(1) == "second"
        with pytest.raises(StopIteration):
            running.send(2)
        assert (events, tracker.stop_reason) == ([1, 2, "end"], StopReason.STEPS)


def test_other_limits_leave_the_decision_to_the_steps():
    """They may still write and score what they have."""
    tracker, _ = late_tracker(max_time=None, max_evaluations=1)
    tracker.evaluations = 5

    def steps():
        yield "first"

    assert list(stop_when_late(steps(), tracker)) == ["first"]


def test_errors_reach_the_steps():
    """Which may go on after them, or let them pass."""
    tracker, clock = late_tracker(max_time=10.0)

    def steps():
        with pytest.raises(MemoryError):
            yield "first"
        yield "second"

    running = stop_when_late(steps(), tracker)
    next(running)
    assert running.throw(MemoryError()) == "second"
    clock.now = 99.0
    with pytest.raises(RewardUnavailableError):
        running.throw(RewardUnavailableError("of the reward's own"))


def test_a_reward_that_is_late_before_the_end_of_the_time_has_failed():
    """Its own timeout was over, not the budget's."""
    tracker, clock = late_tracker(max_time=10.0)

    def steps():
        yield "first"

    for seconds, is_failure in ((5.0, True), (10.0, False)):
        running = stop_when_late(steps(), tracker)
        next(running)
        clock.now = seconds
        error = RewardUnavailableError("late")
        error.__cause__ = LateError()
        with pytest.raises(RewardUnavailableError if is_failure else StopIteration):
            running.throw(error)
    assert tracker.stop_reason == "seconds"


# The page and the benchmark


def test_the_page_lists_the_plans():
    """As they are."""
    page = (ROOT / "docs/tuning.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    expected = [(plan.name, plan.num_draws, plan.rounds, plan.tokens, plan.kept) for plan in PLANS]
    assert [(name, *map(int, numbers)) for name, *numbers in rows] == expected


def row(**fields):
    """A row of the benchmark."""
    plain = {"kind": "harmful", "question": "q", "seconds": 10.0, "slowdown": 1.0, "load": False, "plan": None}
    plain |= {"call": 20.0, "draft": 10.0, "longest_step": 0.5, "end": "by_itself", "text": "yes"}
    return plain | {"score_before": 0.0, "score_after": 2.0, "chosen": "tiny: …"} | fields


def test_figures_of_the_benchmark_are_counted_by_hand():
    """Each from the rows that it is about."""
    from any_machine_figures import compute_figures

    rows = [
        row(),
        row(slowdown=16.0, score_after=1.0, call=22.5),
        row(slowdown=16.0, question="other", kind="harmless", end="cut", call=40.0, longest_step=2.0),
        row(seconds=0.1, question="p", text="plain", call=11.0),
        row(seconds=0.1, question="other", text="changed"),
        row(kind="plain", question="p", text="plain", seconds=0.0),
        row(kind="plain", question="other", text="plain", seconds=0.0),
        row(load=True, end="max_tokens", call=21.0),
        row(kind="demo", question="demo", call=90.0, whole_answers=4),
        row(plan="small", call=13.0, score_after=0.5),
    ]
    found = compute_figures(rows)
    assert (found["complete"]["value"], found["complete"]["answers"]) == (0.5, 5)
    assert found["as_plain"]["value"] == 0.5
    assert (found["overshoot"]["value"], found["overshoot"]["allowed"]) == (3.0, 1.35)
    assert found["overshoot"]["within"] == pytest.approx(1 / 3)
    assert (found["gain_kept"]["value"], found["gain_kept"]["questions"]) == (0.5, 1)
    assert found["harmless_cost"]["value"] == 4.0
    assert (found["demo_seconds"]["value"], found["demo_seconds"]["whole_answers"]) == (90.0, 4)
    assert (found["complete_beside_load"]["value"], found["overshoot_beside_load"]["value"]) == (1.0, 1.1)
    assert found["worth"]["small"] == {"seconds": 3.0, "gain": {"harmful": 0.5}, "answers": 1}
    assert compute_figures([]) == {}


@pytest.mark.parametrize("sleeps", [False, True])
def test_a_slow_machine_waits_as_long_as_its_factor_says(monkeypatch, sleeps):
    """Three times as long as a call took, calls inside it apart; the wait is slept, or the clock is put forward."""
    import any_machine_clock

    clock = Clock()
    monkeypatch.setattr(any_machine_clock, "time", SimpleNamespace(monotonic=clock, sleep=clock.call))
    machine = any_machine_clock.SlowMachine(4.0, sleeps=sleeps)
    inner = machine.slow(lambda: clock.call(1.0))
    outer = machine.slow(lambda: (inner(), clock.call(1.0)))
    inner()
    assert machine.clock() == 4.0
    outer()
    assert machine.clock() == 4.0 + 8.0
    assert clock.now == (12.0 if sleeps else 3.0)


def test_a_slow_machine_slows_every_pass(monkeypatch):
    """The clock counts its own readings here. What was measured elsewhere is not known on that machine."""
    import any_machine_clock

    monkeypatch.setattr(any_machine_clock, "time", SimpleNamespace(monotonic=count().__next__))
    policy = load_model("tiny")
    before = get_speed(policy)
    with any_machine_clock.SlowMachine(1000.0).running():
        assert get_speed(policy) is not before
        prompt = policy.prompt([{"role": "user", "content": "What is 14 + 23?"}])
        (found,) = refine([prompt], energy=make_energy(policy), budget=Budget(max_time=900.0), max_new_tokens=8)
        assert get_speed(policy).is_measured
    assert get_speed(policy) is before
    assert found.draft_seconds > 999 * found.draft_tokens
    assert found.text == found.draft
    assert found.stop_reason == "seconds"
