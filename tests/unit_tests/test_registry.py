"""Names to policies: one policy for one set of weights, and rewards by their names."""

from __future__ import annotations

import gc

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from models import save_folder
from reward_cases import classifier
from slow_cases import first_fast

from langchain_sea import SEAChatModel, load_model
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards import Consensus, ForbiddenWords, LengthRule, registry


@pytest.fixture
def folder(tmp_path):
    yield save_folder(tmp_path / "model")
    registry.unload()


def test_one_policy_for_one_set_of_weights(folder):
    first = load_model(folder, "cpu", dtype=torch.float32)
    assert load_model(folder, "cpu", dtype=torch.float32) is first
    assert load_model(folder, "cpu", dtype=torch.bfloat16) is not first
    assert load_model(first) is first
    registry.unload()
    assert load_model(folder, "cpu", dtype=torch.float32) is not first


def test_no_reward_is_kept_of_a_dropped_policy(tmp_path):
    """A later policy may get its id, and has another tokenizer."""
    name = str(tmp_path)
    classifier().save_pretrained(name)
    tiny_tokenizer().save_pretrained(name)
    policy = CausalLMPolicy(tiny_model("llama"), tiny_tokenizer())
    (term,) = registry.make_terms(name, policy)
    assert registry.make_terms(name, policy)[0].reward is term.reward
    kept = len(registry._rewards)
    del policy
    gc.collect()
    assert len(registry._rewards) == kept - 1
    registry.unload()


@pytest.mark.slow
def test_drafts_may_be_the_gold():
    """What most answers of the policy agree on is right, and nothing is told it beforehand."""
    model = SEAChatModel(model="tiny", rewards=[Consensus()], plan="small", max_tokens=32)
    sea = model.invoke("What is 14 + 23?").response_metadata["sea"]
    assert sea["failure"] is None
    assert sea["rewards_after"] == {"consensus": 1.0}


@pytest.mark.parametrize("rule", first_fast([LengthRule(5, 6), LengthRule(1, 1), ForbiddenWords(("the", "is"))]))
def test_a_rule_is_a_reward_and_chooses_the_answer(rule):
    """Each rule finds an answer that it accepts, where the draft or the answer of another rule would fail it."""
    model = SEAChatModel(model="tiny", rewards=[rule], plan="small", max_tokens=12, temperature=1.5)
    answer = model.invoke("What is 14 + 23?")
    sea, name = answer.response_metadata["sea"], type(rule).__name__
    assert sea["failure"] is None
    assert rule("", [answer.content]) == [1.0] == [sea["rewards_after"][name]]
    assert sea["accepted"]
    assert rule("", [sea["draft"]]) == [sea["rewards_before"][name]]


def test_what_is_no_reward_is_named():
    with pytest.raises(TypeError, match="not a reward"):
        registry.make_terms([3], load_model("tiny"))
