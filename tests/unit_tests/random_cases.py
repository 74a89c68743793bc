"""Random problems made of the doubles, and what was promised of their answers."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from doubles import (
    END,
    AdditiveReward,
    DoublePrompt,
    MarkovPolicy,
    MergingPolicy,
    PrefixReward,
    TokenReward,
    Vowels,
    run,
    shrunk,
    with_fields,
)

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.terms import RewardTerm
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, LatentConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.latent import LatentSampler
from langchain_sea.sampling.relaxation import Relaxation

if TYPE_CHECKING:
    from langchain_sea.core.protocols import Prompt, Reward
    from langchain_sea.engine.selection import Refinement


class Case(NamedTuple):
    """One random problem with its method and limits."""

    energy: Energy
    langevin: Langevin
    search_config: SearchConfig
    budget: Budget
    max_new_tokens: int
    prompt: Prompt
    drafts: list[list[int]]
    seed: int


def random_case(seed: int, *, transformers: float = 0.02) -> Case:
    """A problem of any kind, decided by the seed; that share of them has a transformer for its policy."""
    rng = random.Random(seed)  # noqa: S311 - a test's own draws
    policy, prompt = _random_policy(rng, transformers)
    preset = PRESETS[rng.choice(list(PRESETS))]
    method, search_config = shrunk(
        preset.name,
        num_chains=rng.randint(1, 3),
        max_steps=rng.randint(0, 6),
        num_drafts=rng.randint(1, 5),
        num_kept=rng.randint(0, 3),
        temperature=rng.choice([0.0, 0.8, 1.5]),
        patience=rng.choice([None, 1, 3]),
        stride=rng.choice([1, 3, 5, 64]),
    )
    if rng.random() < 0.7:
        search_config = with_fields(search_config, num_candidates=rng.choice([None, 1, 5]), top_k=None)
    if rng.random() < 0.2:
        search_config = replace(search_config, block_size=rng.choice([None, 1, 4, 12]))
    if rng.random() < 0.7:
        noise = rng.choice([0.0, 1.0, 5.0])
        method = rng.choice(
            [
                Langevin(kernel="ula", step_size=rng.choice([0.1, 1.0, 10.0]), noise_scale=noise),
                Langevin(kernel="mala", step_size=rng.choice([0.1, 1.0])),
                Langevin(kernel="adam", step_size=rng.choice([0.5, 3.0]), noise_scale=noise),
                Langevin(kernel="adam", noise="transient", schedule=((0, 2.0), (2, 0.5))),
            ]
        )
    relaxations = [preset.policy_relaxation, preset.reward_relaxation]
    if rng.random() < 0.7:
        relaxations = [
            Relaxation(kind=rng.choice(["soft", "straight_through", "entropy_mixed"]), tau=rng.choice([0.1, 1]))
            for _ in range(2)
        ]
    if search_config.plan is not None:
        search_config = replace(search_config, plan=_random_plan(rng), latent=_random_latent(rng))
    energy = Energy(
        policy=policy,
        terms=_random_terms(rng),
        policy_weight=rng.choice([0.0, 0.1, 0.3, 1.0]),
        policy_gradient=rng.choice([True, False]),
        policy_relaxation=relaxations[0],
        reward_relaxation=relaxations[1],
        max_nll_rise=rng.choice([None, 0.0, 0.5]),
        limits=rng.choice([None, TextLimits(), TextLimits(min_gain_spreads=0.0)]),
    )
    steps, seconds = rng.choice([None, 0, 1, 2, 6]), rng.choice([None, None, None, 0.001, 0.01])
    max_new_tokens = rng.choice([1, 2, 6, 10])
    if seconds is not None:
        search_config = replace(search_config, plan=None)  # with a plan, time is no limit
    budget = Budget(max_steps=steps, max_time=seconds, max_evaluations=rng.choice([None, None, 1, 5, 20]))
    answers = [[rng.randrange(END) for _ in range(rng.randint(0, 9))] for _ in range(rng.randint(1, 3))]
    drafts = rng.choice([[], [], [policy.encode(policy.decode(ids)) for ids in answers]])
    return Case(energy, method, search_config, budget, max_new_tokens, prompt, drafts, seed)


def _random_policy(rng: random.Random, transformers: float) -> tuple[Any, Any]:
    if rng.random() >= transformers:
        kind = rng.choice([MarkovPolicy, MarkovPolicy, MergingPolicy])
        return kind(rng.randrange(50)), DoublePrompt(f"question {rng.randrange(9)}")
    policy = transformer_policy(rng.choice(["llama", "qwen3", "gpt2"]))
    return policy, policy.prompt([{"role": "user", "content": f"question {rng.randrange(9)}"}])


@cache
def transformer_policy(architecture: str) -> Any:
    """A tiny random transformer behind the real policy."""
    from architectures import tiny_model, tiny_tokenizer

    from langchain_sea.models.causal_lm import CausalLMPolicy

    return CausalLMPolicy(tiny_model(architecture), tiny_tokenizer())


def _random_plan(rng: random.Random) -> SearchPlan:
    return SearchPlan(
        groups=rng.randint(1, 3),
        rows=rng.randint(1, 4),
        rounds=rng.randint(1, 4),
        tokens=rng.choice([1, 3, 12]),
        kept=rng.randint(1, 4),
    )


def _random_latent(rng: random.Random) -> LatentConfig | None:
    if rng.random() < 0.2:
        return None
    sampler = LatentSampler(
        step_size=rng.choice([0.15, 3.0]),
        max_norm=rng.choice([None, 0.9]),
        noise_scale=rng.choice([0.0, 1.0]),
        prior_scale=rng.choice([None, 0.5]),
        normalize=rng.choice([True, False]),
        estimator=rng.choice(["bound", "marginal"]),
    )
    update = rng.choice(["gradient", "gradient", "random", "aisp", "none"])
    return LatentConfig(sampler=sampler, update=update, divergence_weight=rng.choice([0.0, 0.5]))


def _random_terms(rng: random.Random) -> tuple[RewardTerm, ...]:
    size = 320  # wide enough for every double
    rewards: list[tuple[str, Reward]] = [
        ("soft", TokenReward.random(rng.randrange(50), size)),
        ("steep", TokenReward.random(rng.randrange(50), size, scale=30.0)),
        ("prefix", PrefixReward.random(rng.randrange(50), size)),
        ("additive", AdditiveReward.random(rng.randrange(50), size)),
        ("negative", TokenReward(-TokenReward.random(rng.randrange(50), size).values.abs())),
        ("constant", TokenReward(torch.zeros(size))),
        ("callable", Vowels()),
        ("against", Vowels(-1.0)),
    ]
    return tuple(
        RewardTerm(
            reward=reward,
            name=name,
            weight=rng.choice([0.0, 0.5, 1.0]),
            center=rng.random(),
            scale=rng.choice([1, 7]),
            min_gain=rng.choice([None, None, 0.2]),
        )
        for name, reward in rng.sample(rewards, rng.randint(0, 3))
    )


def refined(case: Case) -> Refinement:
    """The case's refinement."""
    (refinement,) = run(
        case.energy,
        [case.prompt],
        drafts=[case.drafts],
        langevin=case.langevin,
        search_config=case.search_config,
        budget=case.budget,
        max_new_tokens=case.max_new_tokens,
        seed=case.seed,
    )
    return refinement


def broken_promises(case: Case, found: Refinement) -> list[str]:
    """What the refinement promised and did not keep, by an evaluation of its own of both texts.

    A forward over two texts and one over many round differently: scores are equal within 1e-5 of their size.
    """
    policy, broken = case.energy.policy, []
    terms = case.energy.evaluate_texts(case.prompt, [found.draft, found.text])
    (before, after), (nll_before, nll_after) = (-terms.energy).tolist(), terms.nll.tolist()
    slack = 1e-5 * (1 + abs(before))
    rise = case.energy.max_nll_rise
    if after < before - slack:
        broken.append(f"worse: {after} < {before}")
    if found.accepted != (found.text != found.draft):
        broken.append("accepted, and the text is the draft's, or the reverse")
    if found.accepted and found.after.score <= found.before.score:
        broken.append("a tie did not stay with the draft")
    if rise is not None and found.accepted and nll_after > nll_before + rise + slack:
        broken.append(f"broken text: {nll_after} nats per token after {nll_before}")
    limits = case.energy.limits
    if limits is not None and found.accepted and limits.excess(found.after, found.before):
        broken.append(f"a text beyond the limits: {found.after} after {found.before}")
    if list(found.ids) != policy.encode(found.text):
        broken.append("ids are not the text's")
    if case.drafts and found.draft != policy.decode(case.drafts[0]):
        broken.append("the draft is not the given one")
    if found.failure is not None or found.before is None or found.after is None:
        broken.append(f"failed: {found.failure!r}")
    return broken
