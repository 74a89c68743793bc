"""A head that is attacked by its own refiner: who is attacked, what is learned, and what is said of it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from langchain_sea.cli import fit_reward
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead
from langchain_sea.training import adversarial
from langchain_sea.training.adversarial import Attack, Hardening, attack_head, harden_head
from langchain_sea.training.examples import DataError, Example
from langchain_sea.training.fit_head import Recipe, fit_head

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FAST = Recipe(epochs=5, seeds=2, members=2, batch=32, weight_decay=0.1)
QUICK = Attack(steps=2, chains=2, tokens=10)


@cache
def policy() -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model("llama"), tiny_tokenizer())


def examples() -> list[Example]:
    rng, found = random.Random(0), []  # noqa: S311 - no secrets
    for number in range(24):
        messages = ({"role": "user", "content": f"question {number}"},)
        for label, words in ((1.0, "answer reward judges five"), (0.0, "import return def dog")):
            answer = " ".join(rng.choices(words.split(), k=4))
            split = "test" if number % 6 == 0 else "train"
            found.append(Example(messages=messages, answer=answer, label=label, split=split))
    return found


class Judge:
    """Finds every second text good, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {}

    def __call__(self, question: str, answers: Sequence[str]) -> list[float]:
        self.asked.setdefault(question, []).extend(answers)
        return [float(i % 2) for i in range(len(answers))]


@pytest.mark.slow
def test_every_round_says_what_it_found_and_the_head_still_stands() -> None:
    """Two rounds: figures of both, members joined, values finite."""
    judge = Judge()
    how = Hardening(rounds=2, judge=judge, prompts=6, attacks=(QUICK, replace(QUICK, steps=1)))
    head, figures = harden_head(examples(), policy(), how, FAST, name="tiny")
    assert len(figures["rounds"]) == 2
    assert head.info.figures == figures
    assert head.info.members == 2
    for found in figures["rounds"]:
        assert found["texts"] >= 6
        assert 0 <= found["praised"] <= found["texts"]
    assert figures["learned"]["answers"] == 40 + sum(found["texts"] for found in figures["rounds"])


@pytest.mark.slow
def test_no_held_out_question_is_attacked() -> None:
    """Not in many rounds' worth of prompts."""
    judge = Judge()
    harden_head(examples(), policy(), Hardening(rounds=1, judge=judge, prompts=99, attacks=(QUICK,)), FAST)
    assert set(judge.asked) == {f"question {n}" for n in range(24) if n % 6}


def test_no_question_with_an_opened_answer_is_attacked() -> None:
    """An attack writes its texts from the start."""
    opened = [replace(e, opening="import") for e in examples()]
    assert adversarial._choose_prompts(opened, 9, 1) == []
    assert all(not e.opening for e in adversarial._choose_prompts([*opened, *examples()], 99, 1))


@given(st.floats(-3, 3), st.floats(0, 1))
def test_broken_text_is_bad_whatever_the_judge_says(rise: float, sure: float) -> None:
    """Else the judge alone decides."""
    how = Hardening(rounds=1, judge=lambda _, texts: [sure] * len(texts))
    written = [("draft", 0.5, 2.0), ("moved", 1.5, 2.0 + rise)]
    draft, moved = adversarial._label_texts(examples()[0], written, how)
    assert draft[0].label == sure
    assert moved[0].label == (sure if rise <= how.rise else 0.0)
    assert (moved[0].answer, moved[0].pair, moved[1]) == ("moved", None, 1.5)


@pytest.mark.slow
def test_the_attack_is_the_same_again_and_its_draft_comes_first() -> None:
    """By its seed; values are the head's own."""
    head = fit_head(examples(), policy(), FAST).head
    prompts = [e.messages for e in examples()[:4:2]]
    once, again = (attack_head(head, policy(), prompts, QUICK) for _ in range(2))
    assert once == again
    assert all(len({text for text, _, _ in texts}) == len(texts) > 1 for texts in once)


def test_joined_members_are_their_mean_less_their_spread() -> None:
    """And one alone is itself."""
    torch.manual_seed(0)
    info = HeadInfo(policy="tiny", layer=2, hidden_size=8)
    heads = [HiddenStateHead(info).eval() for _ in range(3)]
    features = torch.randn(5, 4, 16)
    values = torch.stack([head(features) for head in heads])
    joined = HiddenStateHead.from_members(heads, penalty=0.7)
    torch.testing.assert_close(
        joined(features), values.mean(0) - 0.7 * values.std(0, correction=0), atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(HiddenStateHead.from_members(heads[:1])(features), values[0])


def test_hardening_without_a_judge_says_how_one_is_made(tmp_path: Path) -> None:
    """On the command line."""
    import argparse

    parser = argparse.ArgumentParser()
    fit_reward.add_arguments(parser)
    options = parser.parse_args([str(tmp_path / "d"), "--out", str(tmp_path / "h"), "--harden", "1"])
    with pytest.raises(DataError, match="fit_gate"):
        fit_reward._make_hardening(options)
