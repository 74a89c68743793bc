"""What is called for and what an answer does, learned apart: signs, bounds, gradient, files, fitting."""

from __future__ import annotations

import gc
import json
import pickle
import weakref
from dataclasses import replace
from functools import cache

import pytest
import torch
from architectures import VOCAB, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea import errors
from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.refusal_head import RefusalHead, RefusalReward, compute_question_states
from langchain_sea.training import fit_refusal as fitting
from langchain_sea.training.examples import DataError
from langchain_sea.training.fit_head import Recipe
from langchain_sea.training.fit_refusal import fit_refusal_head

INFO = HeadInfo(policy="tiny", layer=2, hidden_size=32, center=0.5, scale=2.0)
QUESTION = "what is two and three?"
answers = st.lists(st.integers(3, VOCAB - 20), min_size=1, max_size=20)


@cache
def policy() -> CausalLMPolicy:
    """With a model and a tokenizer, as what `weights.load` gives."""
    return CausalLMPolicy(tiny_model("llama"), tiny_tokenizer())


def head(seed: int) -> HiddenStateHead:
    torch.manual_seed(seed)
    found = HiddenStateHead(INFO)
    found.mean.normal_()
    found.std.uniform_(0.5, 2.0)
    return found.eval().requires_grad_(False)


def refusal_head(bias: float, weight: float = 1.5) -> RefusalHead:
    """One that calls for the same whatever is asked."""
    found = RefusalHead(head(1), weight)
    found.bias.fill_(bias)
    return found.eval().requires_grad_(False)


def view(*ids: list[int], question: str = QUESTION) -> AnswerBatch:
    return AnswerBatch(policy(), policy().prompt([{"role": "user", "content": question}]), Tokens.from_ids(ids))


def values(bias: float, seen: AnswerBatch, weight: float = 1.5) -> torch.Tensor:
    return RefusalReward(head(0), refusal_head(bias, weight)).prefix_values(seen)


@settings(max_examples=20)
@given(ids=answers, bias=st.floats(-2, 2), weight=st.floats(0, 5))
def test_it_adds_what_is_called_for_times_what_is_done(ids: list[int], bias: float, weight: float) -> None:
    """The head's values and no more where nothing is called for; else at most four times the weight either way."""
    seen = view(ids)
    plain = HiddenStateReward(head(0)).prefix_values(seen)
    torch.testing.assert_close(values(0.0, seen, weight), plain)
    added = values(bias, seen, weight) - plain
    assert added.abs().max() <= 4 * weight * min(1, 2 * abs(bias)) + 1e-4
    torch.testing.assert_close(values(-bias, seen, weight) - plain, -added, rtol=1e-3, atol=1e-4)


def test_an_answer_without_tokens_neither_declines_nor_helps() -> None:
    """Whatever is called for."""
    seen = view([], [40, 41])
    empty = HiddenStateReward(head(0)).prefix_values(seen)[0]
    for bias in (-1.0, 1.0):
        torch.testing.assert_close(values(bias, seen)[0], empty)


def test_it_steers() -> None:
    """The gradient in the tokens is that of both parts, and finite where the refusal head is beyond its bound."""
    seen = view([40, 41, 42])
    soft = seen.tokens.soft.clone().requires_grad_()
    reward = RefusalReward(head(0), refusal_head(1.0, weight=50.0))
    assert isinstance(reward, DifferentiableReward)
    moved = AnswerBatch(policy(), seen.prompt, Tokens(soft, seen.tokens.support, seen.tokens.mask))
    (slope,) = torch.autograd.grad(reward.score_soft(moved).sum(), soft)
    plain = AnswerBatch(policy(), seen.prompt, Tokens(soft, seen.tokens.support, seen.tokens.mask))
    (other,) = torch.autograd.grad(HiddenStateReward(head(0)).score_soft(plain).sum(), soft)
    assert slope.isfinite().all()
    assert not torch.allclose(slope, other)


def test_both_layers_come_of_one_forward() -> None:
    """Those of both heads, where they differ; states of other widths are of another policy."""
    deeper = RefusalHead(HiddenStateHead(replace(INFO, layer=1)), 1.0).eval()
    seen = view([40])
    assert RefusalReward(head(0), deeper).required_outputs(seen).layers == {1, 2}
    wide = RefusalHead(HiddenStateHead(replace(INFO, hidden_size=64)), 1.0)
    with pytest.raises(ValueError, match="64"):
        RefusalReward(head(0), wide)


def test_a_question_is_read_once_and_in_its_own_words() -> None:
    """The last one of a conversation, whatever was said before or has been put into the answer's mouth."""
    found = refusal_head(0.0)
    found.slope.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.05)
    long = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": QUESTION},
    ]
    plain = found.should_refuse(view([40]))
    assert plain == found.should_refuse(
        AnswerBatch(policy(), policy().prompt(long, opening="Sure"), Tokens.from_ids([[40]]))
    )
    assert plain != found.should_refuse(view([40], question="who are you?"))
    assert len(found._cache) == 2
    assert plain == float(found.question_logits(compute_question_states(policy(), QUESTION, 2)))
    for number in range(1100):
        found._cache[weakref.ref(policy()), str(number)] = 0.0
    found.should_refuse(view([40], question="how many?"))
    assert len(found._cache) <= 1025


def test_no_policy_gets_the_values_of_a_dropped_one() -> None:
    """A later policy may get its id, which is therefore no key."""
    head, other = refusal_head(0.0), CausalLMPolicy(policy().model, policy().tokenizer)
    head.should_refuse(AnswerBatch(other, other.prompt([{"role": "user", "content": QUESTION}]), view([40]).tokens))
    ((key, _),) = head._cache
    assert key() is other
    del other
    gc.collect()
    assert key() is None


def test_files(tmp_path) -> None:
    """Saved, loaded, pickled: the same values; another file is refused."""
    one = refusal_head(0.3)
    one.save(tmp_path / "refusal_head.safetensors")
    seen = view([40, 41, 42])
    for other in (RefusalHead.load(tmp_path / "refusal_head.safetensors"), pickle.loads(pickle.dumps(one))):  # noqa: S301 - our own
        assert not other._cache
        assert other.weight == one.weight
        torch.testing.assert_close(other.prefix_values(seen), one.prefix_values(seen))
    head(0).save(tmp_path / "head.safetensors")
    with pytest.raises(errors.WeightsCorruptError, match="fit_refusal"):
        RefusalHead.load(tmp_path / "head.safetensors")


def rows() -> list[dict[str, object]]:
    """Questions about twos must be declined; answers that decline say no."""
    found: list[dict[str, object]] = []
    for number in range(40):
        declined = number % 2
        prompt = f"what is {'two' if declined else 'one'} and {number}?"
        found.append({"prompt": prompt, "should_refuse": declined, "split": "train" if number < 32 else "test"})
        if number < 32:
            found += [
                found[-1] | {"answer": "no no " * 3, "refusal": 1},
                found[-1] | {"answer": "three four " * 3, "refusal": 0},
            ]
    return found


def test_fitting_learns_both() -> None:
    """Held-out questions are told apart, and so are answers."""
    fitted = fit_refusal_head(rows(), policy(), Recipe(layer=2, epochs=8), weight=2.0, name="tiny")
    figures = fitted.head.info.figures["questions"]
    assert (figures["learned"], figures["held_out"]) == (32, 8)
    assert figures["auc"] == 1.0
    no, other = fitted.head.prefix_values(
        *_hidden(view(policy().encode("no no no no"), policy().encode("three four three four")))
    )[:, -1].tolist()
    assert no > other


def _hidden(seen: AnswerBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return seen.hidden(2), seen.tokens.mask


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"should_refuse": 2}, "should_refuse"),
        ({"should_refuse": None}, "should_refuse"),
        ({"refusal": "yes"}, "refusal"),
        ({"prompt": " "}, "prompt"),
    ],
)
def test_what_lacks_is_named(change: dict[str, object], said: str) -> None:
    """With the value that stood there."""
    with pytest.raises(DataError, match=said):
        fit_refusal_head([row | change for row in rows()], policy(), Recipe(layer=2, epochs=1), weight=1.0)


def test_questions_of_one_kind_teach_nothing() -> None:
    """An error, not a head that refuses everything."""
    alike = [row | {"should_refuse": 1} for row in rows()]
    with pytest.raises(DataError, match="both kinds"):
        fit_refusal_head(alike, policy(), Recipe(layer=2, epochs=1), weight=1.0)


def test_the_command(tmp_path, monkeypatch, capsys) -> None:
    """Writes a file that loads, and says what is wrong with one that cannot be read."""
    monkeypatch.setattr(fitting.loading, "load", lambda _name, **_options: policy())
    data, out = tmp_path / "data.jsonl", tmp_path / "refusal_head.safetensors"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    arguments = [str(data), "--out", str(out), "--layer", "2", "--members", "1", "--weight", "2"]
    assert fitting.main(arguments) == 0
    assert RefusalHead.load(out).weight == 2.0
    assert json.loads(capsys.readouterr().out)["questions"]["held_out"] == 8
    data.write_text("[1]\n", encoding="utf-8")
    assert fitting.main(arguments) == 1
    assert "not an object" in capsys.readouterr().err
    data.write_text('{"prompt": "x", "should_refuse": 3}\n', encoding="utf-8")
    assert fitting.main(arguments) == 1
    assert "should_refuse" in capsys.readouterr().err
