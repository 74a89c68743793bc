"""The search with latents: the gradient helps, no answer is cut or worse, and nothing that goes wrong ends in less."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from doubles import (
    END,
    SMALL_PLAN,
    DoublePrompt,
    EndlessPolicy,
    MarkovPolicy,
    PrefixReward,
    TokenReward,
    V,
    Vowels,
    could_end,
    run,
    with_fields,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import transformer_policy
from slow_cases import first_fast, named_fast
from troubled_rewards import Troubled, raises

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.protocols import SteeringVector
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.latent_gradient import LatentGradientOp
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler, run_to_completion
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.plans import PLANS, SearchPlan
from langchain_sea.presets import PRESETS, CompanionConfig, LatentConfig
from langchain_sea.sampling.latent import LatentSampler

PROMPTS = [DoublePrompt(f"question {i}") for i in range(8)]
FREE = Budget(max_time=None)
PLAN = SearchPlan(groups=2, rows=8, rounds=4, tokens=6, kept=2)
KINDS = [TokenReward, PrefixReward]
"""Rewards that judge draws as texts, and as beginnings."""
LOOSE = TextLimits(max_surprise_rise=50.0, max_first_surprise=50.0, max_repeat_rise=1.0)
"""Limits that leave only the noise of the rewards, and that answers end with a sentence."""


class Wordless:
    """A plain function of the text, without a gradient."""

    def score(self, view, texts):
        return torch.tensor([3.0 * text.count("e") / max(1, len(text)) for text in texts])


class Brief(MarkovPolicy):
    """Ends most answers after a few tokens."""

    def __init__(self, seed):
        super().__init__(seed)
        self.transition[:, END] += 2.5


def energy_of(*rewards, policy=None, **options):
    terms = tuple(RewardTerm(reward=reward, name=f"r{i}") for i, reward in enumerate(rewards))
    options = {"max_nll_rise": None, "policy_weight": 0.1} | options
    return Energy(policy=policy or MarkovPolicy(0), terms=terms, **options)


def search(plan=PLAN, stride=64, **latent):
    """The default preset's search with this plan and these latents, without answers beside the draft."""
    config = PRESETS["default"].search_config
    return replace(
        with_fields(config, stride=stride, temperature=1.0),
        plan=plan,
        latent=LatentConfig(**{"companions": None} | latent),
    )


def kept(found):
    """What must be equal for equal seeds: all but the time it took."""
    trace = tuple(step._replace(seconds=0.0) for step in found.trace)
    return found._replace(seconds=0.0, draft_seconds=0.0, trace=trace)


def is_not_worse(energy, prompt, found):
    before, after = (-energy.evaluate_texts(prompt, [found.draft, found.text]).energy).tolist()
    return after >= before - 1e-5 * (1 + abs(before))


# The gradient


def test_the_gradient_is_that_of_the_expected_energy():
    """On a policy whose answers can be enumerated: by the exact gradient of E[−E] in the latent."""
    policy, prompt, length = EndlessPolicy(3), PROMPTS[0], 2
    values = torch.randn(END, END, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    texts = list(itertools.product(range(END), repeat=length))
    latent = 0.3 * torch.randn(1, V, generator=torch.Generator().manual_seed(2))

    def log_probs(z):
        first = (policy.first(prompt) + z @ policy.transition)[:END].log_softmax(-1)
        second = (policy.transition[:END] + z @ policy.transition)[:, :END].log_softmax(-1)
        return first[:, None] + second

    exact = latent[0].clone().requires_grad_()
    (log_probs(exact).exp() * -values).sum().backward()

    # answers as often as the policy draws them under the latent
    shares = log_probs(latent[0]).exp().flatten()
    drawn = torch.multinomial(shares, 60_000, replacement=True, generator=torch.Generator().manual_seed(3)).tolist()
    op = LatentGradientOp(
        policy=policy,
        prompt=prompt,
        answers=[list(texts[i]) for i in drawn],
        num_known=0,
        latents=latent,
        layer=1,
        temperature=1.0,
        energies=values.flatten()[drawn].float(),
        nll=torch.zeros(len(drawn)),
        divergence_weight=0.0,
        advantages=LatentSampler(normalize=False).advantages,
    )

    def steps():
        return (yield op)

    found = run_to_completion(steps()).gradient[0]
    assert torch.nn.functional.cosine_similarity(found, exact.grad.float(), dim=0) > 0.97
    assert float(found.norm() / exact.grad.norm()) == pytest.approx(1, abs=0.1)


def test_the_divergence_is_that_of_draws_from_the_policy():
    """Zero without a latent; with one, the mean of what its log-probability gained, per token."""
    policy, prompt = EndlessPolicy(3), PROMPTS[0]
    answers = [[1, 2, 3], [4, 5, 6]]
    energy = energy_of(policy=policy)
    (nll,) = [energy.evaluate_texts(prompt, [policy.decode(ids) for ids in answers]).nll]
    for size in (0.0, 0.5):
        op = LatentGradientOp(
            policy, prompt, answers, 0, torch.full((1, V), size), 1, 1.0, torch.zeros(2), nll, 0.0, LatentSampler().advantages
        )  # fmt: skip

        def steps(op=op):
            return (yield op)

        divergence = run_to_completion(steps()).divergence
        assert (abs(float(divergence)) < 1e-5) == (size == 0)


@pytest.mark.parametrize("reward", first_fast([TokenReward.of("e", 3.0), PrefixReward.of("e", 3.0), Wordless()]))
def test_the_gradient_lowers_the_energy_of_the_draws(reward):
    """From the first round to the last, and below what no step and random steps reach, over eight prompts."""
    energy = energy_of(reward)

    def rounds(update):
        found = run(energy, PROMPTS, search_config=search(update=update), budget=FREE, max_new_tokens=6)
        assert all(len(f.trace) == PLAN.rounds for f in found)
        return [sum(sum(f.trace[number].energy) for f in found) / (2 * len(found)) for number in (0, PLAN.rounds - 1)]

    first, last = rounds("gradient")
    _, still = rounds("none")
    _, walked = rounds("random")
    spread = abs(first)
    assert last < first - 0.1 * spread
    assert last < min(still, walked) - 0.05 * spread


def test_a_latent_keeps_to_its_radius():
    """However many steps it takes; the first group starts at zero, the second along what the draws have shown."""
    sampler = LatentSampler(step_size=2.0, max_norm=0.9)
    found = run(energy_of(TokenReward.of("e")), PROMPTS, search_config=search(sampler=sampler), budget=FREE)
    norms = [step.latent_norm for f in found for step in f.trace]
    assert max(map(max, norms)) == pytest.approx(0.9, rel=1e-4)
    assert {f.trace[0].latent_norm for f in found} == {(0.0, 0.0)}


def test_a_steering_vector_is_where_the_groups_start():
    """The first at zero, the second at its share of the vector; the draws show the difference."""

    class Steered(PrefixReward):
        steering_vector = SteeringVector(1, 5.0 * torch.eye(V)[4])

    energy = energy_of(Steered.of("e"), policy=EndlessPolicy(0))
    config = search(SearchPlan(groups=3, rows=2, rounds=1, tokens=4), starts=(0.0, -0.5), starts_without_vector=(0.9,))
    (found,) = run(energy, PROMPTS[:1], search_config=config, budget=FREE)
    assert found.trace[0].latent_norm == pytest.approx((0.0, 0.5, 0.0))


def test_the_spread_is_that_of_draws_without_a_latent():
    """Not that of a group whose latent leaves the policy no choice."""

    class Steered(PrefixReward):
        steering_vector = SteeringVector(1, 200.0 * torch.eye(V)[4])

    config = search(SearchPlan(groups=2, rows=8, rounds=1, tokens=4), starts=(0.9, 0.0))
    request = RefinementRequest(
        prompt=PROMPTS[0],
        drafts=[],
        energy=energy_of(Steered.random(0), policy=EndlessPolicy(0)),
        langevin=PRESETS["default"].langevin,
        search_config=config,
        generators=generators_for(0, "x", 16, torch.device("cpu")),
        tracker=BudgetTracker(FREE, 8),
    )
    found = run_to_completion(request.steps())
    assert len(found.trace) == 1
    assert request._candidates.best.spread > 0.1


@pytest.mark.parametrize("update", ["gradient", "random", "aisp", "none"])
def test_updates_take_steps_of_their_own(update):
    """Only a gradient reads the draws once more; `none` leaves the latents at their start."""
    (found,) = run(energy_of(TokenReward.of("e")), PROMPTS[:1], search_config=search(update=update), budget=FREE)
    assert found.steps == (PLAN.rounds - 1 if update in {"gradient", "random"} else 0)
    assert (found.refine_tokens > 0) == (update == "gradient")
    starts = {step.latent_norm for step in found.trace[1:]}
    assert (len(starts) == 1) == (update == "none")


@pytest.mark.parametrize(
    "reward", first_fast([Wordless(), PrefixReward.of("e", 3.0), TokenReward.of("e", 3.0), Vowels()], 2)
)
def test_every_reward_is_raised(reward):
    """A plain function too: most prompts get a better answer, and none a worse one."""
    energy = energy_of(reward)
    found = run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=12)
    assert sum(f.accepted for f in found) >= 6
    assert all(is_not_worse(energy, prompt, f) for prompt, f in zip(PROMPTS, found, strict=True))


# The same seed


@pytest.mark.parametrize("kind", named_fast(KINDS, {PrefixReward}))
def test_the_same_seed_and_plan_give_the_same_answer(kind):
    """Twice, and two of eight prompts also alone; another seed gives another draft."""
    energy = energy_of(kind.random(1), policy=Brief(1), limits=LOOSE)
    options = {"search_config": search(SMALL_PLAN, stride=4), "budget": Budget(), "max_new_tokens": 12}
    together = [kept(found) for found in run(energy, PROMPTS, **options)]
    assert [kept(found) for found in run(energy, PROMPTS[::-1], **options)] == together[::-1]
    for index in (0, 5):
        (alone,) = run(energy, [PROMPTS[index]], **options)
        assert kept(alone) == together[index]
    assert any(found.accepted for found in together)
    other = run(energy, PROMPTS, seed=1, **options)
    assert sum(a.draft != b.draft for a, b in zip(together, other, strict=True)) > 4


@pytest.mark.parametrize("architecture", first_fast(["llama", "gpt2"]))
def test_a_transformers_answer_is_the_same_in_a_batch(architecture):
    """To the last bit, where latents go into the middle of the network and answers have several windows."""
    policy = transformer_policy(architecture)
    energy = energy_of(PrefixReward.random(1, policy.vocab_size), policy=policy)
    prompts = [policy.prompt([{"role": "user", "content": "why " * (1 + i % 4) + str(i)}]) for i in range(2)]
    options = {"search_config": search(SMALL_PLAN, stride=5), "budget": FREE, "max_new_tokens": 11}
    together = run(energy, prompts, **options)
    assert any(found.accepted for found in together)
    assert any(step.latent_norm[1] > 0 for found in together for step in found.trace)
    for prompt, expected in zip(prompts, together, strict=True):
        (alone,) = run(energy, [prompt], **options)
        assert kept(alone) == kept(expected)


def test_a_plan_that_is_asked_for_knows_no_time():
    """The budget's time may be over at once: the answer is that of unlimited time."""
    energy = energy_of(TokenReward.of("e"))
    options = {"search_config": search(SMALL_PLAN), "max_new_tokens": 9}
    hurried = run(energy, PROMPTS, budget=Budget(max_time=1e-9), **options)
    free = run(energy, PROMPTS, budget=FREE, **options)
    assert [kept(found) for found in hurried] == [kept(found) for found in free]
    assert {found.plan.partition(":")[0] for found in free} == {"custom"}
    assert "asked for" in free[0].plan


# Windows


def starts(found):
    """How many windows were searched."""
    return [step.step for step in found.trace].count(0)


@pytest.mark.parametrize("kind", named_fast(KINDS, {PrefixReward}))
def test_a_long_answer_is_refined_window_by_window(kind):
    """Each begins where the one before ended; the search ends with the first window that brings nothing."""
    energy = energy_of(kind.of("e", 9.0), policy=EndlessPolicy(0), policy_weight=0.0)
    found = run(energy, PROMPTS, search_config=search(SMALL_PLAN, stride=6), budget=FREE, max_new_tokens=24)
    assert max(map(starts, found)) == 4
    assert {len(f.ids) for f in found} == {24}
    long = [f for f in found if starts(f) >= 3]
    one = run(energy, PROMPTS, search_config=search(SMALL_PLAN, stride=64), budget=FREE, max_new_tokens=24)
    assert {starts(f) for f in one} == {1}
    gains = [[f.after.score - f.before.score for f in group] for group in (long, one)]
    assert sum(gains[0]) / len(gains[0]) > sum(gains[1]) / len(gains[1])


def test_draws_of_a_later_window_have_directions_without_a_vector():
    """The prompt then has tokens of the answer, which were read without the states that latents are added to."""
    policy = transformer_policy("llama")
    prompts = [policy.prompt([{"role": "user", "content": f"why {i}"}]) for i in range(4)]
    options = {"search_config": search(SMALL_PLAN, stride=5), "budget": FREE, "max_new_tokens": 15}
    results = run(energy_of(Wordless(), policy=policy), prompts, **options)
    assert all(result.failure is None for result in results)
    later = [result.trace[i:] for result in results for i, step in enumerate(result.trace) if step.step == 0 and i]
    assert later
    assert any(step.latent_norm[1] > 0 for window in later for step in window)


# Limits


class Clock:
    """Stands still unless it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


class Timed(MarkovPolicy):
    """Its passes take a time of their own on a clock that it moves. It remembers which answers were whole."""

    def __init__(self, seed, clock, *, base, per_row, longest):
        super().__init__(seed)
        self.clock, self.base, self.per_row, self.longest = clock, base, per_row, longest
        self.whole, self.longest_pass = set(), 0.0

    def _spend(self, rows):
        seconds = self.base + self.per_row * rows
        self.clock.now += seconds
        self.longest_pass = max(self.longest_pass, seconds)

    def generate_step(self, writings):
        self._spend(sum(writing.num_unfinished for writing in writings))
        before = [(writing, row, len(writing.written[row])) for writing in writings for row in writing.alive]
        super().generate_step(writings)
        for writing, row, length in before:
            answer = (*writing.prompt.answer, *writing.prefixes[row], *writing.written[row])
            if len(writing.written[row]) == length or len(answer) == self.longest:
                self.whole.add(answer)

    def forward_all(self, asks):
        self._spend(sum(ask.tokens.mask.numel() for ask in asks) / 4)
        return super().forward_all(asks)


def timed(seed, *, base, per_row, seconds, timeout=None, kind=TokenReward, longest=12, stride=5, rows=1):
    """A refinement on a machine of that speed, and its policy. Nothing else takes any time."""
    clock = Clock()
    policy = Timed(seed % 50, clock, base=base, per_row=per_row, longest=longest)
    energy = energy_of(kind.random(seed), policy=policy, limits=TextLimits(min_gain_spreads=0.0))
    config = with_fields(replace(PRESETS["default"].search_config, plan=None), stride=stride)
    requests = [
        RefinementRequest(
            prompt=prompt,
            drafts=[],
            energy=energy,
            langevin=PRESETS["default"].langevin,
            search_config=config,
            generators=generators_for(seed, prompt.key, 16, policy.device),
            tracker=BudgetTracker(Budget(max_time=seconds), longest, timeout, clock),
        )
        for prompt in PROMPTS[:rows]
    ]
    scheduler = Scheduler(clock)
    scheduler.add_requests(requests)
    while scheduler.requests:
        scheduler.step()
    return [request.future.result() for request in requests], policy, energy


def cut_texts(found, policy):
    """Candidates that the policy neither ended nor could have, and that are no whole sentences of the longest answer."""
    ids = [tuple(policy.encode(text.text)) for text in found.candidates]
    full = [answer for answer in policy.whole if len(answer) == policy.longest]

    def is_sentence(answer):
        return policy.decode(answer).endswith(".") and any(each[: len(answer)] == answer for each in full)

    return [
        policy.decode(answer)
        for answer in ids
        if answer not in policy.whole and not is_sentence(answer) and not could_end(policy, answer)
    ]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.fixed_dictionaries(
        {
            "base": st.floats(1e-4, 1.0),
            "per_row": st.floats(0.0, 0.1),
            "seconds": st.floats(0.01, 60.0),
            "kind": st.sampled_from(KINDS),
            "rows": st.sampled_from([1, 1, 3]),
        }
    ),
)
def test_whatever_the_speed_the_answer_is_whole_never_worse_and_in_time(seed, options):
    """On a machine of any speed: the limit of time may be over at any moment."""
    refinements, policy, energy = timed(seed, **options)
    for prompt, found in zip(PROMPTS, refinements, strict=False):
        assert found.failure is None
        assert cut_texts(found, policy) == []
        draft = tuple(policy.encode(found.draft))
        assert draft in policy.whole
        has_ended = found.ids in policy.whole and len(found.ids) < policy.longest
        assert found.is_complete or not has_ended
        assert has_ended or could_end(policy, found.ids) or not found.is_complete
        took = found.seconds - found.draft_seconds
        # beside other requests, a step has two passes: one that writes, and one that reads
        longest_step = policy.longest_pass * min(2, len(refinements))
        assert took <= 1.15 * options["seconds"] + 2 * longest_step + 1e-3
        assert is_not_worse(energy, prompt, found)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 30.0))
def test_the_timeout_ends_the_call_at_any_moment(seed, timeout):
    """With the draft as far as it is written, or with the best so far."""
    (found,), policy, _ = timed(seed, base=0.1, per_row=0.001, seconds=20.0, timeout=timeout)
    assert found.seconds <= timeout + 2 * policy.longest_pass
    assert cut_texts(found, policy) == []
    draft_is_whole = tuple(policy.encode(found.draft)) in policy.whole
    if not draft_is_whole:
        assert (found.text, found.stop_reason, found.is_complete) == (found.draft, "timeout", False)
        assert found.candidates == ()


@pytest.mark.slow
def test_a_faster_machine_searches_more():
    """The plan follows from the speed, and says so."""
    plans = []
    for factor in (1e-4, 1e-2, 0.05, 0.1, 10.0):
        (found,), _, _ = timed(3, base=factor, per_row=factor / 30, seconds=10.0, longest=30, stride=64)
        plans.append((found.plan or "none").partition(":")[0])
    names = ["none", *(plan.name for plan in PLANS)]
    order = [names.index(plan) for plan in plans]
    assert order == sorted(order, reverse=True)
    assert (order[0], order[-1]) == (len(PLANS), 0)
    assert len(set(order)) >= 3


@pytest.mark.parametrize("kind", first_fast(KINDS))
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_steps_end_it(kind, steps):
    """Zero draws and ranks; the latents never take more."""
    energy = energy_of(kind.of("e"), policy=MarkovPolicy(1))
    for found in run(energy, PROMPTS, search_config=search(), budget=replace(FREE, max_steps=steps), max_new_tokens=6):
        assert (found.steps, found.stop_reason) == (steps, "steps")
        assert len(found.trace) == steps + 1
        assert len(found.candidates) > 1
        assert (found.refine_tokens > 0) == (steps > 0)


@pytest.mark.parametrize("kind", first_fast(KINDS))
def test_evaluations_end_it(kind):
    """After the draft alone, or after the round in which the limit is reached."""
    energy = energy_of(kind.of("e"), policy=EndlessPolicy(0))
    for limit in (1, 2, 30, 60):
        budget = replace(FREE, max_evaluations=limit)
        for found in run(energy, PROMPTS, search_config=search(), budget=budget, max_new_tokens=6):
            assert found.stop_reason == "evaluations"
            assert limit <= found.evaluations <= limit + PLAN.num_draws + PLAN.kept
            assert (
                len(found.trace) == (0 if limit == 1 else math.ceil((limit - 1) / PLAN.num_draws))
                or kind is TokenReward
            )


@pytest.mark.parametrize("is_good", [True, False])
def test_a_good_draft_is_left_alone(is_good):
    """Where nothing that was drawn beats it by more than the reward's noise, the search ends early.

    A draft that the reward finds worse than an average answer is searched on.
    """
    term = RewardTerm(reward=TokenReward.of("e"), name="e", min_gain=100.0, center=-9.0 if is_good else 9.0)
    energy = replace(energy_of(limits=TextLimits()), terms=(term,))
    for found in run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=6):
        assert not found.accepted
        assert (len(found.trace) < PLAN.rounds) == is_good
        if is_good:
            assert (found.stop_reason, len(found.candidates)) == ("draft_is_good", 1)


def test_a_gain_below_the_noise_is_not_accepted():
    """What is accepted gains at least so much, by what the reward says or by the spread of the policy's own draws."""
    reward = TokenReward.of("e", 3.0)
    for min_gain, limits in ((1.5, LOOSE), (None, replace(LOOSE, min_gain_spreads=2.0))):
        term = RewardTerm(reward=reward, name="e", min_gain=min_gain, center=-9.0)  # every draft is a good one
        energy = replace(energy_of(policy=Brief(0), limits=limits), terms=(term,))
        results = run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=16)
        gains = [result.after.score - result.before.score for result in results if result.accepted]
        assert gains
        assert min(gains) >= (min_gain or 0.5)


# What goes wrong


class Silent(MarkovPolicy):
    """Ends at once."""

    def generate_step(self, writings):
        for writing in writings:
            writing.alive.clear()


class Reticent(MarkovPolicy):
    """Every other answer that it is asked for beside others is empty."""

    def generate_step(self, writings):
        for writing in writings:
            if len(writing.prefixes) > 1:
                writing.alive = [row for row in writing.alive if row % 2 or writing.prefixes[row]]
        super().generate_step(writings)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_draw_the_draft_is_the_answer(kind):
    """With nothing to move nothing is moved, and it is said why."""
    (found,) = run(energy_of(kind.random(0), policy=Silent(0)), PROMPTS[:1], search_config=search(), budget=FREE)
    assert (found.text, found.ids, found.stop_reason, found.trace) == ("", (), "empty", ())


@pytest.mark.parametrize("kind", first_fast(KINDS))
@pytest.mark.parametrize("companions", [None, CompanionConfig()])
def test_empty_draws_are_no_answers(kind, companions):
    """They do not count, and the others do; also beside the draft."""
    energy = energy_of(kind.of("e", 3.0), policy=Reticent(0))
    config = search(SMALL_PLAN, stride=4, companions=companions)
    found = run(energy, PROMPTS, search_config=config, budget=FREE, max_new_tokens=9)
    assert any(f.accepted for f in found)
    assert all(text.text for f in found for text in f.candidates)
    assert all(math.isfinite(energy) for f in found for step in f.trace for energy in step.energy)
    assert {f.failure for f in found} == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_draws_in_a_later_window_may_all_be_empty(kind):
    """The policy ends every answer after its first window: what is best stays."""

    class Closed(MarkovPolicy):
        def generate_step(self, writings):
            for writing in writings:
                if writing.prompt.answer:
                    writing.alive.clear()
            super().generate_step(writings)

    energy = energy_of(kind.of("e", 3.0), policy=Closed(0))
    found = run(energy, PROMPTS, search_config=search(SMALL_PLAN, stride=4), budget=FREE, max_new_tokens=9)
    assert {f.failure for f in found} == {None}
    assert any(f.stop_reason == "empty" for f in found)
    assert all(is_not_worse(energy, prompt, f) for prompt, f in zip(PROMPTS, found, strict=True))


def test_equal_draws_have_no_direction():
    """Nothing to climb: the draft stays, and no number is made up."""
    energy = energy_of(TokenReward(torch.zeros(V)), policy_weight=0.0)
    for found in run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=6):
        assert not found.accepted
        assert found.steps == 0
        assert found.failure is None


def test_a_policy_alone_is_searched_too():
    """Without any reward the energy is the policy's own."""
    energy = energy_of(policy_weight=1.0)
    found = run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=6)
    assert all(f.failure is None and f.after.nll <= f.before.nll for f in found)
    assert any(f.accepted for f in found)


def test_what_is_not_finite_counts_nothing():
    """Beginnings with no number are left out, and the others are climbed."""

    class Picky(PrefixReward):
        def score_soft(self, view):
            odd = view.tokens.ids[:, 0] % 2 == 0
            return super().score_soft(view) + torch.where(odd, torch.nan, 0.0)

        def score(self, view, texts):
            return TokenReward.score_soft(self, view)

    for found in run(energy_of(Picky.of("e", 3.0)), PROMPTS, search_config=search(), budget=FREE, max_new_tokens=6):
        assert found.failure is None
        assert all(math.isfinite(energy) for step in found.trace for energy in step.energy)
        assert all(ids % 2 for text in found.candidates[1:] for ids in energy_of().policy.encode(text.text)[:1])


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("where", ["score", "score_soft"])
def test_a_reward_that_raises_gives_the_draft(at, where):
    """Scored, if that was before it failed; and the error is named."""
    trouble = Troubled(raises(KeyError("x")), where=where, at=at, scores_prefixes=where == "score_soft")
    (found,) = run(energy_of(trouble), PROMPTS[:1], search_config=search(), budget=FREE, max_new_tokens=6)
    assert isinstance(found.failure, RewardUnavailableError)
    assert "'r0' failed" in str(found.failure)
    assert (found.text, found.accepted, found.stop_reason) == (found.draft, False, "reward_unavailable")
    assert (found.before is None) == (at == 0 and where == "score")


def pushed_rows(asks):
    """Rows of a pass in which a gradient in latents is taken."""
    return sum(len(ask.tokens.mask) for ask in asks if ask.steering and ask.steering.vectors.requires_grad)


class Narrow(MarkovPolicy):
    """Has memory for the gradient of so many draws at a time."""

    def __init__(self, seed, rows):
        super().__init__(seed)
        self.rows, self.passes = rows, []

    def forward_all(self, asks):
        rows = pushed_rows(asks)
        if rows > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.passes += [rows] if rows else []
        return super().forward_all(asks)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_does_not_fit_is_computed_in_pieces(kind):
    """A group at a time: the answer is the same, and the report says that memory was short."""
    energies = [energy_of(kind.of("e", 3.0), policy=policy) for policy in (MarkovPolicy(0), Narrow(0, PLAN.rows))]
    options = {"search_config": search(), "budget": FREE, "max_new_tokens": 6}
    for prompt in PROMPTS[:3]:
        (expected,), (found,) = (run(energy, [prompt], **options) for energy in energies)
        assert (found.text, found.stop_reason, found.failure) == (expected.text, "out_of_memory", None)
        assert found.steps == expected.steps == PLAN.rounds - 1
    assert set(energies[1].policy.passes) == {PLAN.rows}


@pytest.mark.parametrize("kind", first_fast(KINDS))
def test_without_memory_for_a_gradient_the_latents_stay(kind):
    """The draws go on where they started, and the best of them is the answer."""
    energy = energy_of(kind.of("e", 3.0), policy=Narrow(0, 0))
    found = run(energy, PROMPTS, search_config=search(), budget=FREE, max_new_tokens=6)
    assert {(f.stop_reason, f.failure, f.steps) for f in found} == {("out_of_memory", None, 0)}
    assert {len(f.trace) for f in found} == {PLAN.rounds}
    assert sum(f.accepted for f in found) >= 4


class Few(MarkovPolicy):
    """Reads so many rows at a time, and writes as many."""

    def __init__(self, seed, rows):
        super().__init__(seed)
        self.rows = rows

    def forward_all(self, asks):
        if sum(len(ask.tokens.mask) for ask in asks) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward_all(asks)

    def generate_step(self, writings):
        if sum(len(writing.prefixes) for writing in writings) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().generate_step(writings)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_that_do_not_fit_are_written_and_read_in_pieces(kind):
    """With memory for four rows of thirty-two there is an answer, and none is worse than its draft."""
    energy = energy_of(kind.of("e", 3.0), policy=Few(0, PLAN.rows))
    found = run(energy, PROMPTS[:3], search_config=search(), budget=FREE, max_new_tokens=6)
    assert {(f.stop_reason, f.failure) for f in found} == {("out_of_memory", None)}
    energy = replace(energy, policy=MarkovPolicy(0))
    assert all(is_not_worse(energy, prompt, f) for prompt, f in zip(PROMPTS, found, strict=False))
    assert any(f.accepted for f in found)
