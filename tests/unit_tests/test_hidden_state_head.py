"""What a head on the policy's states promises: every beginning judged, differentiably."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
import torch
from architectures import VOCAB, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea import errors
from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward

INFO = HeadInfo(policy="tiny", layer=2, hidden_size=32, center=0.5, scale=2.0, figures={"auc": 0.9})
answers = st.lists(st.integers(3, VOCAB - 20), min_size=1, max_size=20)


@cache
def policy() -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model("llama"), tiny_tokenizer())


@cache
def prompt() -> PolicyPrompt:
    return policy().prompt([{"role": "user", "content": "what is two and three?"}])


@cache
def reward() -> HiddenStateReward:
    torch.manual_seed(0)
    head = HiddenStateHead(INFO)
    head.mean.normal_()
    head.std.uniform_(0.5, 2.0)
    return HiddenStateReward(head.eval().requires_grad_(False))


def view(*ids: list[int]) -> AnswerBatch:
    return AnswerBatch(policy(), prompt(), Tokens.from_ids(ids))


def test_is_a_soft_reward() -> None:
    """It steers and ranks."""
    assert isinstance(reward(), DifferentiableReward)


@settings(max_examples=20)
@given(ids=answers)
def test_the_value_of_a_prefix_is_the_value_there_in_the_longer_text(ids: list[int]) -> None:
    """A beginning is judged alike alone and inside."""
    whole = reward().prefix_values(view(ids))[0]
    for end in range(1, len(ids) + 1):
        torch.testing.assert_close(reward().score_soft(view(ids[:end]))[0], whole[end - 1], rtol=1e-4, atol=1e-4)


@settings(max_examples=20)
@given(short=answers, longer=answers)
def test_padding_does_not_matter(short: list[int], longer: list[int]) -> None:
    """An answer's value does not depend on its neighbour's length."""
    together = reward().score_soft(view(short, longer, []))
    torch.testing.assert_close(together[:1], reward().score_soft(view(short)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1:2], reward().score_soft(view(longer)), rtol=1e-4, atol=1e-4)


def test_what_padding_holds_does_not_matter() -> None:
    """Not even if it is no number."""
    hidden, mask = torch.randn(2, 6, 32), torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    spoilt = hidden.clone()
    spoilt[0, 4:] = torch.nan
    torch.testing.assert_close(reward().head.prefix_values(spoilt, mask), reward().head.prefix_values(hidden, mask))


def test_the_features_are_the_stated_means() -> None:
    """Opening of eight tokens beside the mean of all."""
    hidden, head = torch.randn(1, 12, 32), reward().head
    found = head.prefix_values(hidden, torch.ones(1, 12, dtype=torch.bool))[0]
    for end in (1, 5, 8, 9, 12):
        means = torch.cat([hidden[0, : min(8, end)].mean(0), hidden[0, :end].mean(0)])
        torch.testing.assert_close(found[end - 1], head(means), rtol=1e-4, atol=1e-4)


def test_an_empty_answer_gets_the_stated_low_value() -> None:
    """center − 3 · scale, finite, with no gradient trouble beside it."""
    assert reward().score_soft(view([], [40, 50]))[0].item() == reward().head.empty_value == 0.5 - 3 * 2.0


def test_gradient_reaches_the_soft_tokens() -> None:
    """Of each chain's own positions, and not of padding."""
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] * 5])
    soft = torch.randn(3, 5, VOCAB).softmax(-1).requires_grad_()
    support = torch.arange(VOCAB).expand(3, 5, VOCAB)
    tokens = Tokens(soft, support, mask)
    reward().score_soft(AnswerBatch(policy(), prompt(), tokens)).sum().backward()
    assert soft.grad is not None
    assert soft.grad.isfinite().all()
    assert ((soft.grad.abs().sum(-1) > 0) == mask).all()


def test_texts_score_as_their_tokens_do_and_without_gradient() -> None:
    """Ranking and steering agree."""
    seen = view([40, 50, 60], [70])
    scored = reward().score(seen, ["a", "b"])
    assert not scored.requires_grad
    assert scored.dtype == torch.float32
    assert torch.equal(scored, reward().score_soft(seen))


@pytest.mark.parametrize(
    "info", [HeadInfo(policy="p", layer=2, hidden_size=64), HeadInfo(policy="p", layer=9, hidden_size=32)]
)
def test_another_policys_head_is_refused(info: HeadInfo) -> None:
    """By width or by depth, and the message says what to do."""
    with pytest.raises(errors.TokenizerMismatchError, match="fit-reward"):
        HiddenStateReward(HiddenStateHead(info).eval()).score_soft(view([40]))


def test_saved_and_loaded_it_is_the_same(tmp_path) -> None:
    """Weights, information and values; frozen."""
    reward().head.save(tmp_path / "head.safetensors")
    head = HiddenStateHead.load(tmp_path / "head.safetensors")
    assert head.info == INFO
    assert not head.training
    assert not any(p.requires_grad for p in head.parameters())
    assert torch.equal(HiddenStateReward(head).score_soft(view([40, 50])), reward().score_soft(view([40, 50])))


def test_it_survives_pickling() -> None:
    """For workers of other processes."""
    again = pickle.loads(pickle.dumps(reward()))  # noqa: S301 - our own bytes
    assert torch.equal(again.score_soft(view([40, 50])), reward().score_soft(view([40, 50])))


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_named(tmp_path, content: bytes) -> None:
    """The message holds the path and what to do."""
    (tmp_path / "head.safetensors").write_bytes(content)
    with pytest.raises(errors.WeightsCorruptError, match=r"head\.safetensors.*fit-reward"):
        HiddenStateHead.load(tmp_path / "head.safetensors")


def test_a_file_of_other_tensors_is_refused(tmp_path) -> None:
    """Right metadata, wrong shapes."""
    reward().head.save(tmp_path / "a")
    wide = HiddenStateHead(HeadInfo(policy="p", layer=1, hidden_size=8))
    wide.info = INFO
    wide.save(tmp_path / "b")
    with pytest.raises(errors.WeightsCorruptError, match="size mismatch"):
        HiddenStateHead.load(tmp_path / "b")
