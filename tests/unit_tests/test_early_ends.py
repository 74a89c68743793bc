"""Shorter answers that the policy could have ended with, and answers that are written beside the draft."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from doubles import END, DoublePrompt, EndlessPolicy, MarkovPolicy, PrefixReward, TokenReward, V, run, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Clock, Machine, TimedPolicy

from langchain_sea.budget import Budget, BudgetTracker, StopReason
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.protocols import SteeringVector
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.companions import make_companions
from langchain_sea.engine.drafting import Drafter
from langchain_sea.engine.early_ends import MIN_END_CHANCE, find_early_ends, find_sentence_ends
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.ops import GenerationInput, ScorePrefixesOp
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler, run_to_completion
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, CompanionConfig, LatentConfig

PROMPT = DoublePrompt("a question")
FREE = Budget(max_time=None)
PLAN = SearchPlan(groups=2, rows=4, rounds=2, tokens=3, kept=2)


class Steered(PrefixReward):
    """Has a steering vector, as the reward that is shipped."""

    steering_vector: ClassVar[SteeringVector] = SteeringVector(1, 4.0 * torch.eye(V)[4])


def make_search(companions: CompanionConfig | None) -> Any:
    config = with_fields(PRESETS["default"].search_config, temperature=1.0)
    return replace(config, plan=PLAN, latent=LatentConfig(companions=companions))


def make_energy(policy: MarkovPolicy, reward: Any, min_gain: float | None = None, **options: Any) -> Energy:
    terms = (RewardTerm(reward=reward, name="r", min_gain=min_gain),)
    return Energy(policy=policy, terms=terms, max_nll_rise=None, policy_weight=0.1, **options)


def ask(op: Any) -> Any:
    return (yield op)


def end_chance(policy: MarkovPolicy, ids: list[int]) -> float:
    return float(policy.transition[ids[-1]].softmax(-1)[END])


answers = st.lists(st.lists(st.integers(0, END - 1), min_size=1, max_size=12), min_size=1, max_size=4)


@settings(max_examples=60)
@given(seed=st.integers(0, 40), texts=answers, count=st.integers(1, 5))
def test_early_ends_are_sentences_that_the_policy_ends(seed: int, texts: list[list[int]], count: int) -> None:
    policy = MarkovPolicy(seed, spread=2.5)
    steps = find_early_ends(policy, PROMPT, texts, start=0, count=count, tracker=BudgetTracker(FREE))
    ends = run_to_completion(steps)
    expected = {
        tuple(ids[:place])
        for ids in texts
        for place in range(1, len(ids))
        if policy.decode(ids[:place]).endswith(".") and end_chance(policy, ids[:place]) >= MIN_END_CHANCE
    }
    assert len(ends) <= count
    assert {tuple(ids) for ids in ends} <= expected
    assert bool(ends) == bool(expected)
    chances = [end_chance(policy, ids) for ids in ends]
    assert chances == pytest.approx(sorted(chances, reverse=True))


def test_a_policy_that_never_ends_has_no_early_ends() -> None:
    policy = EndlessPolicy(0)
    ids = policy.encode("abc. de. f")
    steps = find_early_ends(policy, PROMPT, [ids], start=0, count=4, tracker=BudgetTracker(FREE))
    assert run_to_completion(steps) == []


def test_places_that_were_looked_at_do_not_count() -> None:
    policy = MarkovPolicy(0)
    ids = policy.encode("abc. de. f")
    assert find_sentence_ends(policy, ids, 0) == [4, 8]
    assert find_sentence_ends(policy, ids, 4) == [8]


@pytest.mark.parametrize("reward", [Steered.of("e"), TokenReward.of("e")])
@pytest.mark.parametrize("seed", range(6))
def test_companions_do_not_change_the_draft(seed: int, reward: Any) -> None:
    """Each row has random numbers of its own."""
    energy = make_energy(MarkovPolicy(seed), reward)
    with_them, without = (
        run(energy, [PROMPT], search_config=make_search(companions), budget=FREE, max_new_tokens=24, seed=seed)[0]
        for companions in (CompanionConfig(begin_tokens=2), None)
    )
    assert with_them.draft == without.draft
    assert with_them.before == without.before


class Short(EndlessPolicy):
    """Ends the answers of the first input after two tokens."""

    def _write(self, writing: Any, row: int) -> None:
        super()._write(writing, row)
        if len(writing.prefixes) == 1 and len(writing.written[0]) == 2:
            writing.alive.clear()


@pytest.mark.parametrize(("ends_with_first", "length"), [(True, 2), (False, 5)])
def test_others_end_with_the_first_input(ends_with_first: bool, length: int) -> None:  # noqa: FBT001 - a parameter
    """Nobody waits for a companion that is longer than the draft."""
    policy = Short(0)
    drafter = Drafter(policy, 1.0, generators_for(0, "x", 4, policy.device), BudgetTracker(FREE))
    inputs = [GenerationInput(PROMPT, [[1]]), GenerationInput(PROMPT, [[1], [2]])]
    (first, others), *_ = run_to_completion(drafter.write(inputs, 5, ends_with_first=ends_with_first))
    assert [len(ids) for ids in first] == [2]
    assert [len(ids) for ids in others] == [length] * 2


def begin_companions(energy: Energy, config: CompanionConfig) -> list[list[int]]:
    drafter = Drafter(energy.policy, 1.0, generators_for(0, "x", 24, energy.policy.device), BudgetTracker(FREE))
    companions = make_companions(config, drafter, energy)
    assert companions is not None
    run_to_completion(companions.begin(PROMPT))
    assert len(companions.answers) == len(companions.generators)
    return companions.answers


@pytest.mark.parametrize("seed", range(4))
def test_the_best_beginnings_are_continued(seed: int) -> None:
    """Those of the lowest energy among all that were drawn."""
    energy = make_energy(EndlessPolicy(seed), Steered.of("e"))
    config = CompanionConfig(begin_tokens=3, num_beginnings=20, count=20)
    everyone = begin_companions(energy, config)
    kept = begin_companions(energy, replace(config, count=5))

    def compute_energies(answers: list[list[int]]) -> list[float]:
        op = ScorePrefixesOp(energy, PROMPT, answers)
        return run_to_completion(ask(op))[1].energy.tolist()

    assert len(everyone) == 20
    assert compute_energies(kept) == pytest.approx(sorted(compute_energies(everyone))[:5])


class FailsOnBeginnings(Steered):
    """Cannot judge a beginning, which is shorter than a draft."""

    def prefix_values(self, view: Any) -> Any:
        if view.tokens.mask.shape[1] <= 2:
            raise ValueError("too short")
        return super().prefix_values(view)


def test_a_reward_that_fails_on_beginnings_does_not_lose_the_draft() -> None:
    energy = make_energy(EndlessPolicy(0), FailsOnBeginnings.of("e"))
    search = make_search(CompanionConfig(begin_tokens=2))
    (result,) = run(energy, [PROMPT], search_config=search, budget=FREE, max_new_tokens=12)
    assert len(energy.policy.encode(result.draft)) == 12


@pytest.mark.parametrize("longest", [1, 3, 4, 5, 9])
def test_companions_are_no_longer_than_an_answer_may_be(longest: int) -> None:
    """Not even where they begin with more tokens."""
    energy = make_energy(MarkovPolicy(2), Steered.of("e"))
    search = make_search(CompanionConfig(begin_tokens=4, max_tokens=8))
    (result,) = run(energy, [PROMPT], search_config=search, budget=FREE, max_new_tokens=longest)
    assert max(len(energy.policy.encode(candidate.text)) for candidate in result.candidates) <= longest


def test_a_good_draft_ends_the_search_before_it_begins() -> None:
    """Where no answer beside it is better by more than the rewards' noise."""
    energy = make_energy(MarkovPolicy(1), Steered.of("e"), limits=TextLimits(), min_gain=1e6)
    (result,) = run(energy, [PROMPT], search_config=make_search(CompanionConfig(begin_tokens=1)), budget=FREE)
    assert result.stop_reason is StopReason.DRAFT_IS_GOOD
    assert result.text == result.draft
    assert not result.trace


def test_without_time_companions_are_not_scored() -> None:
    """The draft is returned as it is."""
    clock = Clock()
    policy = TimedPolicy(Machine(base=1.0, row=0.0, token=0.0), clock)
    energy = make_energy(policy, Steered.of("e"))
    config = replace(make_search(CompanionConfig(begin_tokens=1)), plan=None)
    tracker = BudgetTracker(Budget(max_time=0.5), 12, clock=clock)
    generators = generators_for(0, "x", 4, policy.device)
    request = RefinementRequest(PROMPT, [], energy, PRESETS["default"].langevin, config, generators, tracker)
    scheduler = Scheduler(clock)
    scheduler.add_requests([request])
    while scheduler.requests:
        scheduler.step()
    result = request.future.result()
    assert result.text == result.draft
    assert len(result.candidates) == 1
