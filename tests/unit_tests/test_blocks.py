"""Long answers, block by block: the work is linear in the length, never worse, and the same in a batch."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from doubles import AdditiveReward, DoublePrompt, EndlessPolicy, TokenReward, run, shrunk
from random_cases import broken_promises, random_case, refined, transformer_policy
from slow_cases import first_fast

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward

PROMPTS = [DoublePrompt(f"question {i}") for i in range(6)]


class Endless(EndlessPolicy):
    """Keeps how many positions each forward read."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.read_positions, self.written, self.began = 0, 0, []

    def forward(self, prompt, tokens, *latent):
        self.read_positions += len(tokens.soft) * (tokens.soft.shape[1] - len(prompt.answer))
        return super().forward(prompt, tokens, *latent)

    def start_generation(self, prompt, prefixes, **options):
        self.began += [len(prefix) for prefix in prefixes]
        return super().start_generation(prompt, prefixes, **options)


def long(policy, tokens, *, stride=6, **options):
    """Refinements of long answers with short blocks that chains move."""
    energy = Energy(policy=policy, terms=(RewardTerm(reward=TokenReward.of("e", 3.0), name="e"),), max_nll_rise=None)
    _, search_config = shrunk("default", stride=stride, latent=None)
    return run(
        energy, PROMPTS[:2], search_config=search_config, budget=Budget(max_time=None), max_new_tokens=tokens, **options
    )


@pytest.mark.parametrize("tokens", [6, 7, 9, 10, 24, 50])
def test_an_answer_of_any_length_is_whole(tokens):
    """Every block but the last is as long as the stride; draft and answer have all the tokens."""
    for found in long(Endless(), tokens):
        assert len(found.draft) == len(found.ids) == tokens
        assert found.after.score >= found.before.score


def test_chains_run_in_every_block():
    """Chains start once for each block, and raise a reward that any token can raise."""
    (short, _), (whole, _) = long(Endless(), 6), long(Endless(), 30)
    starts = [step.step for step in whole.trace].count(0)
    assert (starts, [step.step for step in short.trace].count(0)) == (5, 1)
    assert whole.after.rewards["e"] > 2 * short.after.rewards["e"]


@pytest.mark.parametrize(
    ("kinds", "additive_stride", "walks"),
    [([AdditiveReward], 6, 5), ([TokenReward], 6, 1), ([AdditiveReward, TokenReward], 6, 1), ([], 6, 1), ([AdditiveReward], None, 1), ([AdditiveReward], 90, 1)],
)  # fmt: skip
def test_blocks_are_short_if_every_reward_is_a_sum_over_tokens(kinds, additive_stride, walks):
    """The value of a beginning does not depend on what follows, so that the next block may begin after it."""
    terms = tuple(RewardTerm(reward=kind.of("e", 3.0), name=f"e{n}") for n, kind in enumerate(kinds))
    _, search_config = shrunk("default", stride=64, token_additive_stride=additive_stride, latent=None)
    energy = Energy(policy=Endless(), terms=terms, max_nll_rise=None)
    (found,) = run(energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=None), max_new_tokens=30)
    assert [step.step for step in found.trace].count(0) == walks
    assert len(found.draft) == len(found.ids) == 30
    assert found.after.score >= found.before.score


def track_by_evaluations(*arguments):
    """A tracker on whose clock a second passes with every evaluation."""
    tracker = BudgetTracker(*arguments)
    tracker.clock = lambda: float(tracker.evaluations)
    return tracker


@pytest.mark.parametrize(("seconds", "walks"), [(None, 5), (1000.0, 5), (100.0, 3), (80.0, 2), (20.0, 1)])
def test_short_blocks_leave_time_for_the_rest(monkeypatch, seconds, walks):
    """Half of the time is for blocks, as many as fit; the policy writes the rest of the answer."""
    monkeypatch.setattr(import_module("langchain_sea.engine.refine"), "BudgetTracker", track_by_evaluations)
    _, search_config = shrunk("default", stride=64, token_additive_stride=6, plan=None)
    energy = Energy(
        policy=Endless(), terms=(RewardTerm(reward=AdditiveReward.of("e", 3.0), name="e"),), max_nll_rise=None
    )
    (found,) = run(energy, PROMPTS[:1], search_config=search_config, budget=Budget(max_time=seconds), max_new_tokens=30)
    assert [step.step for step in found.trace].count(0) == walks
    assert len(found.ids) == 30


def test_never_worse_with_short_blocks():
    """40 random problems whose one reward is a sum."""
    broken = {}
    for number in range(40_000, 40_040):
        case = random_case(number)
        search_config = replace(
            case.search_config,
            block_size=2,
            continuation=replace(case.search_config.continuation, stride=64, token_additive_stride=2 + number % 3),
            chains=replace(case.search_config.chains, num_candidates=5, top_k=None),
        )
        energy = replace(
            case.energy,
            terms=(
                RewardTerm(reward=AdditiveReward.random(number, len(case.energy.policy.banned), scale=3.0), name="sum"),
            ),
        )
        case = case._replace(energy=energy, search_config=search_config, max_new_tokens=9)
        if faults := broken_promises(case, refined(case)):
            broken[number] = faults
    assert broken == {}


def test_the_work_is_linear_in_the_length():
    """But for the last scoring, no position is read twice, and nothing is written again."""
    costs = []
    for tokens in (48, 192):
        policy = Endless()
        found = long(policy, tokens, stride=12)
        scored = sum(f.evaluations for f in found)
        costs.append((policy.read_positions, sum(f.draft_tokens for f in found), scored))
        assert max(policy.began) <= 3  # a prefix belongs to one block
    for small, large in zip(*costs, strict=True):
        assert large <= 4.4 * small


def test_a_given_draft_is_the_draft_however_long():
    """It is never cut, and the blocks write candidates beside it."""
    policy = Endless()
    given = [i % 7 for i in range(40)]
    found, _ = long(policy, 40, drafts=[[given], [given]])
    assert found.draft == policy.decode(given)
    assert found.after.score >= found.before.score


@pytest.mark.parametrize("half", first_fast(range(2)))
def test_never_worse_with_blocks(half):
    """100 random problems of several blocks each."""
    broken = {}
    for number in range(30_000 + 50 * half, 30_050 + 50 * half):
        case = random_case(number)
        search_config = replace(
            case.search_config,
            block_size=2,
            continuation=replace(case.search_config.continuation, stride=2 + number % 3),
            chains=replace(case.search_config.chains, num_candidates=5, top_k=None),
        )
        case = case._replace(search_config=search_config, max_new_tokens=9)
        if faults := broken_promises(case, refined(case)):
            broken[number] = faults
    assert broken == {}


@pytest.mark.parametrize("architecture", first_fast(["llama", "gpt2"]))
def test_a_long_answer_is_the_same_in_a_batch(architecture):
    """To the last bit, with a head on the trunk that reads what stands from the policy's memory."""
    policy = transformer_policy(architecture)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        head = HiddenStateHead(HeadInfo(policy="any", layer=2, hidden_size=32)).eval().requires_grad_(False)
    terms = (RewardTerm(reward=HiddenStateReward(head), name="head", scale=0.1),)
    energy = Energy(policy=policy, terms=terms, max_nll_rise=None)
    prompts = [policy.prompt([{"role": "user", "content": "why " * (1 + i % 4) + str(i)}]) for i in range(3)]
    _, search_config = shrunk("default", stride=5)
    options = {"search_config": search_config, "max_new_tokens": 11}
    together = run(energy, prompts, **options)
    assert any(found.accepted for found in together)
    for index in (0, 2):
        prompt = prompts[index]
        (alone,) = run(energy, [prompt], **options)
        assert (alone.text, alone.before, alone.after) == (
            together[index].text, together[index].before, together[index].after,
        )  # fmt: skip
        scores = (-energy.evaluate_texts(prompt, [alone.draft, alone.text]).energy).tolist()
        assert [alone.before.score, alone.after.score] == pytest.approx(scores, rel=1e-4, abs=1e-4)
