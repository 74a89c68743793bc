"""Steps judged one by one, and the pair of a base and its adapter."""

from __future__ import annotations

import copy
from functools import cache

import peft
import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import QUESTION, TEXTS, assert_gradient, classifier, policy, soft_view, view_of

from langchain_sea import errors
from langchain_sea.core.protocols import DifferentiableReward
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.adapters import adapter_reward, load_adapter
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.log_ratio import LogRatioReward
from langchain_sea.rewards.process_reward import ProcessReward, TokenScores

# peft's own, of transformers
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@cache
def head_reward() -> HiddenStateReward:
    torch.manual_seed(0)
    return HiddenStateReward(
        HiddenStateHead(HeadInfo(policy="tiny", layer=2, hidden_size=32)).eval().requires_grad_(False)
    )


REDUCED = {"last": lambda values: values[-1], "min": torch.amin, "sum": torch.sum, "mean": torch.mean}


@settings(max_examples=30)
@given(
    steps=st.lists(st.sampled_from(["two", "the answer", "five."]), min_size=1, max_size=4),
    how=st.sampled_from(sorted(REDUCED)),
)
def test_the_reward_is_the_reduction_of_the_values_at_step_ends(steps, how) -> None:
    """Of each answer up to and with each separator, and of the whole."""
    text, view = "\n\n".join(steps), view_of(["\n\n".join(steps), "no"])
    values = head_reward().prefix_values(view)[0]
    ids, ends = view.policy.encode(text), []
    for number in range(1, len(ids) + 1):
        begun = view.policy.decode(ids[:number])
        whole = number == len(ids)
        grown = begun.count("\n\n") > view.policy.decode(ids[: number - 1]).count("\n\n")
        ends += [values[number - 1]] if whole or grown else []
    assert len(ends) == len(steps)
    found = ProcessReward(head_reward(), reduction=how).score_soft(view)[0]
    torch.testing.assert_close(found, REDUCED[how](torch.stack(ends)))


@pytest.mark.parametrize("how", sorted(REDUCED))
def test_every_token_may_be_a_step(how) -> None:
    """Alone as beside a longer one."""
    reward = ProcessReward(head_reward(), separator=None, reduction=how)
    together = reward.score_soft(view_of([*TEXTS]))
    for text, value in zip(TEXTS, together, strict=True):
        values = head_reward().prefix_values(view_of([text]))[0]
        torch.testing.assert_close(value, REDUCED[how](values), atol=1e-4, rtol=1e-4)


def test_it_steers_and_its_gradient_is_right() -> None:
    """Through a per-token head of another model in its own template, in float64."""
    model = copy.deepcopy(classifier("gpt2", labels=2, dtype=torch.float64))
    reward = ProcessReward(TokenScores(model, tiny_tokenizer()), separator=None, reduction="mean")
    assert isinstance(reward, DifferentiableReward)
    assert_gradient(reward, soft_view(policy("gpt2", dtype=torch.float64)))


@torch.no_grad()
def test_token_scores_are_the_models_own() -> None:
    """At each of the answer's tokens, through the model itself."""
    model, tokenizer = copy.deepcopy(classifier(labels=2)), tiny_tokenizer()
    values = TokenScores(model, tokenizer).prefix_values(view_of([*TEXTS]))
    for text, found in zip(TEXTS, values, strict=True):
        shown = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
        before = tokenizer.encode(shown, add_special_tokens=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        states = model.base_model(torch.tensor([[*before, *ids]]))[0][0, len(before) :]
        expected = model.score(states).log_softmax(-1)[:, -1]
        torch.testing.assert_close(found[: len(ids)], expected, atol=1e-4, rtol=1e-4)
        assert (found[len(ids) :] == found[len(ids) - 1]).all()


@pytest.mark.parametrize("options", [{"reduction": "max"}, {"separator": ""}])
def test_strange_settings_are_refused(options) -> None:
    """With what would do."""
    with pytest.raises(ValueError, match=r"reduction=|separator="):
        ProcessReward(head_reward(), **options)


# Adapters


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of the tiny policy with random weights, and the folder it is in."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = peft.get_peft_model(copy.deepcopy(tiny_model("llama")), config)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def test_base_and_adapter_are_as_two_models(adapter) -> None:
    """Of their own, the adapter merged into one of them."""
    from peft import PeftModel

    whole = PeftModel.from_pretrained(copy.deepcopy(tiny_model("llama")), adapter).merge_and_unload().eval()
    apart = LogRatioReward(CausalLMPolicy(whole, tiny_tokenizer()), policy())
    view = view_of(TEXTS)
    expected = apart.score(view, TEXTS)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(adapter_reward(policy(), adapter).score(view, TEXTS), expected, atol=1e-4, rtol=1e-5)


def test_the_base_is_shared_and_left_alone(adapter) -> None:
    """Every tensor of it stands once in memory, and its answers are what they were."""
    before = policy().forward(policy().prompt(QUESTION), view_of(TEXTS).tokens).logits
    mine = {p.data_ptr() for p in policy().model.parameters()}
    theirs = load_adapter(policy(), adapter).model
    added = [p for name, p in theirs.named_parameters() if "lora" in name]
    rest = [p for name, p in theirs.named_parameters() if "lora" not in name]
    assert added
    assert all(p.data_ptr() in mine for p in rest)
    assert not any(p.requires_grad for p in theirs.parameters())
    after = policy().forward(policy().prompt(QUESTION), view_of(TEXTS).tokens).logits
    assert torch.equal(before, after)


def test_what_is_no_adapter_is_refused(tmp_path) -> None:
    """With the folder's name."""
    with pytest.raises(errors.WeightsNotFoundError, match=tmp_path.name):
        load_adapter(policy(), tmp_path)


def test_a_classifier_in_an_adapters_folder_loads(tmp_path) -> None:
    """As transformers finds it: the base beside the adapter's configuration."""
    from langchain_sea import weights

    base = copy.deepcopy(classifier())
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    again = type(base).from_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="SEQ_CLS")
    model = peft.get_peft_model(again, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    tiny_tokenizer().save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[40, 50, 60]])
    found = weights.load(tmp_path / "adapter", kind="classifier", device="cpu").model
    torch.testing.assert_close(found(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-4)
