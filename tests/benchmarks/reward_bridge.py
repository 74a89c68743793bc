"""A reward of another tokenizer that steers: the keys `bridge_cosine` and `bridge_gain` of `rewards.py`.

`minilm`, fine-tuned on the head's side of the questions (the verifier that ships, or `--twin`), reads the policy's soft tokens through
the vocabulary bridge. Its gain is counted in the spreads of drafts of its own values, beside that of the shipped
head on the policy's own hidden states, on the same prompts, with the same steps.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import public_data
import torch

from langchain_sea import load_model
from langchain_sea.budget import Budget
from langchain_sea.core.protocols import AnswerBatch, Tokens
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.refine import refine
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import registry
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD
from langchain_sea.rewards.pair_classifier import PairClassifierGate
from langchain_sea.rewards.soft_encoder import SoftEncoderReward
from langchain_sea.rewards.token_alignment import TokenAlignment
from langchain_sea.safety.defaults import SAFETY_VERIFIER
from langchain_sea.sampling.relaxation import top_support

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_sea.models.causal_lm import CausalLMPolicy

TOKENS = 24
CHOSEN = 6  # places of each answer that are compared


def drafts(policy: CausalLMPolicy, questions: list[str], count: int, seed: int) -> dict[str, list[str]]:
    """Answers of the policy to each question."""
    found = {}
    for question in questions:
        prompt = policy.prompt([{"role": "user", "content": question}], room=TOKENS)
        rngs = generators_for(seed, prompt.key, count, policy.device)
        rows = policy.generate(prompt, [[] for _ in range(count)], tokens=TOKENS, temperature=0.8, generators=rngs)
        found[question] = [policy.decode(ids) for ids in rows]
    return found


def bridged(policy: CausalLMPolicy, twin: PairClassifierGate) -> SoftEncoderReward:
    """The twin's judge as a reward that steers."""
    judge, tokenizer = twin._load()
    return SoftEncoderReward(judge, tokenizer, TokenAlignment.between(policy.tokenizer, tokenizer), longest=128)


def bridge_cosine(reward: SoftEncoderReward, policy: CausalLMPolicy, answers: dict[str, list[str]]) -> dict[str, Any]:
    """Smallest and mean cosine with central differences over real answers."""
    found = []
    for question, texts in answers.items():
        prompt = policy.prompt([{"role": "user", "content": question}])
        ids = torch.tensor([policy.encode(texts[0])[:12] or [5]])
        reading = AnswerBatch.from_ids(policy, prompt, ids.tolist()).output
        support = top_support(reading.logits, ids, 8)
        soft = torch.tensor([3.0, *[0.0] * 7]).expand(support.shape).softmax(-1).clone()
        mask = torch.ones(ids.shape, dtype=torch.bool)

        def value(at: torch.Tensor, prompt: Any = prompt, support: Any = support, mask: Any = mask) -> torch.Tensor:
            return reward.score_soft(AnswerBatch(policy, prompt, Tokens(at, support, mask))).sum()

        leaf = soft.clone().requires_grad_()
        (slope,) = torch.autograd.grad(value(leaf), leaf)
        ours, theirs = [], []
        generator = torch.Generator().manual_seed(0)
        for place in torch.randperm(slope.numel(), generator=generator)[: CHOSEN * 4].tolist():
            c, t, k = (int(i) for i in torch.unravel_index(torch.tensor(place), slope.shape))
            ends = []
            for step in (2e-2, -2e-2):
                moved = soft.clone()
                moved[c, t, k] += step
                ends.append(float(value(moved).detach()))
            ours.append(float(slope[c, t, k]))
            theirs.append((ends[0] - ends[1]) / 4e-2)
        found.append(float(torch.cosine_similarity(torch.tensor(ours), torch.tensor(theirs), dim=0)))
    return {"value": round(min(found), 5), "mean": round(statistics.fmean(found), 5), "answers": len(found)}


def gain(policy: CausalLMPolicy, term: RewardTerm, questions: list[str], seed: int) -> float:
    """Mean rise over the draft in spreads of drafts' values.

    By chains without latents: the steering vector is the head's own, and no encoder can know it.
    """
    preset = PRESETS["default"]
    search_config = replace(preset.search_config, latent=None)
    rises = []
    energy = registry.make_energy(
        policy, [replace(term, normalize="drafts")], preset=replace(preset, max_nll_rise=None)
    )
    for question in questions:
        prompt = policy.prompt([{"role": "user", "content": question}], room=TOKENS)
        limits = {"budget": Budget(max_time=None), "max_new_tokens": TOKENS}
        (found,) = refine([prompt], energy=energy, seed=seed, search_config=search_config, **limits)
        assert found.before is not None
        assert found.after is not None
        rises.append(found.after.rewards[term.name] - found.before.rewards[term.name])
    return statistics.fmean(rises)


def bridge(data: Path, seed: int, count: int, twin: PairClassifierGate | None) -> dict[str, Any]:
    """Both keys, and the shares that are mapped."""
    policy = load_model("smollm2-135m")
    reward = bridged(policy, twin or PairClassifierGate.load(SAFETY_VERIFIER))
    questions = public_data.sample(public_data.advbench(data), count, "bridge report", seed)
    (head,) = registry.make_terms([SAFETY_HEAD], policy)  # without the refusal head, which no encoder has
    through = gain(policy, RewardTerm(reward=reward, name="minilm"), questions, seed)
    own = gain(policy, head, questions, seed)
    table = reward.alignment
    return {
        "bridge_cosine": bridge_cosine(reward, policy, drafts(policy, questions, 1, seed)),
        "bridge_gain": {
            "value": round(through / own, 4),
            "through": round(through, 3),
            "own": round(own, 3),
            "prompts": count,
        },
        "bridge_mapped": {
            "value": round(table.share, 4),
            "exact": round(table.exact, 4),
            "reached": round(table.reached, 4),
        },
    }
