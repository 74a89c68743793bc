"""What holds on a CPU holds on a GPU: `python -m pytest tests/gpu`; skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from test_gate import FAST as GATE
from test_gate import examples as gate_examples
from test_gate import trunk as encoder
from test_harden import FAST, QUICK, Judge
from test_harden import examples as head_examples

from langchain_sea import SEAChatModel, load_model
from langchain_sea.core.protocols import AnswerBatch, Steering, Tokens
from langchain_sea.engine.generators import generators_for
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.hidden_state_head import HiddenStateReward
from langchain_sea.training.adversarial import Hardening, harden_head
from langchain_sea.training.fit_gate import fit_gate
from langchain_sea.training.fit_head import fit_head

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ASKED = [{"role": "user", "content": "12 + 30 ="}]
__all__ = ["encoder"]


def random_policy(device: str) -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model("llama").to(device), tiny_tokenizer())


@pytest.mark.parametrize("name", ["tiny", "tiny/early_03"])
def test_the_same_ids_cost_the_same_nats(name: str) -> None:
    nats = []
    for device in ("cpu", "cuda"):
        policy = load_model(name, device)
        prompt = policy.prompt(ASKED)
        nats.append(AnswerBatch.from_ids(policy, prompt, [policy.encode("42"), policy.encode("7")]).nll.cpu())
    torch.testing.assert_close(*nats, atol=1e-3, rtol=1e-3)


def test_the_slope_is_the_same() -> None:
    """Of a head's value and the policy's nats, through relaxed tokens."""
    head, slopes = HiddenStateReward(fit_head(head_examples(), random_policy("cpu"), FAST).head), []
    soft = torch.randn(3, 6, random_policy("cpu").vocab_size, generator=torch.Generator().manual_seed(0))
    for device in ("cpu", "cuda"):
        policy = random_policy(device)
        at = soft.to(device, copy=True).requires_grad_()
        ids = torch.arange(at.shape[-1], device=device).expand(at.shape)
        tokens = Tokens(at.softmax(-1), ids, torch.ones(at.shape[:2], dtype=torch.bool, device=device))
        view = AnswerBatch(policy, policy.prompt(ASKED), tokens)
        (head.score_soft(view) - view.nll).sum().backward()  # type: ignore[no-untyped-call]
        assert at.grad is not None
        slopes.append(at.grad.flatten().cpu())
    assert float(torch.cosine_similarity(slopes[0], slopes[1], dim=0)) > 0.999


@pytest.mark.parametrize("preset", ["default", "paper", "reference"])
def test_an_answer_is_never_worse_and_comes_again(preset: str) -> None:
    model = SEAChatModel(model="tiny", preset=preset, seed=3, max_tokens=12, device="cuda")
    found = [model.invoke("12 + 30 =") for _ in range(2)]
    assert found[0].content == found[1].content
    sea = found[0].response_metadata["sea"]
    assert sea["score_after"] >= sea["score_before"]


def test_the_trace_names_the_rewards_that_run_beside_the_graphs() -> None:
    model = SEAChatModel(model="tiny", seed=3, max_tokens=12, device="cuda")
    assert model.refinement("12 + 30 =").trace.eager_rewards == ("tiny",)


def test_a_batch_is_answered_as_one_by_one() -> None:
    model = SEAChatModel(model="tiny", seed=3, max_tokens=12, device="cuda")
    asked = ["12 + 30 =", "7 + 8 =", "99 - 3 ="]
    assert [m.content for m in model.batch(asked)] == [model.invoke(q).content for q in asked]


def test_what_is_written_along_an_axis_differs() -> None:
    policy = random_policy("cuda")
    prompt = policy.prompt(ASKED)
    rngs = generators_for(0, prompt.key, 2, policy.device)
    steering = Steering(1, torch.randn(2, 32) * 5)
    found = [
        policy.generate(prompt, [[], []], tokens=6, temperature=0.0, generators=rngs, steering=p)
        for p in (None, steering)
    ]
    assert found[0] != found[1]


def test_a_head_is_fitted_and_hardened_where_its_policy_is() -> None:
    policy = random_policy("cuda")
    found = harden_head(head_examples(), policy, Hardening(rounds=1, judge=Judge(), prompts=4, attacks=(QUICK,)), FAST)
    assert found.figures["rounds"][0]["texts"] >= 4


def test_a_gate_learns_and_judges_where_its_trunk_is(encoder) -> None:
    assert encoder.model.device.type == "cuda"
    gate = fit_gate(gate_examples(), encoder, GATE)
    assert gate.info.figures["held_out"]["auc"] > 0.9
