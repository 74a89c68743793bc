"""Search without gradient: within its budget, never worse than its draft, the same for the same seed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from doubles import DoublePrompt, MarkovPolicy, TokenReward, Vowels
from hypothesis import given
from hypothesis import strategies as st

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.baselines import BestOfN, ChunkBeam, PrefixSearch, QAlign, RandomEdits, RewardGuided, search
from langchain_sea.engine.selection import ScoredText

METHODS = [
    BestOfN(rows=4),
    PrefixSearch(rows=8, tokens=2, num_kept=2),
    ChunkBeam(beams=2, width=2, chunk=2),
    RewardGuided(top=3),
    QAlign(rows=3),
    RandomEdits(rows=4, span=4, top=6),
]
PROMPTS = [DoublePrompt(f"question {i}") for i in range(4)]
FEW = Budget(max_time=None, max_evaluations=40)


def energy(reward=None, **options) -> Energy:
    term = RewardTerm(reward=reward or Vowels(), name="r")
    return Energy(policy=MarkovPolicy(0), terms=(term,), **({"max_nll_rise": None} | options))


def run_search(method, prompts, seed=0, *, budget=FEW, problem=None, max_new_tokens=8):
    problem = problem or energy()
    limits = {"budget": budget, "max_new_tokens": max_new_tokens}
    return search(prompts, method, energy=problem, seed=seed, **limits)


def shown(refinement):
    return refinement.text, refinement.draft, refinement.before, refinement.after, refinement.candidates


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
class TestEvery:
    def test_is_never_worse_and_ends(self, method) -> None:
        """Within its evaluations, but for the batch that is under way."""
        results = run_search(method, PROMPTS)
        for result in results:
            assert result.before is not None
            assert result.after is not None
            assert result.after.score >= result.before.score
            assert result.evaluations <= 40 + 8 * 6
        assert isinstance(method, RewardGuided) or any(result.accepted for result in results)

    def test_answers_alone_as_it_does_among_others(self, method) -> None:
        """And again, and otherwise for another seed."""
        together = [shown(result) for result in run_search(method, PROMPTS[:2])]
        assert together == [shown(run_search(method, [prompt])[0]) for prompt in PROMPTS[:2]]
        other = [shown(result) for result in run_search(method, PROMPTS[:2], seed=1)]
        assert (together == other) is isinstance(method, RewardGuided)  # which draws nothing

    def test_a_reward_that_fails_leaves_the_draft(self, method) -> None:
        """With the failure beside it."""
        problem = energy(Failing())
        (result,) = run_search(method, PROMPTS[:1], problem=problem)
        assert result.failure is not None
        assert not result.accepted

    def test_no_answer_is_longer_than_the_budget(self, method) -> None:
        """By the policy's own count."""
        for result in run_search(method, PROMPTS, budget=Budget(max_time=None, max_evaluations=20), max_new_tokens=5):
            assert all(len(MarkovPolicy(0).encode(text.text)) <= 5 for text in result.candidates)

    @pytest.mark.parametrize("longest", range(1, 8))
    def test_answers_that_the_limit_cuts_are_offered(self, method, longest) -> None:
        """Also if it is no multiple of the tokens that are written at once; a search among few answers ends."""
        results = run_search(method, PROMPTS, max_new_tokens=longest)
        lengths = {len(MarkovPolicy(0).encode(text.text)) for result in results for text in result.candidates}
        assert all(result.candidates for result in results)
        assert longest in lengths

    def test_offers_an_answer_if_its_time_is_over_at_once(self, method) -> None:
        """As a refinement returns its draft."""
        (result,) = run_search(method, PROMPTS[:1], budget=Budget(max_time=1e-9))
        assert result.before is not None
        assert len(result.candidates) <= max(1, method.rows)


class Silent(MarkovPolicy):
    """A policy that writes nothing."""

    def _write(self, writing, row):
        writing.alive.clear()


@pytest.mark.parametrize("method", [each for each in METHODS if not isinstance(each, RewardGuided)])
def test_a_search_of_a_policy_that_writes_nothing_ends(method) -> None:
    """Its answers are empty. Reward-guided search takes tokens whether or not the policy would end."""
    problem = Energy(policy=Silent(0), terms=(RewardTerm(reward=Vowels(), name="r"),), max_nll_rise=None)
    (result,) = run_search(method, PROMPTS[:1], problem=problem)
    assert result.text == ""


class Failing:
    """A reward that cannot be asked."""

    def score(self, view, texts):
        raise OSError("gone")


def test_best_of_n_is_better_for_more() -> None:
    """The first of more are the same ones."""
    budget = Budget(max_time=None)
    few, many = (run_search(BestOfN(count=n, rows=4), PROMPTS, budget=budget) for n in (4, 32))
    for one, other in zip(few, many, strict=True):
        assert {t.text for t in one.candidates} <= {t.text for t in other.candidates}
        assert other.after.score >= one.after.score


def test_reward_guided_search_takes_the_best_token_at_each_place() -> None:
    """Against the energy of every candidate, place by place."""
    problem, method = energy(), RewardGuided(top=3)
    (result,) = run_search(method, PROMPTS[:1], budget=Budget(max_time=None), max_new_tokens=4, problem=problem)
    ids: list[int] = []
    for _ in range(4):
        view = problem.prepare_prefixes(PROMPTS[0], [[*ids, 0]])
        here = torch.tensor([[*ids, 0]])
        likely = view.output.candidates(here, 4, problem.policy.banned)[0][0, -1, 1:].tolist()
        rows = [[*ids, token] for token in likely]
        _, terms = problem.score_prefixes(problem.prepare_prefixes(PROMPTS[0], rows))
        ids = rows[int(terms.energy.argmin())]
    assert problem.policy.decode(ids) in [text.text for text in result.candidates]


def test_all_rankings_of_a_search_use_one_scale():
    """A reward that is normalised by the drafts is fitted to the first prefixes that are ranked, and only once."""
    terms, ranked = [], []

    class Twice(BestOfN):
        def steps(self, request):
            for prefixes in ([[0], [1], [2]], [[3], [4], [5]]):
                ranked.extend((yield from request.rank(prefixes)))
                terms.append(request.energy.terms[0])
            yield from request.finish(ranked[:1])

    reward = TokenReward.random(3)
    problem = Energy(policy=MarkovPolicy(0), terms=(RewardTerm(reward=reward, name="r", normalize="drafts"),))
    search(PROMPTS[:1], Twice(), energy=problem, budget=FEW, max_new_tokens=8)
    first, second = terms
    assert (first.center, first.scale) == (second.center, second.scale) != (0.0, 1.0)
    assert len(ranked) == 6


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 2), st.floats(0, 0.999))
def test_metropolis_hastings_accepts_by_its_ratio(before: float, after: float, heat: float, drawn: float) -> None:
    """Scores over the heat, times the ratio of the lengths."""
    old, new = [1, 2, 3], [1, 2]
    known = {tuple(ids): ScoredText("", value, 0.0, {}) for ids, value in ((old, before), (new, after))}
    searching = SimpleNamespace(scores=known, random=lambda: drawn)
    ratio = math.exp(min(0.0, (after - before) / heat + math.log(3 / 2)))
    assert QAlign(heat=heat)._next_state(searching, old, new) == (new if drawn < ratio else old)
    assert QAlign()._next_state(searching, old, [9]) == old  # the clock cut it: unscored
