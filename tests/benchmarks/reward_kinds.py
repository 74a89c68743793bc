"""Every kind of reward that has a gradient or a plain pipeline, on tiny random models: for `rewards.py`.

`plain_difference`: our score against the model's own, called as its card calls it. `gradient_cosine`: the slope
in the relaxed tokens against central differences, in float64. `step_cost`: a step with the reward against one
with the policy's term alone, on the tiny policy.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit_tests"))

from architectures import VOCAB, tiny_tokenizer
from reward_cases import classifier, policy
from test_bridge import bridge, encoder, word_pieces
from test_guards import FORMATS, guard, guard_weights

from langchain_sea.core.energy import Energy
from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Tokens
from langchain_sea.core.terms import RewardTerm
from langchain_sea.rewards import (
    EncoderReward,
    HiddenStateReward,
    LogRatioReward,
    ProcessReward,
    RewardModel,
    SoftEncoderReward,
    SoftRewardModel,
    safety_classifier,
)
from langchain_sea.rewards.guard import SoftGuardModel
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead
from langchain_sea.rewards.process_reward import TokenScores
from langchain_sea.rewards.refusal_head import RefusalHead, RefusalReward
from langchain_sea.sampling.relaxation import top_support

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUESTION = [{"role": "user", "content": "what is two and three?"}]
STEP = 1e-4


class Kind(NamedTuple):
    """A reward on a view of a policy of its own precision."""

    reward: DifferentiableReward
    policy: Any


def safe_model(dtype: torch.dtype) -> Any:
    """A classifier whose labels speak of harm."""
    model = copy.deepcopy(classifier("gpt2", labels=2, dtype=dtype))
    model.config.id2label = {0: "unsafe", 1: "safe"}
    return model


def kinds(dtype: torch.dtype) -> dict[str, Kind]:
    """Of each kind one; families whose norms round to float32 are left to the tests."""
    writer, tokenizer = policy("gpt2", dtype=dtype), tiny_tokenizer()
    torch.manual_seed(0)
    head = HiddenStateHead(HeadInfo(policy="tiny", layer=2, hidden_size=32)).to(dtype).eval().requires_grad_(False)
    refusal_head = RefusalHead(copy.deepcopy(head), weight=1.5).to(dtype)
    refusal_head.bias.fill_(0.3)
    model = classifier("gpt2", dtype=dtype)
    several = copy.deepcopy(classifier("gpt2", labels=3, dtype=dtype))
    found: dict[str, DifferentiableReward] = {
        "reward_model": SoftRewardModel(model, tokenizer),
        "several_heads": SoftRewardModel(several, tokenizer, label={0: 1.0, 2: -0.5}),
        "safety_classifier": safety_classifier(safe_model(dtype), tokenizer, tokenizer, odds=True),
        "trunk": HiddenStateReward(head),
        "refusal": RefusalReward(head, refusal_head),
        "implicit": LogRatioReward(policy("gpt2", seed=1, dtype=dtype), writer),
        "process": ProcessReward(TokenScores(several, tokenizer), separator=None, reduction="mean"),
        "encoder_bridged": SoftEncoderReward(encoder(dtype), word_pieces(), bridge()),
    }  # fmt: skip
    found |= {f"guard_{family}": guard(family, SoftGuardModel, dtype) for family in FORMATS}
    return {name: Kind(reward, writer) for name, reward in found.items()}


def gradient_cosine() -> dict[str, Any]:
    """The smallest over the kinds, and each."""
    found = {name: _cosine(*kind) for name, kind in kinds(torch.float64).items()}
    return {"value": round(min(found.values()), 6), "kinds": {name: round(c, 6) for name, c in found.items()}}


def _cosine(reward: DifferentiableReward, writer: Any) -> float:
    answer = writer.encode("two is five")
    ids = torch.tensor([answer])
    torch.manual_seed(1)
    support = top_support(torch.randn(1, len(answer), VOCAB), ids, 4)
    soft = (torch.rand(support.shape, dtype=torch.float64) + torch.tensor([2.0, 0, 0, 0])).softmax(-1)
    prompt, mask = writer.prompt(QUESTION), torch.ones(1, len(answer), dtype=torch.bool)

    def value(at: torch.Tensor) -> torch.Tensor:
        return reward.score_soft(AnswerBatch(writer, prompt, Tokens(at, support, mask))).sum()

    leaf = soft.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    differences = torch.zeros_like(slope)
    # guards of families whose norms round to float32 need a step that this rounding does not drown
    step = 1e-2 if isinstance(reward, SoftGuardModel) else STEP
    for index in torch.cartesian_prod(*map(torch.arange, soft.shape)).tolist():
        ends = []
        for sign in (1, -1):
            moved = soft.clone()
            moved[tuple(index)] += sign * step
            ends.append(value(moved).detach())
        differences[tuple(index)] = (ends[0] - ends[1]) / (2 * step)
    return float(torch.cosine_similarity(slope.flatten(), differences.flatten(), dim=0))


@torch.no_grad()
def plain_difference(answers: Sequence[str]) -> dict[str, Any]:
    """The largest difference from each model's own way, over the answers."""
    tokenizer = tiny_tokenizer()
    writer = policy("gpt2")
    prompt = writer.prompt(QUESTION)
    short = [writer.decode(writer.encode(a)[:40]) for a in answers]
    view = AnswerBatch.from_ids(writer, prompt, [writer.encode(a) or [5] for a in short])
    model, several, safe = classifier("gpt2"), classifier("gpt2", labels=3), safe_model(torch.float32)
    pairs: dict[str, tuple[Any, Callable[[str], torch.Tensor]]] = {
        "reward_model": (RewardModel(model, tokenizer), lambda a: _logits(model, tokenizer, a)[0]),
        "several_heads": (
            RewardModel(several, tokenizer, label={0: 1.0, 2: -0.5}),
            lambda a: _logits(several, tokenizer, a) @ torch.tensor([1.0, 0.0, -0.5]),
        ),
        "safety_classifier": (
            safety_classifier(safe, tokenizer, steers=False),
            lambda a: _logits(safe, tokenizer, a).softmax(-1)[1],
        ),
        "encoder": (
            EncoderReward(encoder(), word_pieces()),
            lambda a: encoder()(**word_pieces()(QUESTION[0]["content"], a, return_tensors="pt", truncation=True, max_length=128)).logits[0, 0],
        ),
    }  # fmt: skip
    for family in FORMATS:
        pairs[f"guard_{family}"] = (guard(family), lambda a, f=family: _guard_logits(f, a))
    found = {}
    for name, (reward, plain) in pairs.items():
        ours = reward.score(view, short)
        theirs = torch.stack([plain(a) for a in short])
        found[name] = float((ours - theirs).abs().max())
    return {"value": max(found.values()), "answers": len(short), "kinds": found}


def _logits(model: Any, tokenizer: Any, answer: str) -> torch.Tensor:
    messages = [*QUESTION, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return model(torch.tensor([ids])).logits[0]


def _guard_logits(family: str, answer: str) -> torch.Tensor:
    """From the rendered prompt to the odds of the next token."""
    fmt, tokenizer = FORMATS[family], tiny_tokenizer(chat_template=None)
    messages = [*QUESTION, {"role": "assistant", "content": answer}]
    shown = tokenizer.apply_chat_template(
        messages, chat_template=fmt.source(None), tokenize=False, add_generation_prompt=True
    )
    words = {
        w: tokenizer.encode(fmt.before + w, add_special_tokens=False) for w in (*fmt.safe, *fmt.unsafe, *fmt.between)
    }
    rows = list(words.values())
    shared = next(n for n in range(99) if len({tuple(row[: n + 1]) for row in rows}) > 1)
    ids = [*tokenizer.encode(shown, add_special_tokens=False), *rows[0][:shared]]
    logits = guard_weights(family)(torch.tensor([ids])).logits[0, -1]
    safe = logits[[words[w][shared] for w in fmt.safe]].logsumexp(0)
    return safe - logits[[words[w][shared] for w in (*fmt.unsafe, *fmt.between)]].logsumexp(0)


def step_cost(repeats: int = 7) -> dict[str, Any]:
    """By kind, medians of steps timed in turns: a step with it ÷ one with the policy's term alone."""
    found = {}
    for name, (reward, writer) in kinds(torch.float32).items():
        prompt = writer.prompt(QUESTION)
        ids = torch.tensor([writer.encode("two is five and three")] * 4)
        torch.manual_seed(0)
        support = top_support(torch.randn(*ids.shape, VOCAB), ids, 16)
        logits = torch.randn(support.shape)
        mask = torch.ones(ids.shape, dtype=torch.bool)
        alone = Energy(policy=writer, policy_weight=0.3)
        beside = Energy(policy=writer, terms=(RewardTerm(reward=reward, name="r"),), policy_weight=0.3)
        times: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(repeats + 1):
            for which, energy in enumerate((alone, beside)):
                began, leaf = time.perf_counter(), logits.clone().requires_grad_()
                energy.evaluate_logits(prompt, leaf, support, mask).energy.sum().backward()
                times[which].append(time.perf_counter() - began)
        found[name] = round(statistics.median(times[1][1:]) / statistics.median(times[0][1:]), 3)
    return {"value": found["trunk"], "kinds": found}
