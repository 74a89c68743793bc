"""Answers beside the draft where no reward has a steering vector, and where the policy may reason."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from doubles import END, DoublePrompt, MarkovPolicy, TokenReward
from machines import Clock, Machine, TimedPolicy

from langchain_sea import Budget, SEAChatModel
from langchain_sea.budget import BudgetTracker, StopReason
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.candidates import Candidates
from langchain_sea.engine.companions import make_companions
from langchain_sea.engine.draft_writer import DraftWriter
from langchain_sea.engine.drafting import Drafter
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.reasoning import ReasoningConfig
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import Scheduler, run_to_completion
from langchain_sea.engine.selection import BestSoFar
from langchain_sea.engine.speed_model import get_speed
from langchain_sea.presets import PRESETS, CompanionConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.engine.selection import Refinement

PROMPT = DoublePrompt("a question")
CONFIG = CompanionConfig(count=5)
FREE = Budget(max_time=None)
NEVER = ReasoningConfig(tags=(((99,), (98,)),), is_open=False, max_tokens=None, extend=lambda _: PROMPT)
"""Of a policy that may mark reasoning, but writes none."""


def make_energy(policy: MarkovPolicy, limits: TextLimits | None = None) -> Energy:
    term = RewardTerm(reward=TokenReward.random(3), name="r")
    return Energy(policy=policy, terms=(term,), max_nll_rise=None, policy_weight=0.1, limits=limits)


def refine_together(
    policy: MarkovPolicy,
    seeds: Sequence[int],
    *,
    reasoning: ReasoningConfig | None = None,
    limits: TextLimits | None = None,
    count: int = 5,
    row_seconds: float = 0.0,
    plan: str | None = None,
    max_time: float = 3.5,
) -> list[Refinement]:
    """What is there beside the drafts of these requests: on this clock there is time to judge answers, and for no plan.

    Args:
        policy: whose answers never end by themselves here.
        seeds: one for each request.
        reasoning: how the policy marks reasoning.
        limits: on answers.
        count: of the answers beside each draft.
        row_seconds: that a pass takes longer for each row.
        plan: by name.
        max_time: of the refinements, in seconds.
    """
    clock = Clock()
    config = PRESETS["default"].search_config
    assert config.latent is not None
    companions = None if count == 0 else replace(CONFIG, count=count)
    config = replace(config, latent=replace(config.latent, companions=companions), plan=plan)
    timed = TimedPolicy(Machine(base=1.0, row=row_seconds, token=0.0), clock, 0)
    timed.transition = policy.transition.clone()
    timed.transition[:, END:] = -1e4  # no answer ends by itself: all reach the longest length
    for rows in (1, 6, 16, 96):
        get_speed(timed).record_decode(rows, 1.0 + row_seconds * rows)
    requests = [
        RefinementRequest(
            PROMPT,
            [],
            make_energy(timed, limits),
            PRESETS["default"].langevin,
            config,
            generators_for(seed, "x", 24, policy.device),
            BudgetTracker(Budget(max_time=max_time), 12, clock=clock),
            reasoning=reasoning,
        )
        for seed in seeds
    ]
    scheduler = Scheduler(clock)
    scheduler.add_requests(requests)
    while scheduler.requests:
        scheduler.step()
    return [request.future.result() for request in requests]


def refine_without_plan(policy: MarkovPolicy, seed: int, **options: Any) -> Refinement:
    """One request alone."""
    (refinement,) = refine_together(policy, [seed], **options)
    return refinement


def test_without_a_vector_they_are_drafts_from_generators_of_their_own() -> None:
    """Nothing is written before the draft."""
    policy = MarkovPolicy(0)
    drafter = Drafter(policy, 1.0, generators_for(0, "x", 24, policy.device), BudgetTracker(FREE, 6))
    companions = make_companions(CONFIG, drafter, make_energy(policy))
    assert companions is not None
    run_to_completion(companions.begin(PROMPT))
    beside = companions.next_input(PROMPT)
    assert companions.answers == [[]] * 5
    assert (beside.steering, beside.temperature_scale, beside.max_new_tokens) == (None, 1.0, 6)
    assert list(beside.generators) == list(drafter.generators[1:6])


class TwoTokens(MarkovPolicy):
    """All answers are of one length, as those to sums often are."""

    def __init__(self) -> None:
        super().__init__(0)
        self.transition = torch.full_like(self.transition, -1e4)
        self.transition[:5, 5:9] = 0.0
        self.transition[5:, END] = 0.0

    def first(self, _prompt: DoublePrompt) -> torch.Tensor:
        return torch.where(torch.arange(len(self.transition)) < 5, 0.0, -1e4)


def test_those_that_end_with_the_draft_have_ended() -> None:
    """Their last id is as far from the beginning as the draft's."""
    policy = TwoTokens()
    tracker = BudgetTracker(FREE, 8)
    drafter = Drafter(policy, 1.0, generators_for(0, "x", 24, policy.device), tracker)
    energy = make_energy(policy)
    companions = make_companions(CONFIG, drafter, energy)
    assert companions is not None
    writer = DraftWriter(PROMPT, drafter, Candidates(BestSoFar(energy, PROMPT, tracker), ()), None, companions)
    (draft,) = run_to_completion(writer.write_drafts(1))
    assert [len(ids) for ids in (draft, *companions.answers)] == [2] * 6
    assert companions.has_ended == [True] * 5


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_them_is_the_answer_where_no_plan_fits(seed: int) -> None:
    """The draft stays what it is without them."""
    policy = MarkovPolicy(seed, spread=0.5)
    result, alone = refine_without_plan(policy, seed), refine_without_plan(policy, seed, count=0)
    assert result.stop_reason is StopReason.SECONDS
    assert (result.draft, len(alone.candidates)) == (alone.draft, 1)
    assert len(result.candidates) == 6
    assert result.after is not None
    assert result.after.score == max(candidate.score for candidate in result.candidates)


def test_some_of_them_win() -> None:
    policies = [(MarkovPolicy(seed, spread=0.5), seed) for seed in range(8)]
    assert sum(refine_without_plan(policy, seed).accepted for policy, seed in policies) >= 4


@pytest.mark.parametrize("seed", range(8))
def test_a_gain_within_the_spread_of_drafts_is_noise(seed: int) -> None:
    """The scores of plain drafts say how much an answer must gain, before the first of them is offered."""
    limits = TextLimits(max_surprise_rise=99, max_first_surprise=99, max_repeat_rise=1, min_gain_spreads=1.5)
    policy = MarkovPolicy(seed, spread=0.5)
    result = refine_without_plan(policy, seed, limits=limits)
    assert result.before is not None
    assert result.after is not None
    spread = statistics.pstdev(candidate.score for candidate in result.candidates)
    gain = max(candidate.score for candidate in result.candidates) - result.before.score
    assert result.accepted == (gain > 1.5 * spread)


@pytest.mark.parametrize("seed", range(4))
def test_a_policy_that_may_reason_gets_them_too(seed: int) -> None:
    policy = MarkovPolicy(seed, spread=0.5)
    result, plain = refine_without_plan(policy, seed, reasoning=NEVER), refine_without_plan(policy, seed)
    assert [candidate.text for candidate in result.candidates] == [candidate.text for candidate in plain.candidates]
    assert len(result.candidates) > 1


@pytest.mark.parametrize("seed", range(4))
def test_reasoning_ends_them(seed: int) -> None:
    """They were written without it. What begins with reasoning by its prompt gets none."""
    policy = MarkovPolicy(seed, spread=0.5)
    draft = policy.encode(refine_without_plan(policy, seed).draft)
    thinks = replace(NEVER, tags=(((draft[0],), (draft[1],)),))
    assert len(refine_without_plan(policy, seed, reasoning=thinks).candidates) == 1
    assert len(refine_without_plan(policy, seed, reasoning=replace(NEVER, is_open=True)).candidates) == 1


@pytest.mark.parametrize(("row_seconds", "num_answers"), [(0.0, 6), (0.03, 1)])
def test_a_batch_has_none_where_they_would_take_too_long(row_seconds: float, num_answers: int) -> None:
    """They may at most double the time of the drafts: on a CPU the time of a large batch grows with its rows."""
    policy = MarkovPolicy(0, spread=0.5)
    speed = {"row_seconds": row_seconds, "max_time": 8.0}
    assert {len(result.candidates) for result in refine_together(policy, range(16), **speed)} == {num_answers}
    assert len(refine_without_plan(policy, 0, **speed).candidates) > 1


def test_with_a_plan_they_do_not_depend_on_the_speed_of_the_machine() -> None:
    policy = MarkovPolicy(0, spread=0.5)
    slow, fast = (refine_together(policy, range(16), row_seconds=row, plan="tiny") for row in (0.03, 0.0))
    assert [result.text for result in slow] == [result.text for result in fast]
    assert all(len(result.candidates) >= 6 for result in slow)


@dataclass(frozen=True)
class Length:
    """Judges texts, without a gradient."""

    def score(self, view: Any, texts: Any) -> Any:
        return view.tokens.mask.sum(-1).float()


def test_a_chat_model_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy may mark reasoning, as nearly all may; with a function as the reward."""
    monkeypatch.setattr("langchain_sea.engine.refinement.LatentRefiner.steps", lambda _self: iter(()))
    model = SEAChatModel(model="tiny", rewards=[Length()], max_tokens=12, temperature=1.5)
    assert len(model.refinement("What is 14 + 23?").candidates) > 1
